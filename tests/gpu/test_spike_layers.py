"""Spike layers on CUDA: bits as on the CPU, and torch's own results on the same device."""

import pytest
import torch
from torch.nn import functional

from eccsnn.ops import _library, spike_conv2d, spike_linear, spike_max_pool2d

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and _library.load_cuda().loaded), reason="needs a CUDA GPU and the CUDA op library"
)

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def random_spikes(*shape, dtype=torch.float32):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.3).to(dtype)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


@pytest.fixture(autouse=True)
def deterministic_kernels():
    # The same kernel is to be chosen for both sides, and to add in the same order.
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 255, 256, 4099, 1_000_003])
def test_bits_are_those_of_the_cpu(dtype, count):
    spikes = random_spikes(count + 1, dtype=dtype)
    for first in (0, 1):  # the second is not aligned to 16 bytes
        part, on_device = spikes[first:], spikes.cuda()[first:]
        bits = torch.ops.eccsnn.pack_bits(part, True)
        assert torch.equal(torch.ops.eccsnn.pack_bits(on_device, False).cpu(), bits)
        size = [part.numel()]
        assert torch.equal(torch.ops.eccsnn.unpack_bits(bits.cuda(), size, dtype).cpu(), part)


def test_checking_is_refused_because_it_would_wait():
    with pytest.raises(RuntimeError, match="expected check=False for a CUDA tensor"):
        torch.ops.eccsnn.pack_bits(random_spikes(8).cuda(), True)


def results(function, tensors, *arguments):
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    out = function(*leaves, *arguments)
    grad = torch.empty_like(out).copy_(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)))
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        assert a.stride() == b.stride()
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("place", [torch.Tensor.contiguous, channels_last])
def test_layers_are_torchs(dtype, place):
    spikes = place(random_spikes(4, 16, 10, 12, dtype=dtype).cuda())
    weight, bias = torch.randn(8, 16, 3, 3).cuda().to(dtype), torch.randn(8).cuda().to(dtype)
    for window in ((1, 1), (2, 0, 2)):
        tensors = (spikes, place(weight), bias)
        assert_same(results(spike_conv2d, tensors, *window), results(functional.conv2d, tensors, *window))
    tensors = (spikes.flatten(1), torch.randn(7, 16 * 120).cuda().to(dtype), torch.randn(7).cuda().to(dtype))
    assert_same(results(spike_linear, tensors), results(functional.linear, tensors))
    # Windows that do not overlap: CUDA adds those that do in no fixed order.
    assert_same(results(spike_max_pool2d, (spikes,), 2), results(functional.max_pool2d, (spikes,), 2))
    for ours, theirs in zip(
        results(spike_max_pool2d, (spikes,), 3, 2, 1), results(functional.max_pool2d, (spikes,), 3, 2, 1), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("place", [torch.Tensor.contiguous, channels_last])
def test_bits_are_kept(place):
    spikes = place(random_spikes(3, 5, 7, 7).cuda()).requires_grad_()
    weight = torch.randn(4, 5, 3, 3, device="cuda", requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        spike_conv2d(spikes, weight)
        spike_max_pool2d(spikes, 2)
    shapes = [(tuple(t.shape), t.dtype) for t in kept]
    bits = ((92,), torch.uint8)
    assert shapes == [bits, ((4, 5, 3, 3), torch.float32), bits]


def test_autocast_casts_as_torch_does():
    tensors = (random_spikes(2, 3, 8, 8).cuda(), torch.randn(4, 3, 3, 3).cuda(), torch.randn(4).cuda())
    with torch.autocast("cuda", torch.bfloat16):
        assert_same(results(spike_conv2d, tensors), results(functional.conv2d, tensors))


def test_compiled_training():
    torch._dynamo.reset()
    spikes, weight = random_spikes(2, 3, 8, 8).cuda(), torch.randn(4, 3, 3, 3, device="cuda", requires_grad=True)
    compiled = torch.compile(spike_conv2d, fullgraph=True)
    out, expected = compiled(spikes, weight), spike_conv2d(spikes, weight)
    grad = torch.randn_like(expected)
    torch.testing.assert_close(out, expected)
    ours, theirs = (torch.autograd.grad(o, weight, grad)[0] for o in (out, expected))
    torch.testing.assert_close(ours, theirs)
