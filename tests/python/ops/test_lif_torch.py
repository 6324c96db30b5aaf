"""The LIF op as a citizen of torch: opcheck, compilation, autocast, threads, instruction sets."""

import os
import subprocess
import sys

import pytest
import torch

from eccsnn.build_info import build_info
from eccsnn.ops import lif

NEURON = (1.0, 0.0, "decayed_input", True, "atan", 2.0, False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("with_tau", [False, True])
def test_opcheck(dtype, with_state, with_tau):
    membrane = torch.float64 if dtype == torch.float64 else torch.float32
    x = torch.randn(3, 2, 5).to(dtype).requires_grad_()
    v_init = torch.randn(2, 5, dtype=membrane, requires_grad=True) if with_state else None
    tau = torch.tensor(1.7, dtype=membrane, requires_grad=True) if with_tau else None
    torch.library.opcheck(torch.ops.eccsnn.lif_forward, (x, v_init, tau, 2.0, *NEURON, with_state))
    plain = [None if a is None else a.detach() for a in (x, v_init, tau)]
    for packed in (False, True):
        torch.library.opcheck(torch.ops.eccsnn.lif_inference, (*plain, 2.0, *NEURON[:3], with_state, packed))
    packed, neuron = torch.full((3, 2, 1), 21, dtype=torch.uint8), (plain[2], 2.0, *NEURON[:3], with_state)
    torch.library.opcheck(torch.ops.eccsnn.lif_of_packed, (packed, 5, 1.5, dtype, plain[1], *neuron))
    grad_v = torch.randn(2, 5, dtype=membrane) if with_state else None
    kept = torch.empty(0, 2, 5, dtype=membrane)
    arguments = (torch.randn(3, 2, 5).to(dtype), grad_v, plain[0], kept, plain[1], plain[2], 2.0, *NEURON, with_tau)
    torch.library.opcheck(torch.ops.eccsnn.lif_backward, arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("with_state", [False, True])
def test_opcheck_of_the_mask(dtype, with_state):
    membrane = torch.float64 if dtype == torch.float64 else torch.float32
    x = torch.randn(3, 2, 5).to(dtype).requires_grad_()
    v_init = torch.randn(2, 5, dtype=membrane, requires_grad=True) if with_state else None
    neuron = (None, 2.0, 1.0, 0.0, "decayed_input", 1.5)
    torch.library.opcheck(torch.ops.eccsnn.lif_mask_forward, (x, v_init, *neuron, with_state, False))
    plain = (x.detach(), None if v_init is None else v_init.detach())
    torch.library.opcheck(torch.ops.eccsnn.lif_mask_forward, (*plain, *neuron, with_state, True))
    spikes, mask, _ = torch.ops.eccsnn.lif_mask_forward(*plain, *neuron, False, False)
    packed = torch.ops.eccsnn.lif_mask_forward(*plain, *neuron, False, True)
    assert packed[0].numel() == 0
    assert torch.equal(packed[1], mask)
    assert torch.equal(mask[0, :, 0] & 1, spikes[:, 0, 0].to(torch.uint8))
    grad_v = torch.randn(2, 5, dtype=membrane) if with_state else None
    arguments = (torch.randn(3, 2, 5).to(dtype), grad_v, mask, *neuron, with_state)
    torch.library.opcheck(torch.ops.eccsnn.lif_mask_backward, arguments)


def test_a_rectangular_surrogate_keeps_two_bits_a_spike():
    x = torch.randn(4, 3, 16, 5, 5).movedim(2, -1).contiguous().movedim(-1, 2).requires_grad_()
    weights = torch.randn_like(x)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        spikes, _ = lif(x, surrogate="rect", surrogate_alpha=1.0, return_state=False)
    assert sum(kept.values()) == 2 * x.numel() // 8
    tau = torch.tensor(2.0, requires_grad=True)  # whose gradient needs x
    whole, _ = lif(x, tau=tau, surrogate="rect", surrogate_alpha=1.0, return_state=False)
    assert torch.equal(spikes, whole)
    assert torch.equal(torch.autograd.grad(spikes, x, weights)[0], torch.autograd.grad(whole, x, weights)[0])


def test_opcheck_of_an_input_repeated_over_time():
    x = torch.randn(2, 5).expand(3, 2, 5)
    torch.library.opcheck(torch.ops.eccsnn.lif_inference, (x, None, None, 2.0, *NEURON[:3], True, False))


def train(x, v_init, tau):
    spikes, v = lif(x * 1.5, v_init, tau=tau, surrogate="sigmoid", surrogate_alpha=4.0)
    return (spikes * x).mean() + v.square().mean(), spikes


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_training_equals_eager(backend):
    torch._dynamo.reset()
    compiled = torch.compile(train, fullgraph=True, backend=backend)
    x, v_init, tau = torch.randn(4, 3, 6), torch.randn(3, 6), torch.tensor(1.7)
    results = []
    for function in (train, compiled):
        leaves = [a.clone().requires_grad_() for a in (x, v_init, tau)]
        loss, spikes = function(*leaves)
        loss.backward()
        results.append((spikes, loss, *(leaf.grad for leaf in leaves)))
    for eager, fused in zip(*results, strict=True):
        torch.testing.assert_close(eager, fused)
    assert torch.equal(results[0][0], results[1][0])


PLACEMENTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
    "with gaps": lambda x: x[:, :, :, ::2],
    "repeated over time": lambda x: x[:1].expand(16, *x.shape[1:]),
}


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("grad", [False, True])
def test_one_graph_serves_all_times_and_batches(placement, grad):
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = torch.compile(lif, fullgraph=True, dynamic=True, backend=backend)
    for timesteps, batch in ((4, 3), (7, 5), (2, 9)):
        x = PLACEMENTS[placement](torch.randn(timesteps, batch, 6, 12, 10)).detach().requires_grad_(grad)
        expected, expected_v = lif(x)
        spikes, v = compiled(x)
        assert torch.equal(spikes, expected)
        assert torch.equal(v, expected_v)
    assert len(graphs) == 1


def test_dynamic_shapes_train():
    torch._dynamo.reset()
    compiled = torch.compile(lif, fullgraph=True, dynamic=True, backend="aot_eager")
    for timesteps, batch in ((4, 3), (7, 5)):
        x = torch.randn(timesteps, batch, 3, 4, 4)
        leaves = [x.clone().requires_grad_() for _ in range(2)]
        for function, leaf in zip((compiled, lif), leaves, strict=True):
            function(leaf)[0].sum().backward()
        torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


@pytest.mark.parametrize("grad", [False, True])
def test_compiled_channels_last(grad):
    torch._dynamo.reset()
    x = torch.randn(3, 2, 5, 4, 4).permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3).requires_grad_(grad)
    spikes, v = torch.compile(lif, fullgraph=True, backend="aot_eager")(x)
    expected, expected_v = lif(x)
    assert torch.equal(spikes, expected)
    assert spikes.stride() == expected.stride()
    assert v.stride() == expected_v.stride()


