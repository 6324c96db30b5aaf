"""logit_distillation on CUDA against the CPU. Exponentials differ in the last bits between the two."""

import pytest
import torch

from eccsnn.ops import _library, logit_distillation

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and _library.load_cuda().loaded), reason="needs a CUDA GPU and the CUDA op library"
)

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def logits(samples: int, classes: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return (4 * torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed))).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [1, 5, 32, 100])
@pytest.mark.parametrize("ids_on", ["cpu", "cuda", None])
def test_agrees_with_cpu(dtype: torch.dtype, classes: int, ids_on: str | None) -> None:
    columns = classes if ids_on is None else classes + 7
    class_ids = torch.randperm(columns, generator=torch.Generator().manual_seed(2))[:classes] if ids_on else None
    results = []
    for device in ("cpu", "cuda"):
        student = logits(50, classes, dtype).to(device).requires_grad_()
        teacher = logits(50, columns, dtype, seed=1).to(device)
        ids = None if class_ids is None else class_ids.to(ids_on if device == "cuda" else "cpu")
        loss = logit_distillation(student, teacher, ids, 3.0)
        (grad,) = torch.autograd.grad(loss.sum(), student)
        results.append((loss.detach().cpu(), grad.cpu()))
    tolerance = {"rtol": 1e-11, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(results[1][0], results[0][0], **tolerance)
    if dtype in (torch.float16, torch.bfloat16):
        tolerance = {"rtol": 1e-2, "atol": 1e-3}
    torch.testing.assert_close(results[1][1], results[0][1], **tolerance)


def test_class_ids_on_the_cpu_are_checked_and_others_cannot_harm() -> None:
    student, teacher = logits(4, 3).cuda(), logits(4, 6).cuda()
    with pytest.raises(RuntimeError, match=r"class_ids\[2\] is 6"):
        logit_distillation(student, teacher, torch.tensor([0, 1, 6]), 3.0)
    with pytest.raises(RuntimeError, match=r"class_ids\[1\] repeats 0"):
        logit_distillation(student, teacher, torch.tensor([0, 0, 1]), 3.0)
    assert logit_distillation(student, teacher, torch.tensor([0, 1, 10**9]).cuda(), 3.0).isnan().all()


def test_devices_that_differ_are_an_error() -> None:
    on_gpu, on_cpu = logits(4, 3).cuda(), logits(4, 3)
    for student, teacher in ((on_gpu, on_cpu), (on_cpu, on_gpu)):
        with pytest.raises(ValueError, match="move one with"):
            logit_distillation(student, teacher, None, 3.0)
        with pytest.raises(RuntimeError, match="different devices"):
            torch.ops.eccsnn.logit_distillation(student, teacher, None, 3.0)
    with pytest.raises(ValueError, match="leave class_ids on the CPU"):
        logit_distillation(on_cpu, on_cpu, torch.arange(3).cuda(), 3.0)


def test_nan_and_infinite_logits() -> None:
    student = torch.tensor([[1e4, 0.0], [1.0, float("nan")], [1.0, 2.0]]).cuda()
    teacher = torch.tensor([[0.0, -float("inf")], [1.0, 2.0], [1.0, 2.0]]).cuda()
    loss = logit_distillation(student, teacher, None, 1.0)
    assert loss[0] == 0
    assert loss[1].isnan()
    assert loss[2] == 0


def test_empty_input_and_opcheck() -> None:
    student, teacher = logits(4, 3).cuda().requires_grad_(), logits(4, 6, seed=1).cuda()
    assert logit_distillation(student[:0], teacher[:0, :3], None, 3.0).shape == (0,)
    op = torch.ops.eccsnn.logit_distillation.default
    torch.library.opcheck(op, (student, teacher, torch.tensor([4, 0, 1]).cuda(), 3.0))
    torch.library.opcheck(op, (student, teacher, torch.tensor([4, 0, 1]), 3.0))
