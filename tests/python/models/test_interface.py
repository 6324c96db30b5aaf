"""What every built-in model promises."""

import pytest
import torch

from eccsnn.models import build_model, check_finite, list_models
from eccsnn.nn import LIF, TaskHeads

BUILT_IN = [info for info in list_models() if info.extra is None and "/" not in info.name]
ALL = [info.name for info in BUILT_IN]


@pytest.mark.parametrize("name", ALL)
def test_forward_is_the_head_on_the_penultimate_features(build, images, name):
    model = build(name).eval()
    with torch.no_grad():
        logits, features = model(images), model.forward_features(images)
        torch.testing.assert_close(model.head(features.penultimate), logits)
    assert logits.shape == (2, 5)
    assert isinstance(model.head, TaskHeads)
    assert features.penultimate.shape == (2, model.head.in_features)


@pytest.mark.parametrize("name", ALL)
def test_feature_maps_are_as_described(build, images, name):
    model = build(name)
    with torch.no_grad():
        maps = model.forward_features(images).maps
    assert list(maps) == list(model.feature_maps)
    for key, (channels, stride, max_count) in model.feature_maps.items():
        time = (model.timesteps,) if model.kind == "snn" else ()
        assert maps[key].shape == (*time, 2, channels, 32 // stride, 32 // stride), key
        if model.kind == "ann":
            assert max_count is None
        else:
            assert torch.equal(maps[key], maps[key].round()), key
            assert maps[key].min() >= 0
            assert 0 < maps[key].max() <= max_count, key


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_reaches_every_parameter(build, images, name):
    neuron = {"neuron": {"surrogate": "atan", "learn_tau": True}} if name in ("spiking_vgg9", "spikformer") else {}
    model = build(name, **neuron)
    loss = torch.nn.functional.cross_entropy(model(images.repeat(2, 1, 1, 1)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    silent = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert silent == []


@pytest.mark.parametrize("name", ALL)
def test_the_spec_rebuilds_the_model(build, images, name):
    model = build(name, timesteps=2).eval()
    model.head.add_task([9, 7])
    twin = build_model(**model.spec).eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(twin(images), model(images))
    assert twin.head.class_ids == [0, 1, 2, 3, 4, 9, 7]
    assert twin.spec == model.spec


@pytest.mark.parametrize("name", ALL)
def test_the_kind_is_the_listed_one(name):
    model = build_model(name, num_classes=2, width=0.01)
    assert model.kind == next(info.kind for info in BUILT_IN if info.name == name)
    assert any(isinstance(layer, LIF) for layer in model.modules()) == (model.kind == "snn")


@pytest.mark.parametrize("name", ["spiking_vgg9", "resnet18"])
def test_weights_follow_torchs_generator(name):
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build_model(name, num_classes=2, width=0.01).parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


@pytest.mark.parametrize("name", ["spiking_vgg9", "sew_resnet10", "spikformer", "vgg16", "resnet18"])
def test_bfloat16_autocast_trains(build, images, name):
    model = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        features = model.forward_features(images)
        logits = model.head(features.penultimate)
    assert logits.dtype == torch.bfloat16
    assert {m.dtype for m in features.maps.values()} == {torch.bfloat16}
    logits.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_16_bits_runs_and_trains(build, images, name, dtype):
    model = build(name)
    expected = model(images)
    model.to(dtype)
    logits = model(images.to(dtype))
    assert logits.dtype == dtype
    assert logits.shape == expected.shape
    logits.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    if model.kind == "snn":
        logits, _ = model.step(images.to(dtype), model.init_state(2))
        assert logits.dtype == model.forward_timesteps(images.to(dtype)).dtype == dtype


def test_nan_in_the_weights_is_found_where_the_logits_hide_it(build, images):
    model = build("spiking_vgg9")
    check_finite(model, "before")
    with torch.no_grad():
        model.stem.conv.weight[0, 0, 0, 0] = float("nan")
    assert model(images).isfinite().all()
    with pytest.raises(ValueError, match=r"after epoch 3: stem.conv.weight holds NaN or infinite values"):
        check_finite(model, "after epoch 3")


@pytest.mark.parametrize("name", ["spiking_vgg9", "sew_resnet10", "spikformer", "vgg16", "resnet18"])
def test_wrong_input_is_refused(build, images, name):
    model = build(name)
    with pytest.raises(ValueError, match=r"so 1 channels, expected images \[N, 3, 32, 32\].*in_channels=1"):
        model(images[:, :1])
    with pytest.raises(ValueError, match=r"shape \[3, 32, 32\], expected images \[N, 3, 32, 32\]"):
        model(images[0])
    with pytest.raises(ValueError, match="another image_size or resize"):
        model(images[..., :16, :16])
    with pytest.raises(TypeError, match=r"dtype torch.uint8, expected floating point"):
        model(images.to(torch.uint8))
    with pytest.raises(TypeError, match="is a ndarray, expected a tensor"):
        model(images.numpy())
    with pytest.raises(ValueError, match="input is on meta, the model on cpu"):
        model(images.to("meta"))


@pytest.mark.parametrize("name", ["spiking_vgg9", "sew_resnet10", "spikformer", "resnet18"])
def test_other_image_sizes_and_channels(name):
    model = build_model(name, num_classes=3, width=0.01, in_channels=1, image_size=96, timesteps=2)
    with torch.no_grad():
        features = model.forward_features(torch.randn(2, 1, 96, 96))
    assert model.head(features.penultimate).shape == (2, 3)
    for key, (channels, stride, _) in model.feature_maps.items():
        assert features.maps[key].shape[-3:] == (channels, 96 // stride, 96 // stride)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ALL)
def test_nan_and_infinite_images_are_refused(build, images, name, bad):
    model = build(name).eval()
    images = images.clone()
    images[1, 0, 3, 4] = bad
    with pytest.raises(ValueError, match=rf"{name}: 1 of {images.numel()} input values are NaN or infinite"):
        model(images)
    if model.kind == "snn":
        with pytest.raises(ValueError, match="NaN or infinite"):
            model.step(images, model.init_state(2))
