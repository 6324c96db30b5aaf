"""ANNs with named sections, cut in two with the bottleneck units of the baselines."""

import itertools

import pytest
import torch

from eccsnn.models import build_model, insert_bottlenecks, split

ANNS = ["vgg16", "resnet18", "resnet50", "mobilenet"]


def unit(kind: str) -> dict:
    return {"kind": kind, "channels": 3, "stride": 2, "kernel_size": 2}


@pytest.mark.parametrize("name", ANNS)
def test_the_parts_compute_what_the_model_computes(build, images, name):
    model = build(name).eval()
    with torch.no_grad():
        expected = model(images)
        for point, described in model.split_points.items():
            edge, cloud = split(model, point)
            features = edge(images)
            assert edge.wire == described
            assert features.shape == (2, described.channels, described.size, described.size)
            assert features.dtype == torch.float32
            assert torch.equal(cloud(features), expected)
            assert edge.state_dict().keys() | cloud.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("kind", ["bottlenet", "bottlenet++"])
@pytest.mark.parametrize("name", ANNS)
def test_the_parts_compute_what_the_model_with_a_bottleneck_computes(build, images, name, kind):
    points = [point for point, described in build(name).split_points.items() if described.size > 2]
    for point in (points[0], points[-1]):
        model = build(name, bottlenecks={point: unit(kind)}).eval()
        edge, cloud = split(model, point)
        with torch.no_grad():
            features, maps = edge(images), model.forward_features(images).maps
            assert features.dtype == torch.uint8
            assert features.shape == (2, edge.wire.channels, edge.wire.size, edge.wire.size)
            assert edge.wire.bits == features[0].numel() * 8
            assert features.unique().numel() > 3
            assert torch.equal(maps[f"bottleneck:{point}"], features.float() / 255)
            arrived = features if edge.codec is None else cloud.codec.decode(edge.codec.encode(features))
            assert torch.equal(cloud(arrived), model(images))
            assert not torch.equal(cloud(arrived), model(images, through=None))
        assert (edge.codec is None) == (kind == "bottlenet++")


@pytest.mark.parametrize("kind", ["bottlenet", "bottlenet++"])
def test_training_reaches_every_parameter_through_the_bytes(build, images, kind):
    model = build("resnet18", bottlenecks={"stage2": unit(kind)})
    torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 3])).backward()
    assert [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_the_spec_rebuilds_the_model(build, images):
    backbone = build("mobilenet").eval()
    model = insert_bottlenecks(backbone, {"block3": {"kind": "bottlenet", "channels": 2}}).eval()
    assert model.spec["bottlenecks"] == {
        "block3": {"kind": "bottlenet", "channels": 2, "stride": 1, "kernel_size": 1, "jpeg_quality": 90}
    }
    twin = build_model(**model.spec).eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(twin(images), model(images))
        assert torch.equal(model(images, through=None), backbone(images))


@pytest.mark.parametrize(("ann", "snn"), [("vgg16", "spiking_vgg16"), ("resnet18", "sew_resnet18")])
def test_the_points_are_those_of_the_spiking_model(ann, snn):
    ours, theirs = (build_model(name, num_classes=2, width=0.1).split_points for name in (ann, snn))
    assert {name: point[:3] for name, point in ours.items()} == {
        name.replace("conv_last", "conv13"): point[:3] for name, point in theirs.items()
    }


@pytest.mark.parametrize(("name", "size"), [("resnet18", 28), ("resnet18", 100), ("vgg16", 45)])
def test_sizes_that_do_not_halve_evenly(name, size):
    model = build_model(name, num_classes=2, width=0.1, image_size=size).eval()
    with torch.no_grad():
        for point, described in model.split_points.items():
            assert split(model, point)[0](torch.randn(1, 3, size, size)).shape[-1] == described.size
    strides = [fmap.stride for fmap in model.feature_maps.values()]
    assert all(b in (a, 2 * a) for a, b in itertools.pairwise(strides))


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ({"channels": 2}, "unknown kind None"),
        ({"kind": "botlenet", "channels": 2}, "unknown kind 'botlenet': did you mean 'bottlenet"),
        ({"kind": "bottlenet++", "channels": 2, "jpeg_quality": 9}, "unknown option 'jpeg_quality'"),
        ({"kind": "bottlenet"}, "channels is missing"),
        ({"kind": "bottlenet", "channels": 2, "jpeg_quality": 100}, "resnet18 at 'stage2'.*jpeg_quality is 100"),
        ({"kind": "bottlenet", "channels": 2, "kernel_size": 99}, "kernel_size is 99"),
    ],
)
def test_wrong_bottlenecks_are_refused(unit, message):
    with pytest.raises(ValueError, match=message):
        build_model("resnet18", num_classes=2, width=0.1, bottlenecks={"stage2": unit})


def test_wrong_features_are_refused(build):
    _, cloud = split(build("resnet18", bottlenecks={"stage2": unit("bottlenet++")}), "stage2")
    with pytest.raises(TypeError, match=r"features are torch\.float32, expected uint8"):
        cloud(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"shape \[2, 3, 4, 4\], expected \[N, 3, 8, 8\]"):
        cloud(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))


def test_a_pretrained_trunk_cannot_be_cut():
    with pytest.raises(TypeError, match="PretrainedANN cannot be cut"):
        split(build_model("torchvision/resnet18", num_classes=2), "stage1")
