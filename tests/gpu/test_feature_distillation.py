"""spike_count_pool on CUDA against the CPU, bit for bit."""

import pytest
import torch

from eccsnn.ops import _library, spike_count_pool

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and _library.load_cuda().loaded), reason="needs a CUDA GPU and the CUDA op library"
)

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 12, None])
@pytest.mark.parametrize("channels_last", [False, True])
def test_has_the_bits_of_the_cpu(dtype: torch.dtype, kernel_size: int | None, channels_last: bool) -> None:
    values = torch.randn(4, 3, 33, 12, 12, generator=torch.Generator().manual_seed(0)).to(dtype)
    if channels_last:
        values = values.movedim(2, -1).contiguous().movedim(-1, 2)
    results = []
    for device in ("cpu", "cuda"):
        spikes = values.to(device).requires_grad_()
        counts = spike_count_pool(spikes, kernel_size, mean=True)
        (grad,) = torch.autograd.grad(counts.square().sum(), spikes)
        results.append((counts.detach().cpu(), grad.cpu()))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_empty_and_repeated_input() -> None:
    assert spike_count_pool(torch.zeros(3, 0, 4, 6, 6).cuda(), 3).shape == (0, 4, 2, 2)
    image = torch.rand(1, 2, 5, 4, 4).round()
    expected = spike_count_pool(image.expand(6, -1, -1, -1, -1), 2)
    assert torch.equal(spike_count_pool(image.cuda().expand(6, -1, -1, -1, -1), 2).cpu(), expected)


def test_opcheck() -> None:
    spikes = torch.rand(3, 2, 5, 4, 6).round().cuda().requires_grad_()
    torch.library.opcheck(torch.ops.eccsnn.spike_count_pool.default, (spikes, 2, 3, 18))
    grad = torch.randn(2, 5, 2, 2).cuda().requires_grad_()
    torch.library.opcheck(torch.ops.eccsnn.spike_count_pool_backward.default, (grad, 2, 3, 18, torch.bfloat16))
