import pytest
import torch
from torchvision import models as torchvision_models

from eccsnn.models import build_model


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_resnet18_for_small_images():
    stem = 3 * 64 * 9 + 2 * 64
    stages = 4 * 9 * 64 * 64 + 8 * 64
    for c in (64, 128, 256):
        stages += 9 * (c * 2 * c + 3 * 4 * c * c) + 16 * c + (2 * c * c + 4 * c)
    assert parameters(build_model("resnet18", num_classes=10)) == stem + stages + 5130 == 11_173_962


@pytest.mark.parametrize("depth", [18, 50])
def test_large_images_take_torchvisions_network(depth):
    model = build_model(f"resnet{depth}", num_classes=1000, image_size=96).eval()
    peer = getattr(torchvision_models, f"resnet{depth}")().eval()
    ours, theirs = model.state_dict(), peer.state_dict()
    assert [value.shape for value in ours.values()] == [value.shape for value in theirs.values()]
    model.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(x), rtol=1e-3, atol=1e-3)
