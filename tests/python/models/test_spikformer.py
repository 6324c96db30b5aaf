import pytest
import torch

from eccsnn.models import build_model
from eccsnn.models.spikformer import SpikingSelfAttention
from eccsnn.nn import complete_neuron_config
from eccsnn.nn.layers import Pass


def test_attention_is_the_scaled_product_of_queries_keys_and_values():
    torch.manual_seed(0)
    attention = SpikingSelfAttention(64, 4, complete_neuron_config())
    assert attention.heads == 2
    x = torch.randint(0, 2, (3, 2, 64, 4, 4)).float()
    seen, spikes = [], {}
    attention.lif.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    for name in "qkv":
        layer = getattr(attention, name)
        layer.register_forward_hook(lambda layer, inputs, output, name=name: spikes.update({name: output}))
    attention(x, Pass())
    # As published: tokens x channels of each head, keys transposed, queries times keys first.
    q, k, v = (spikes[name].reshape(3, 2, 2, 32, 16).transpose(-2, -1) for name in "qkv")
    expected = (q @ k.transpose(-2, -1)) @ v * 0.125
    assert expected.any()
    assert torch.equal(seen[0], expected.transpose(-2, -1).reshape(3, 2, 64, 4, 4))


def test_the_attention_neurons_have_half_the_threshold():
    model = build_model("spikformer", num_classes=2, width=0.1, neuron={"v_threshold": 2.0, "v_reset": 1.0})
    assert model.blocks[0].attention.lif.v_threshold == 1.5
    assert model.blocks[0].attention.proj.lif.v_threshold == 2.0


def test_the_cifar_size_is_4_384():
    model = build_model("spikformer", num_classes=10)
    assert len(model.blocks) == 4
    assert model.head.in_features == 384
    assert model.blocks[0].attention.heads == 12
    splitting = 9 * (3 * 48 + 48 * 96 + 96 * 192 + 192 * 384 + 384 * 384) + 2 * (48 + 96 + 192 + 384 + 384)
    block = 4 * (384 * 384 + 2 * 384) + 2 * 384 * 1536 + 2 * (1536 + 384)
    assert sum(p.numel() for p in model.parameters()) == splitting + 4 * block + 384 * 10 + 10 == 9_310_906


@pytest.mark.parametrize(("image_size", "patch"), [(16, 4), (32, 4), (64, 8), (224, 16)])
def test_the_patch_follows_the_image(image_size, patch):
    model = build_model("spikformer", num_classes=2, width=0.1, image_size=image_size)
    assert {fmap.stride for fmap in model.feature_maps.values()} == {patch}


def test_an_image_that_does_not_split_into_patches_is_refused():
    with pytest.raises(ValueError, match="image_size is 30, expected a multiple of the patch, 4"):
        build_model("spikformer", num_classes=2, image_size=30)
