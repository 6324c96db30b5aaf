"""Models on CUDA: forward, steps, and training under bfloat16 autocast."""

import pytest
import torch

from eccsnn.models import build_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

NAMES = ["spiking_vgg9", "sew_resnet18", "spikformer", "vgg16", "resnet18"]


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).cuda()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_step_reaches_every_parameter(name, dtype, images):
    torch.manual_seed(0)
    model = build_model(
        name, num_classes=4, width=0.125, **({} if name in ("vgg16", "resnet18") else {"norm_gain": 2.0})
    )
    model.cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model(images)
    assert logits.dtype == dtype
    torch.nn.functional.cross_entropy(logits.float(), torch.arange(4, device="cuda")).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES[:3])
def test_all_steps_at_once_equal_single_steps(name, images):
    torch.manual_seed(0)
    model = build_model(name, num_classes=4, width=0.125, norm_gain=2.0).double().cuda().eval()
    x = images.double()  # float64, so that a rounding of the convolution does not tip a spike
    with torch.no_grad():
        expected, state, total = model(x), model.init_state(4), 0
        for _ in range(model.timesteps):
            logits, state = model.step(x, state)
            total = total + logits
    torch.testing.assert_close(total / model.timesteps, expected)
