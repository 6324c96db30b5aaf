"""logit_distillation against F.kl_div, the plain-torch reference and numerical derivatives."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.ops import logit_distillation
from eccsnn.ops import reference_distillation as reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def logits(samples: int, classes: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)).to(dtype)


def kl_div(
    student: torch.Tensor, teacher: torch.Tensor, class_ids: torch.Tensor | None, temperature: float
) -> torch.Tensor:
    """An independent statement of the loss, with torch's own operators."""
    if class_ids is not None:
        teacher = teacher.index_select(1, class_ids)
    log_q = F.log_softmax(student.double() / temperature, dim=1)
    p = F.softmax(teacher.double() / temperature, dim=1)
    return temperature**2 * F.kl_div(log_q, p, reduction="none").sum(1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 20.0])
def test_agrees_with_kl_div(dtype: torch.dtype, temperature: float) -> None:
    student, teacher = logits(7, 5, dtype), logits(7, 12, dtype, seed=1)
    for class_ids in (torch.tensor([3, 0, 11, 7, 4]), None):
        if class_ids is None:
            teacher = teacher[:, :5]
        loss = logit_distillation(student, teacher, class_ids, temperature)
        assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(loss.double(), kl_div(student, teacher, class_ids, temperature), **tolerance)


@settings(deadline=None, max_examples=60)
@given(
    samples=st.integers(0, 9),
    classes=st.integers(1, 40),
    more=st.integers(0, 30),
    dtype=st.sampled_from(DTYPES),
    temperature=st.floats(0.25, 16.0),
    transposed=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_shape_agrees_in_value_and_gradient(
    samples: int, classes: int, more: int, dtype: torch.dtype, temperature: float, transposed: bool, seed: int
) -> None:
    student, teacher = logits(samples, classes, dtype, seed), logits(samples, classes + more, dtype, seed + 1)
    if transposed:  # not contiguous
        student, teacher = student.T.contiguous().T, teacher.T.contiguous().T
    generator = torch.Generator().manual_seed(seed)
    class_ids = torch.randperm(classes + more, generator=generator)[:classes]
    student.requires_grad_()
    loss = logit_distillation(student, teacher, class_ids, temperature)
    expected = reference.logit_distillation(student, teacher, class_ids, temperature)
    tolerance = {"rtol": 1e-11, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(loss, expected, **tolerance)
    weight = torch.randn(samples, generator=generator).to(loss.dtype)
    (grad,) = torch.autograd.grad((loss * weight).sum(), student)
    (expected_grad,) = torch.autograd.grad((expected * weight).sum(), student)
    assert grad.dtype == dtype
    if dtype in (torch.float16, torch.bfloat16):  # rounded once
        tolerance = {"rtol": 1e-2, "atol": 1e-3}
    torch.testing.assert_close(grad, expected_grad, **tolerance)


def test_gradcheck() -> None:
    student, teacher = logits(4, 3, torch.float64).requires_grad_(), logits(4, 6, torch.float64, seed=1)
    class_ids = torch.tensor([5, 0, 2])
    assert torch.autograd.gradcheck(lambda s: logit_distillation(s, teacher, class_ids, 3.0), student)
    assert torch.autograd.gradcheck(lambda s: logit_distillation(s, teacher[:, :3], None, 0.7), student)


def test_second_derivative_is_refused() -> None:
    student, teacher = logits(4, 3).requires_grad_(), logits(4, 3, seed=1)
    loss = logit_distillation(student, teacher, None, 2.0).sum()
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(loss, student, create_graph=True)


def test_no_gradient_to_the_teacher() -> None:
    student, teacher = logits(4, 3).requires_grad_(), logits(4, 3, seed=1).requires_grad_()
    logit_distillation(student, teacher, None, 2.0).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_equal_logits_cost_exactly_nothing() -> None:
    teacher = logits(5, 9)
    class_ids = torch.tensor([8, 1, 4])
    student = teacher[:, class_ids].requires_grad_()
    loss = logit_distillation(student, teacher, class_ids, 3.0)
    loss.sum().backward()
    assert loss.tolist() == [0.0] * 5
    assert student.grad is not None
    assert not student.grad.any()


def test_one_class_has_no_loss_and_no_gradient() -> None:
    student = logits(5, 1).requires_grad_()
    loss = logit_distillation(student, logits(5, 9, seed=1), torch.tensor([4]), 3.0)
    loss.sum().backward()
    assert loss.tolist() == [0.0] * 5
    assert student.grad is not None
    assert not student.grad.any()


def test_the_loss_scale_does_not_depend_on_temperature_in_the_limit() -> None:
    # Hinton et al., section 2: for high T the gradient tends to that of matching centred logits, (s - t) / K.
    student, teacher = logits(4, 6, torch.float64).requires_grad_(), logits(4, 6, torch.float64, seed=1)
    logit_distillation(student, teacher, None, 1e4).sum().backward()
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    assert student.grad is not None
    torch.testing.assert_close(student.grad, centred.detach() / 6, rtol=1e-2, atol=1e-3)


def test_large_infinite_and_nan_logits() -> None:
    student = torch.tensor([[1e30, -1e30], [1e4, 0.0], [1.0, float("nan")], [1.0, 2.0]], requires_grad=True)
    teacher = torch.tensor([[1e30, -1e30], [0.0, -float("inf")], [1.0, 2.0], [float("nan"), 2.0]])
    loss = logit_distillation(student, teacher, None, 1.0)
    assert loss[:2].tolist() == [0.0, 0.0]
    assert loss[2:].isnan().all()
    expected = reference.logit_distillation(student, teacher, None, 1.0)
    torch.testing.assert_close(loss, expected, equal_nan=True)
    loss.sum().backward()
    assert student.grad is not None
    assert student.grad[:2].isfinite().all()
    assert student.grad[2:].isnan().all()


def test_mixed_dtypes_are_promoted() -> None:
    student, teacher = logits(4, 3, torch.float32).requires_grad_(), logits(4, 3, torch.bfloat16, seed=1)
    loss = logit_distillation(student, teacher, None, 2.0)
    torch.testing.assert_close(loss, logit_distillation(student, teacher.float(), None, 2.0))
    half = logits(4, 3, torch.float16).requires_grad_()
    logit_distillation(half, teacher, None, 2.0).sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.float16


def test_threads_do_not_change_a_bit() -> None:
    student, teacher = logits(3000, 10), logits(3000, 10, seed=1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        loss = logit_distillation(student, teacher, None, 3.0)
        torch.set_num_threads(4)
        assert torch.equal(logit_distillation(student, teacher, None, 3.0), loss)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("class_ids", "message"),
    [
        ([0, 1, 6], r"class_ids\[2\] is 6, expected one of the teacher's columns 0 to 5"),
        ([-1, 1, 2], r"class_ids\[0\] is -1"),
        ([4, 1, 4], r"class_ids\[2\] repeats 4"),
    ],
)
def test_wrong_class_ids(class_ids: list[int], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        logit_distillation(logits(2, 3), logits(2, 6), torch.tensor(class_ids), 2.0)


def test_wrong_arguments() -> None:
    student, teacher, class_ids = logits(2, 3), logits(2, 6), torch.tensor([0, 1, 2])
    for wrong in (student[0], student[:1], student[:, :0]):
        with pytest.raises(ValueError, match="expects student logits"):
            logit_distillation(wrong, teacher, class_ids, 2.0)
    with pytest.raises(ValueError, match="got 3 student and 6 teacher classes without class_ids; pass"):
        logit_distillation(student, teacher, None, 2.0)
    with pytest.raises(ValueError, match="one class id for each of the 3 student logits"):
        logit_distillation(student, teacher, class_ids[:2], 2.0)
    with pytest.raises(ValueError, match="student logits on cpu and teacher logits on meta; move"):
        logit_distillation(student, teacher.to("meta"), class_ids, 2.0)
    with pytest.raises(ValueError, match="class_ids on meta and logits on cpu; leave"):
        logit_distillation(student, teacher, class_ids.to("meta"), 2.0)
    with pytest.raises(TypeError, match=r"class_ids of dtype int64, got torch\.int32"):
        logit_distillation(student, teacher, class_ids.int(), 2.0)
    with pytest.raises(TypeError, match=r"got torch\.int64 and torch\.float32"):
        logit_distillation(student.long(), teacher, class_ids, 2.0)
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive temperature"):
            logit_distillation(student, teacher, class_ids, temperature)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("logit_distillation", (torch.zeros(2, 3), torch.zeros(3, 3), None, 1.0)),
        ("logit_distillation", (torch.zeros(2, 3), torch.zeros(2, 4), None, 1.0)),
        ("logit_distillation", (torch.zeros(2, 3), torch.zeros(2, 3).double(), None, 1.0)),
        ("logit_distillation", (torch.zeros(2, 3), torch.zeros(2, 3), None, -1.0)),
        ("logit_distillation", (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3), 1.0)),
        ("logit_distillation", (torch.zeros(2, 3).int(), torch.zeros(2, 3).int(), None, 1.0)),
        ("logit_distillation_backward", (torch.zeros(2), torch.zeros(3, 3), torch.float32)),
        ("logit_distillation_backward", (torch.zeros(2), torch.zeros(2, 3), torch.float64)),
    ],
)
def test_the_ops_check_for_themselves(op: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(RuntimeError, match=f"{op}: .*expected"):
        getattr(torch.ops.eccsnn, op)(*arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype: torch.dtype) -> None:
    student, teacher = logits(4, 3, dtype).requires_grad_(), logits(4, 6, dtype, seed=1)
    op = torch.ops.eccsnn.logit_distillation.default
    torch.library.opcheck(op, (student, teacher, torch.tensor([4, 0, 1]), 3.0))
    torch.library.opcheck(op, (student, teacher[:, :3], None, 3.0))
    torch.library.opcheck(op, (student[:0], teacher[:0, :3], None, 3.0))
    backward = torch.ops.eccsnn.logit_distillation_backward.default
    torch.library.opcheck(backward, (torch.randn(4), torch.randn(4, 3), dtype))


def test_compile_whole_graph() -> None:
    class_ids = torch.tensor([4, 0, 1])

    @torch.compile(fullgraph=True, dynamic=True)
    def loss(student: torch.Tensor, teacher: torch.Tensor, class_ids: torch.Tensor) -> torch.Tensor:
        return logit_distillation(student, teacher, class_ids, 3.0).mean()

    for samples in (4, 9):
        student, teacher = logits(samples, 3).requires_grad_(), logits(samples, 6, seed=1)
        loss(student, teacher, class_ids).backward()
        expected = reference.logit_distillation(student, teacher, class_ids, 3.0).mean()
        assert student.grad is not None
        torch.testing.assert_close(student.grad, torch.autograd.grad(expected, student)[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="repeats 4"):
        loss(student, teacher, torch.tensor([4, 4, 1]))
