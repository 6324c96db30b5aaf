"""spike_count_pool against the plain-torch reference, torch's own pooling and numerical derivatives."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.ops import reference_distillation as reference
from eccsnn.ops import spike_count_pool

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def random_spikes(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < 0.3).to(dtype)


def channels_last(spikes: torch.Tensor) -> torch.Tensor:
    return spikes.movedim(2, -1).contiguous().movedim(-1, 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 6, 0, None])
@pytest.mark.parametrize("mean", [False, True])
def test_agrees_with_reference(dtype: torch.dtype, kernel_size: int | None, mean: bool) -> None:
    for spikes in (random_spikes((4, 2, 11, 6, 6), dtype), channels_last(random_spikes((3, 1, 17, 6, 12), dtype))):
        counts = spike_count_pool(spikes, kernel_size, mean=mean)
        expected = reference.spike_count_pool(spikes, kernel_size, mean=mean)
        assert counts.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert counts.is_contiguous()
        # Counts of spikes are integers, hence exact; so is their quotient, rounded once.
        assert torch.equal(counts, expected)


def test_is_average_pooling_of_the_firing_rate() -> None:
    spikes = random_spikes((5, 3, 8, 12, 12), torch.float64)
    expected = F.avg_pool2d(spikes.mean(0), 4)
    torch.testing.assert_close(spike_count_pool(spikes, 4, mean=True), expected)


@settings(deadline=None, max_examples=60)
@given(
    timesteps=st.integers(1, 4),
    batch=st.integers(0, 3),
    channels=st.integers(0, 19),
    windows=st.tuples(st.integers(0, 3), st.integers(0, 5)),
    kernel_size=st.integers(1, 4),
    dtype=st.sampled_from(DTYPES),
    order=st.permutations(range(5)),
    mean=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_shape_and_memory_order(
    timesteps: int,
    batch: int,
    channels: int,
    windows: tuple[int, int],
    kernel_size: int,
    dtype: torch.dtype,
    order: list[int],
    mean: bool,
    seed: int,
) -> None:
    shape = (timesteps, batch, channels, windows[0] * kernel_size, windows[1] * kernel_size)
    spikes = random_spikes(shape, dtype, seed) * 3  # SEW ADD gives integers above 1
    inverse = [order.index(d) for d in range(5)]
    spikes = spikes.permute(order).contiguous().permute(inverse)
    counts = spike_count_pool(spikes, kernel_size, mean=mean)
    assert counts.shape == (batch, channels, *windows)
    assert torch.equal(counts, reference.spike_count_pool(spikes, kernel_size, mean=mean))


def test_memory_order_and_threads_do_not_change_a_bit() -> None:
    values = torch.randn(4, 8, 33, 12, 12, generator=torch.Generator().manual_seed(0))
    counts = spike_count_pool(values, 3)
    assert torch.equal(spike_count_pool(channels_last(values), 3), counts)
    assert torch.equal(spike_count_pool(values.transpose(3, 4).contiguous().transpose(3, 4), 3), counts)
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            assert torch.equal(spike_count_pool(values, 3), counts)
    finally:
        torch.set_num_threads(threads)


def test_static_image_repeated_over_time_and_slices() -> None:
    image = random_spikes((1, 2, 5, 4, 4))
    assert torch.equal(spike_count_pool(image.expand(6, -1, -1, -1, -1), 2), 6 * spike_count_pool(image, 2))
    part = random_spikes((6, 2, 9, 8, 8))[::2, :, 1::3, ::2, 1::2]
    assert torch.equal(spike_count_pool(part, 2), spike_count_pool(part.contiguous(), 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_spikes_are_counted_in_float32(dtype: torch.dtype) -> None:
    assert spike_count_pool(torch.ones(4097, 1, 1, 1, 1, dtype=dtype), 1).item() == 4097


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mean", [False, True])
def test_gradient_agrees_with_reference(dtype: torch.dtype, mean: bool) -> None:
    for layout in (torch.Tensor.contiguous, channels_last):
        spikes = layout(random_spikes((3, 2, 5, 4, 6), dtype)).requires_grad_()
        weight = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(1))
        grads = []
        for pool in (spike_count_pool, reference.spike_count_pool):
            counts = pool(spikes, 2, mean=mean)
            grads += torch.autograd.grad((counts * weight.to(counts.dtype)).sum(), spikes)
        assert grads[0].dtype == dtype
        assert torch.equal(*grads)


def test_gradient_reaches_what_comes_before_the_spikes() -> None:
    weight = torch.ones(5, requires_grad=True)
    spikes = random_spikes((3, 2, 5, 4, 4)) * weight.view(5, 1, 1)
    spike_count_pool(spikes, None, mean=True).square().mean().backward()
    assert weight.grad is not None
    assert (weight.grad > 0).all()


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("kernel_size", [2, None])
def test_gradcheck(kernel_size: int | None, mean: bool) -> None:
    values = torch.randn(3, 2, 2, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: spike_count_pool(x, kernel_size, mean=mean), values)
    assert torch.autograd.gradgradcheck(lambda x: spike_count_pool(x, kernel_size, mean=mean).square(), values)


def test_empty_input_and_its_gradient() -> None:
    for shape in [(3, 0, 4, 6, 6), (3, 2, 0, 6, 6), (3, 2, 4, 0, 6)]:
        spikes = torch.zeros(shape, requires_grad=True)
        counts = spike_count_pool(spikes, 3)
        assert counts.shape == (*shape[1:3], shape[3] // 3, 2)
        counts.sum().backward()
        assert spikes.grad is not None
        assert spikes.grad.shape == spikes.shape


def test_nan_stays_in_its_window() -> None:
    spikes = torch.zeros(2, 1, 1, 4, 4)
    spikes[1, 0, 0, 3, 3] = float("nan")
    counts = spike_count_pool(spikes, 2)
    assert counts.isnan().flatten().tolist() == [False, False, False, True]


def test_wrong_arguments() -> None:
    spikes = torch.zeros(2, 3, 4, 6, 6)
    with pytest.raises(ValueError, match=r"expects spikes \[T, N, C, H, W\], got shape \(3, 4, 6, 6\)"):
        spike_count_pool(spikes[0], 2)
    with pytest.raises(TypeError, match=r"got torch\.uint8; convert"):
        spike_count_pool(spikes.to(torch.uint8), 2)
    for kernel_size in (4, 5, 12, -2):
        with pytest.raises(ValueError, match=f"got kernel_size={kernel_size} for shape .*choose a common divisor"):
            spike_count_pool(spikes, kernel_size)
    with pytest.raises(ValueError, match="at least one timestep"):
        spike_count_pool(spikes[:0], 2)
    with pytest.raises(ValueError, match="kernel_size=None"):
        spike_count_pool(spikes[..., :0], None)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("spike_count_pool", (torch.zeros(2, 3, 4), 1, 1, 1)),
        ("spike_count_pool", (torch.zeros(2, 3, 4, 6, 6), 0, 1, 1)),
        ("spike_count_pool", (torch.zeros(2, 3, 4, 6, 6), 4, 2, 1)),
        ("spike_count_pool", (torch.zeros(2, 3, 4, 6, 6, dtype=torch.int32), 2, 2, 1)),
        ("spike_count_pool_backward", (torch.zeros(3, 4), 2, 2, 1, torch.float32)),
        ("spike_count_pool_backward", (torch.zeros(2, 3, 4, 4), 2, 2, 1, torch.float64)),
    ],
)
def test_the_ops_check_for_themselves(op: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(RuntimeError, match=f"{op}: .*expected"):
        getattr(torch.ops.eccsnn, op)(*arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype: torch.dtype) -> None:
    spikes = channels_last(random_spikes((3, 2, 5, 4, 6), dtype)).requires_grad_()
    torch.library.opcheck(torch.ops.eccsnn.spike_count_pool.default, (spikes, 2, 3, 18))
    grad = torch.randn(2, 5, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.library.opcheck(torch.ops.eccsnn.spike_count_pool_backward.default, (grad, 2, 3, 18, dtype))


@pytest.mark.parametrize("kernel_size", [2, None])
def test_compile_whole_graph(kernel_size: int | None) -> None:
    @torch.compile(fullgraph=True, dynamic=True)
    def loss(spikes: torch.Tensor) -> torch.Tensor:
        return spike_count_pool(spikes, kernel_size, mean=True).square().sum()

    for shape in [(3, 2, 5, 4, 6), (4, 3, 7, 8, 4)]:
        spikes = random_spikes(shape).requires_grad_()
        loss(spikes).backward()
        expected = reference.spike_count_pool(spikes, kernel_size, mean=True).square().sum()
        assert spikes.grad is not None
        torch.testing.assert_close(spikes.grad, torch.autograd.grad(expected, spikes)[0])
