import pytest
import torch

from eccsnn.models import build_model
from eccsnn.models.sew_resnet import SEWBlock
from eccsnn.nn import SpikeConv2d
from eccsnn.nn.layers import Pass


def count(name: str, **options) -> int:
    return sum(p.numel() for p in build_model(name, num_classes=10, **options).parameters())


@pytest.mark.parametrize(("spiking", "ann"), [(f"sew_resnet{d}", f"resnet{d}") for d in (18, 34, 50)])
@pytest.mark.parametrize("image_size", [32, 224])
def test_it_has_the_parameters_of_the_resnet_of_the_same_depth(spiking, ann, image_size):
    options = {"width": 0.25, "image_size": image_size}
    assert count(spiking, **options) == count(ann, **options)


def test_depth_10_is_one_basic_block_a_stage():
    stem = 3 * 64 * 9 + 2 * 64
    stages = 2 * 9 * 64 * 64 + 4 * 64
    for c in (64, 128, 256):
        stages += 9 * (c * 2 * c + 4 * c * c) + 8 * c + (2 * c * c + 4 * c)
    assert count("sew_resnet10") == stem + stages + 512 * 10 + 10 == 4_903_242


def test_a_silent_residual_leaves_the_input_as_it_is():
    block = SEWBlock(8, 8, 4, 1, False, {}, of_spikes=False)
    torch.nn.init.zeros_(block.convs[-1].bn.weight)
    x = torch.randint(0, 3, (2, 3, 8, 4, 4)).float()
    assert torch.equal(block(x, Pass()), x)


def test_the_bound_of_the_sums_grows_by_one_a_block():
    eighteen = build_model("sew_resnet18", num_classes=2, width=0.1).feature_maps
    assert [fmap.max_count for fmap in eighteen.values()] == [1, 3, 3, 3, 3]
    fifty = build_model("sew_resnet50", num_classes=2, width=0.1).feature_maps
    assert [fifty[f"stage{i}"].max_count for i in (1, 2, 3, 4)] == [4, 5, 7, 4]


def test_iand_lets_the_residual_silence_spikes():
    torch.manual_seed(0)
    block = SEWBlock(8, 8, 4, 1, False, {}, of_spikes=True, connect="iand")
    torch.nn.init.constant_(block.convs[-1].bn.bias, 0.5)
    x = torch.randint(0, 2, (3, 2, 8, 4, 4)).float()
    run = Pass()
    residual = block.convs[1](block.convs[0](x, run), run)
    assert residual.any()
    assert torch.equal(block(x, Pass()), x * (residual == 0))
    torch.nn.init.zeros_(block.convs[-1].bn.weight)
    torch.nn.init.zeros_(block.convs[-1].bn.bias)
    assert torch.equal(block(x, Pass()), x)


@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_with_iand_everything_is_binary(depth):
    torch.manual_seed(0)
    model = build_model(f"sew_resnet{depth}", num_classes=2, width=0.1, connect="iand")
    assert {point.max_count for point in model.split_points.values()} == {1}
    convs = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert all(isinstance(layer, SpikeConv2d) for layer in convs[1:])
    assert model.spec["connect"] == "iand"
    with torch.no_grad():
        maps = model.forward_features(torch.randn(2, 3, 32, 32)).maps
    assert all(set(value.unique().tolist()) <= {0.0, 1.0} for value in maps.values())
    assert maps["stage1"].any()


def test_every_block_is_a_split_point():
    model = build_model("sew_resnet18", num_classes=2, width=0.1)
    assert list(model.split_points) == [
        "stem", "stage1.0", "stage1", "stage2.0", "stage2", "stage3.0", "stage3", "stage4.0", "stage4",
    ]  # fmt: skip
    assert [point.max_count for point in model.split_points.values()] == [1, 2, 3, 2, 3, 2, 3, 2, 3]
    large = build_model("sew_resnet18", num_classes=2, width=0.1, image_size=224).split_points
    assert (large["stem"].size, large["pool"].size, large["stage1.0"].size) == (112, 56, 56)


def test_an_unknown_connection_is_refused():
    with pytest.raises(ValueError, match="unknown connect 'and': did you mean 'iand'"):
        build_model("sew_resnet18", num_classes=2, connect="and")


def test_large_images_take_the_imagenet_stem():
    model = build_model("sew_resnet18", num_classes=2, width=0.1, image_size=224)
    assert model.stem.conv.kernel_size == (7, 7)
    assert {name: fmap.stride for name, fmap in model.feature_maps.items()} == {
        "stem": 2, "stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32,
    }  # fmt: skip


@pytest.mark.parametrize(("size", "multiple"), [(28, 8), (100, 32)])
def test_an_image_that_does_not_divide_evenly_is_refused(size, multiple):
    with pytest.raises(ValueError, match=f"image_size is {size}, expected a multiple of {multiple}"):
        build_model("sew_resnet18", num_classes=2, image_size=size)


@pytest.mark.parametrize("name", ["sew_resnet18", "resnet18", "spiking_mobilenet", "mobilenet"])
def test_a_stem_stride_halves_every_map(name):
    usual = build_model(name, num_classes=2, width=0.1).feature_maps
    halved = build_model(name, num_classes=2, width=0.1, stem_stride=2).feature_maps
    assert {key: fmap.stride for key, fmap in halved.items()} == {key: 2 * m.stride for key, m in usual.items()}


@pytest.mark.parametrize("stride", [0, 3, True, "2"])
def test_a_wrong_stem_stride_is_refused(stride):
    with pytest.raises(ValueError, match=r"stem_stride is .*expected 1, 2 or 4"):
        build_model("resnet18", num_classes=2, stem_stride=stride)