def test_autocast_leaves_the_neuron_alone():
    layer = torch.nn.Linear(5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        currents = layer(torch.randn(3, 2, 5))
        spikes, v = lif(currents)
    assert spikes.dtype == torch.bfloat16
    assert v.dtype == torch.float32
    spikes.sum().backward()
    assert layer.weight.grad is not None


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def everything(x, v_init, tau):
    leaves = [a.detach().clone().requires_grad_() for a in (x, v_init, tau)]
    spikes, v = lif(leaves[0], leaves[1], tau=leaves[2], detach_reset=False)
    weights = torch.linspace(-1, 1, spikes.numel()).view_as(spikes)
    ((spikes * weights).sum() + v.sum()).backward()
    return [spikes, v, *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("tau", [2.0, 1.7])
def test_same_bits_for_any_number_of_threads(threads, tau):
    x, v_init, tau = torch.randn(4, 3, 30011), torch.randn(3, 30011), torch.tensor(tau)
    threads(1)
    expected = everything(x, v_init, tau)
    for number in (2, 3, 5):
        threads(number)
        for a, b in zip(everything(x, v_init, tau), expected, strict=True):
            assert torch.equal(a, b)


SCRIPT = """
import hashlib, itertools, torch
from eccsnn.ops import lif, logit_distillation, spike_count_pool
digest = hashlib.sha256()
def add(*tensors):
    for tensor in tensors:
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
generator = torch.Generator().manual_seed(0)
for dtype, surrogate, tau in itertools.product(
    (torch.float32, torch.float64, torch.bfloat16, torch.float16), ("atan", "sigmoid", "rect"), (2.0, 1.7)
):
    membrane = torch.float64 if dtype == torch.float64 else torch.float32
    for v_reset, neurons in ((0.0, 5003), (None, 129), (-0.25, 15)):
        x = (torch.randn(5, neurons, generator=generator) * 2).to(dtype).requires_grad_()
        v_init = torch.randn(neurons, generator=generator).to(membrane).requires_grad_()
        tau_tensor = torch.tensor(tau, dtype=membrane, requires_grad=True)
        spikes, v = lif(x, v_init, tau=tau_tensor, v_reset=v_reset, surrogate=surrogate, detach_reset=False)
        weights = torch.linspace(-1, 1, x.numel(), dtype=dtype).view_as(x)
        torch.autograd.backward([spikes, v], [weights, torch.ones_like(v)])
        for tensor in (spikes, v, x.grad, v_init.grad, tau_tensor.grad):
            add(tensor)
for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
    for channels_last in (False, True):
        x = torch.randn(3, 2, 21, 6, 9, generator=generator).to(dtype)
        x = x.movedim(2, -1).contiguous().movedim(-1, 2) if channels_last else x
        counts = spike_count_pool(x.requires_grad_(), 3, mean=True)
        add(counts, *torch.autograd.grad(counts.square().sum(), x))
    student, teacher = (torch.randn(5, 7, generator=generator).to(dtype) for _ in range(2))
    loss = logit_distillation(student.requires_grad_(), teacher, None, 3.0)
    add(loss, *torch.autograd.grad(loss.sum(), student))
print(torch.ops.eccsnn.isa(), digest.hexdigest())
"""


def under(isa, code=SCRIPT):
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "ECCSNN_ISA": isa}, capture_output=True, text=True, timeout=300
    )


def test_same_bits_on_every_instruction_set():
    order = ("baseline", "avx2", "avx512")
    supported = order[: order.index(build_info()["cpu"]["isa_supported"]) + 1]
    digests = {}
    for isa in supported:
        done = under(isa)
        assert done.returncode == 0, done.stderr
        name, digests[isa] = done.stdout.split()
        assert name == isa
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize("isa", ["sse9", "avx512"])
def test_an_instruction_set_that_is_not_there_is_an_error(isa):
    if isa == build_info()["cpu"]["isa_supported"]:
        isa = "AVX512"  # there, but spelled otherwise
    done = under(isa, "import eccsnn.ops")
    assert done.returncode != 0
    assert f"BuildError: ECCSNN_ISA={isa}" in done.stderr
    assert "unset" in done.stderr
