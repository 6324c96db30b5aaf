import sys
import types
import urllib.error

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from eccsnn.errors import EccsnnError
from eccsnn.models import build_model, pretrained

SMALL = "torchvision/mobilenet_v3_small"


class Trunk(nn.Module):
    """Stands in for a model of timm: global mean of the channels, twice."""

    num_features = 6
    pretrained_cfg = {"input_size": (3, 48, 48), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.25, 0.5)}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))
        self.seen = None

    def forward(self, x):
        self.seen = x
        return (x.mean((-2, -1)) * self.gain).repeat(1, 2)


@pytest.fixture
def timm(monkeypatch):
    """A timm with one model, so that the tests need neither timm nor its weights."""
    module = types.ModuleType("timm")
    module.list_models = lambda: ["vit_base_patch16_224"]
    module.is_model = lambda name: name in module.list_models()
    module.asked = []

    def create_model(name, **options):
        module.asked.append((name, options))
        return Trunk()

    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def test_a_torchvision_model_gets_a_new_head(images):
    model = build_model(SMALL, tasks=[[0, 1], [5]]).eval()
    assert model.kind == "ann"
    assert model.feature_maps == {}
    with torch.no_grad():
        features = model.forward_features(images)
        logits = model(images)
    assert logits.shape == (2, 3)
    assert features.penultimate.shape == (2, model.head.in_features)
    twin = build_model(**model.spec).eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(twin(images), logits)


def test_vit_b16_comes_from_timm_at_its_own_size(timm, images):
    model = build_model("vit_b16", num_classes=4, pretrained=True)
    assert timm.asked == [("vit_base_patch16_224", {"pretrained": True, "num_classes": 0})]
    assert model(images).shape == (2, 4)
    assert model.trunk.seen.shape == (2, 3, 48, 48)
    assert "pretrained" not in model.spec, "a rebuilt model takes its weights from the checkpoint"


def test_a_name_with_weights_after_a_dot_is_passed_on(timm):
    build_model("timm/vit_base_patch16_224.augreg_in1k", num_classes=2)
    assert timm.asked[0] == ("vit_base_patch16_224.augreg_in1k", {"pretrained": False, "num_classes": 0})


def test_images_are_brought_to_the_trunks_normalisation(timm):
    mean, std = (0.1, 0.2, 0.3), (0.2, 0.3, 0.4)
    model = build_model("vit_b16", num_classes=2, image_size=48, input_mean=mean, input_std=std)
    pixels = torch.rand(2, 3, 48, 48)
    column = [torch.tensor(v).view(3, 1, 1) for v in (mean, std, (0.5, 0.5, 0.5), (0.5, 0.25, 0.5))]
    model((pixels - column[0]) / column[1])
    torch.testing.assert_close(model.trunk.seen, (pixels - column[2]) / column[3])


def test_grey_images_are_repeated(timm):
    model = build_model("vit_b16", num_classes=2, image_size=48, in_channels=1, input_mean=[0.1], input_std=[0.2])
    model(torch.rand(2, 1, 48, 48))
    assert model.trunk.seen.shape == (2, 3, 48, 48)


def test_a_frozen_trunk_stays_as_it_is(timm, images):
    model = build_model("vit_b16", num_classes=2, freeze_trunk=True)
    model.train()
    assert not model.trunk.training
    assert model.head.training
    model(images).sum().backward()
    assert model.trunk.gain.grad is None
    assert model.head.heads[0].weight.grad.any()
    trained = build_model("vit_b16", num_classes=2)
    trained(images).sum().backward()
    assert trained.trunk.gain.grad.any()


def test_missing_timm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EccsnnError, match=r'pip install "eccsnn\[pretrained\]"'):
        build_model("vit_b16", num_classes=2)


def test_weights_that_cannot_be_loaded_say_so(monkeypatch):
    def unreachable(*args, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision_models, "get_model", unreachable)
    with pytest.raises(EccsnnError, match=r"weights of torchvision/resnet18 .*no route to host.*pretrained=False"):
        build_model("torchvision/resnet18", num_classes=2, pretrained=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("torchvision/resnet81", {}, "unknown model 'torchvision/resnet81': did you mean 'resnet18'"),
        ("timm/vit_base_patch16_242", {}, "did you mean 'vit_base_patch16_224'"),
        ("torchvision/squeezenet1_0", {}, "does not end with a linear layer"),
        (SMALL, {"width": 0.5}, "width is 0.5, expected 1"),
        (SMALL, {"in_channels": 2}, "in_channels is 2, expected 3"),
        (SMALL, {"input_mean": [0, 0, 0]}, "expected both or neither"),
        (SMALL, {"input_mean": [0], "input_std": [1]}, "input_mean is \\[0\\], expected 3 values"),
        (SMALL, {"freeze": True}, "unknown option 'freeze': did you mean 'freeze_trunk'"),
    ],
)
def test_wrong_arguments_are_refused(timm, name, options, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, num_classes=2, **options)


def test_long_lists_of_names_are_not_printed():
    assert len(pretrained._close("resnet81", torchvision_models.list_models())) < 60


def test_a_real_model_of_timm_builds_without_weights():
    pytest.importorskip("timm", reason="the extra 'peers' is not installed")
    model = build_model("timm/vit_tiny_patch16_224", num_classes=3, image_size=32, pretrained=False).eval()
    with torch.no_grad():
        features = model.forward_features(torch.rand(2, 3, 32, 32))
        logits = model(torch.rand(2, 3, 32, 32))
    assert features.penultimate.shape == (2, 192)
    assert logits.shape == (2, 3)
    assert all("head" not in name or name.startswith("head.") for name, _ in model.named_parameters())
