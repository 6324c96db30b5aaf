"""Batch norm with LIF neurons on CUDA against the CPU: the same bits where both sum and round alike."""

import itertools

import pytest
import torch

from eccsnn.nn import LIF
from eccsnn.ops import batch_norm_lif, channel_statistics, reference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SHAPES = [(4, 3, 5), (4, 2, 64, 16, 16), (17, 3, 8, 5, 5), (3, 2, 600, 2, 3), (2, 5, 2048, 1, 3), (1, 700, 12, 4, 4)]


def sample(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(shape, generator=generator) * 1.5 + 0.7).to(dtype)
    membrane = reference.membrane_dtype(dtype)
    channels = shape[2]
    weight = torch.rand(channels, generator=generator).to(membrane) + 0.5
    bias = torch.randn(channels, generator=generator).to(membrane)
    v_init = torch.randn((shape[1], *shape[2:]), generator=generator).to(membrane)
    return x.movedim(2, -1).contiguous().movedim(-1, 2), weight, bias, v_init


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_equal_the_cpus(dtype, shape):
    x, *_ = sample(shape, dtype)
    for placed in (x, x.contiguous()):
        for cpu, cuda in zip(channel_statistics(placed), channel_statistics(placed.cuda()), strict=True):
            tolerance = 1e-12 if dtype == torch.float64 else 2e-6
            torch.testing.assert_close(cuda.cpu(), cpu, rtol=tolerance, atol=tolerance)


def run(device, tensors, statistics, weights, **arguments):
    leaves = [a.detach().to(device).requires_grad_() for a in tensors]
    x, weight, bias, v_init, tau = leaves
    mean, variance = (a.to(device) for a in statistics)
    spikes, v = batch_norm_lif(x, mean, variance, weight, bias, v_init, tau=tau, **arguments)
    gradients = torch.autograd.grad([spikes, v], leaves, [a.to(device) for a in weights])
    return [a.detach().cpu() for a in (spikes, v)], [a.cpu() for a in gradients]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("repeated", [True, False])
def test_cuda_equals_cpu(dtype, shape, batch_statistics, repeated):
    x, weight, bias, v_init = sample(shape, dtype)
    x = x[:1] if repeated else x
    statistics = channel_statistics(x)
    tensors = (x, weight, bias, v_init, torch.tensor(1.7, dtype=weight.dtype))
    weights = [torch.randn(shape).to(dtype), torch.randn(v_init.shape).to(v_init.dtype)]
    for v_reset, (surrogate, alpha) in itertools.product((0.0, None), (("atan", 2.0), ("sigmoid", 4.0), ("rect", 1.0))):
        arguments = {
            "v_reset": v_reset,
            "surrogate": surrogate,
            "surrogate_alpha": alpha,
            "batch_statistics": batch_statistics,
            "timesteps": shape[0],
        }
        cpu, cpu_gradients = run("cpu", tensors, statistics, weights, **arguments)
        cuda, cuda_gradients = run("cuda", tensors, statistics, weights, **arguments)
        for a, b in zip(cuda, cpu, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(cuda_gradients[3], cpu_gradients[3])  # v_init: nothing is summed
        if not batch_statistics and not repeated and dtype in (torch.float32, torch.float64):
            assert torch.equal(cuda_gradients[0], cpu_gradients[0])
        for a, b in zip(cuda_gradients, cpu_gradients, strict=True):
            tolerance = 1e-10 if dtype == torch.float64 else 1e-4 if dtype == torch.float32 else 1e-2
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def test_no_host_synchronisation_and_one_answer():
    norm = torch.nn.BatchNorm2d(64).cuda()
    neurons = LIF()
    x = torch.randn(4, 8, 64, 16, 16, device="cuda").movedim(2, -1).contiguous().movedim(-1, 2).requires_grad_()
    weights = torch.randn_like(x)
    results = []
    neurons(x, norm=norm)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            spikes = neurons(x, norm=norm)
            results.append((spikes, *torch.autograd.grad(spikes, (x, norm.weight, norm.bias), weights)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
