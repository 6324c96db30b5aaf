"""The LIF op on CUDA against the CPU: the same bits forwards and backwards, tau's summed gradient up to rounding."""

import itertools

import pytest
import torch

from eccsnn.ops import lif, lif_of_packed, lif_packed, pack_spikes, reference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def run(device, x, v_init, tau, weights, **neuron):
    leaves = [a.detach().to(device).requires_grad_() for a in (x, v_init, tau)]
    spikes, v = lif(leaves[0], leaves[1], tau=leaves[2], **neuron)
    torch.autograd.backward([spikes, v], [weights.to(device), torch.ones_like(v)])
    return [a.detach().cpu() for a in (spikes, v)], [leaf.grad.cpu() for leaf in leaves]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tau", [2.0, 1.7])
@pytest.mark.parametrize(
    ("v_reset", "decay_input", "detach_reset"),
    list(itertools.product((0.0, None, -0.25), (True, False), (True, False))),
)
@pytest.mark.parametrize(("surrogate", "alpha"), [("atan", 2.0), ("sigmoid", 4.0), ("rect", 1.0)])
def test_cuda_equals_cpu(dtype, tau, v_reset, decay_input, detach_reset, surrogate, alpha):
    generator = torch.Generator().manual_seed(0)
    membrane = reference.membrane_dtype(dtype)
    for timesteps, neurons in ((5, 1), (4, 31), (3, 256), (5, 4099), (4, 20000), (16, 500), (17, 500), (40, 500)):
        x = (torch.randn(timesteps, neurons, generator=generator) * 2).to(dtype)
        v_init = torch.randn(neurons, generator=generator).to(membrane)
        weights = torch.randn(timesteps, neurons, generator=generator).to(dtype)
        arguments = (x, v_init, torch.tensor(tau, dtype=membrane), weights)
        neuron = {
            "v_reset": v_reset,
            "decay_input": decay_input,
            "detach_reset": detach_reset,
            "surrogate": surrogate,
            "surrogate_alpha": alpha,
        }
        cpu, cpu_gradients = run("cpu", *arguments, **neuron)
        cuda, cuda_gradients = run("cuda", *arguments, **neuron)
        *cpu_gradients, cpu_tau = cpu_gradients
        *cuda_gradients, cuda_tau = cuda_gradients
        for a, b in zip(cuda + cuda_gradients, cpu + cpu_gradients, strict=True):
            assert torch.equal(a, b)
        # Summed in double, in another order.
        torch.testing.assert_close(cuda_tau, cpu_tau, rtol=1e-5 if membrane == torch.float32 else 1e-11, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inference_and_reference(dtype):
    x = (torch.randn(4, 3, 1001) * 2).to(dtype).cuda()
    for tau in (2.0, 3.3):
        spikes, v = lif(x, tau=tau)
        expected, expected_v = reference.lif(x, tau=tau)
        assert torch.equal(spikes, expected)
        assert torch.equal(v, expected_v)


def test_layouts_repeated_time_and_empty():
    x = torch.randn(3, 2, 5, 4, 4, device="cuda")
    expected, _ = lif(x)
    placed = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    spikes, v = lif(placed)
    assert torch.equal(spikes, expected)
    assert spikes.stride() == placed.stride()
    assert torch.equal(lif(x[:, :, :, :, 1:])[0], expected[:, :, :, :, 1:])
    assert torch.equal(lif(x[:1].expand(6, *x.shape[1:]))[0], lif(x[:1].repeat(6, 1, 1, 1, 1))[0])
    spikes, v = lif(torch.zeros(3, 0, 4, device="cuda"))
    assert spikes.shape == (3, 0, 4)
    assert v.shape == (0, 4)


def test_pointers_that_are_not_aligned():
    x = torch.randn(2, 4097, device="cuda")
    assert torch.equal(lif(x[:, 1:])[0], lif(x)[0][:, 1:])


def test_runs_on_the_current_stream():
    x = torch.randn(4, 1_000_000)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        spikes, _ = lif(x.cuda(non_blocking=True) * 2)
    stream.synchronize()
    assert torch.equal(spikes.cpu(), lif(x * 2)[0])


def test_gradient_of_tau_is_repeatable():
    x = torch.randn(4, 100_003, device="cuda")
    gradients = []
    for _ in range(3):
        tau = torch.tensor(1.7, device="cuda", requires_grad=True)
        lif(x, tau=tau)[0].sum().backward()
        gradients.append(tau.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_smooth_derivatives():
    x = torch.randn(3, 5, dtype=torch.float64, device="cuda", requires_grad=True)
    tau = torch.tensor(1.7, dtype=torch.float64, device="cuda", requires_grad=True)

    def function(x, tau):
        return lif(x, tau=tau, detach_reset=False, smooth=True)

    assert torch.autograd.gradcheck(function, (x, tau))


def test_opcheck_and_compile():
    x = torch.randn(3, 2, 5, device="cuda", requires_grad=True)
    arguments = (x, None, None, 2.0, 1.0, 0.0, "decayed_input", True, "atan", 2.0, False, True)
    torch.library.opcheck(torch.ops.eccsnn.lif_forward, arguments)
    torch._dynamo.reset()
    compiled = torch.compile(lif, fullgraph=True)
    assert torch.equal(compiled(x)[0], lif(x)[0])


def test_devices_that_differ():
    x = torch.randn(3, 5, device="cuda")
    with pytest.raises(ValueError, match="v_init is on cpu, x on cuda"):
        lif(x, torch.zeros(5))
    with pytest.raises(ValueError, match="tau is on cpu, x on cuda"):
        lif(x, tau=torch.tensor(2.0))
    neuron = (2.0, 1.0, 0.0, "decayed_input", True, False)
    for given in (x.cpu(), x):
        with pytest.raises(RuntimeError, match="v_init is on another device than x"):
            torch.ops.eccsnn.lif_inference(
                given, torch.zeros(5, device="cpu" if given.is_cuda else "cuda"), None, *neuron
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [3, 8, 24])
def test_packed_spikes(dtype, channels):
    x = (torch.randn(4, 3, channels, 5, 6) * 2).to(dtype).cuda()
    for placed in (x, x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)):
        spikes, v = lif(placed, tau=1.7)
        packed, v_packed = lif_packed(placed, tau=1.7)
        assert torch.equal(packed, pack_spikes(spikes))
        assert torch.equal(v_packed, v)
    unaligned = (torch.randn(4, 2, 9) * 2).to(dtype).cuda()[:, :, 1:]
    assert torch.equal(lif_packed(unaligned)[0], pack_spikes(lif(unaligned)[0]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [2, 11, 24])
def test_neurons_read_packed_spikes(dtype, channels):
    packed = torch.randint(0, 256, (5, 2, 7, 9, (channels + 7) // 8), dtype=torch.uint8)
    on_cpu = lif_of_packed(packed, channels, gain=1.3, dtype=dtype, tau=1.7)
    for result, expected in zip(
        lif_of_packed(packed.cuda(), channels, gain=1.3, dtype=dtype, tau=1.7), on_cpu, strict=True
    ):
        assert torch.equal(result.cpu(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("v_reset", [0.0, None, -0.25])
def test_a_rectangular_surrogate_from_bits(dtype, v_reset):
    neuron = {"v_reset": v_reset, "surrogate": "rect", "surrogate_alpha": 1.0, "tau": 1.7}
    for shape in ((4, 3, 16), (3, 1001), (17, 64)):
        x = (torch.randn(shape) * 2).to(dtype)
        v_init = torch.randn(shape[1:]).to(reference.membrane_dtype(dtype))
        weights = torch.randn(shape).to(dtype)
        results = []
        for device in ("cpu", "cuda"):
            leaves = [a.to(device).requires_grad_() for a in (x, v_init)]
            spikes, v = lif(*leaves, **neuron)
            gradients = torch.autograd.grad([spikes, v], leaves, [weights.to(device), torch.ones_like(v)])
            results.append([a.detach().cpu() for a in (spikes, v, *gradients)])
        for a, b in zip(*results, strict=True):
            assert torch.equal(a, b)
