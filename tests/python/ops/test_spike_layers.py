"""Spike layers against torch's own functions on the same dense input: the same bits, with bits saved."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from eccsnn.ops import lif, spike_conv2d, spike_linear, spike_max_pool2d
from eccsnn.ops.spike_bits import dense, pack_bits, unpack_bits

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def random_spikes(*shape, dtype=torch.float32, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3).to(dtype)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


# With gaps and repeats there is something to copy; sizes of 1 have strides that mean nothing, and yet choose kernels.
FORMATS = {
    "contiguous": lambda x: x.contiguous(),
    "channels_last": channels_last,
    "gaps": lambda x: torch.stack([x, 1 - x], -1)[..., 0],
    "channels_last_gaps": lambda x: channels_last(torch.cat([x, x], 3))[:, :, :, : x.shape[3]],
    "repeated": lambda x: x[:1].expand(x.shape),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
}


def results(function, tensors, seed=1, **arguments):
    """Output and gradients of all tensors (None where one is frozen), for random gradients of the output."""
    leaves = []
    for tensor in tensors:
        leaf = None if tensor is None else tensor.detach()
        leaves.append(leaf if leaf is None else leaf.requires_grad_(tensor.is_floating_point()))
    out = function(*leaves, **arguments)
    generator = torch.Generator().manual_seed(seed)
    grad = torch.empty_like(out).copy_(torch.randn(out.shape, generator=generator))
    wanted = [leaf for leaf in leaves if leaf is not None]
    return [out.detach(), *torch.autograd.grad(out, wanted, grad)]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        assert a.stride() == b.stride()
        assert torch.equal(a, b)


def saved(function, *arguments, **keywords):
    """What autograd keeps, as (shape, dtype)."""
    kept = []

    def pack(tensor):
        kept.append((tuple(tensor.shape), tensor.dtype))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = function(*arguments, **keywords)
    return kept, out


# ---- the same bits as torch ----


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("place", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    "window",
    [
        {},
        {"padding": 1},
        {"stride": 2, "padding": (1, 0), "dilation": (1, 2)},
        {"groups": 2},
        {"groups": 6, "padding": 1},
        {"padding": "same"},
        {"padding": "valid", "stride": (2, 1)},
    ],
    ids=str,
)
def test_conv2d_is_torchs(dtype, place, window):
    spikes = place(random_spikes(3, 6, 9, 7, dtype=dtype))
    for kernel, with_bias in (((3, 3), True), ((2, 3), False), ((1, 1), True)):
        weight = torch.randn(12, 6 // window.get("groups", 1), *kernel).to(dtype)
        for w in (weight, channels_last(weight)):
            tensors = (spikes, w, torch.randn(12).to(dtype) if with_bias else None)
            assert_same(results(spike_conv2d, tensors, **window), results(functional.conv2d, tensors, **window))


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 6, 1, 1), (1, 1, 1, 5), (0, 6, 8, 8), (6, 8, 8)], ids=str)
@pytest.mark.parametrize("as_channels_last", [False, True])
def test_conv2d_of_odd_shapes(shape, as_channels_last):
    spikes = random_spikes(*shape)
    if as_channels_last and spikes.dim() == 4:
        # Also where sizes of 1 leave torch the choice.
        spikes = torch.empty(shape).to(memory_format=torch.channels_last).copy_(spikes)
    tensors = (spikes, torch.randn(4, shape[-3], 3, 3), torch.randn(4))
    assert_same(results(spike_conv2d, tensors, padding=1), results(functional.conv2d, tensors, padding=1))


def test_conv2d_at_the_size_of_a_layer():
    tensors = (channels_last(random_spikes(16, 32, 16, 16)), channels_last(torch.randn(64, 32, 3, 3)), None)
    assert_same(results(spike_conv2d, tensors, padding=1), results(functional.conv2d, tensors, padding=1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 33), (33,), (4, 5, 33), (2, 3, 4, 33), (0, 33), (1, 33), (64, 33)], ids=str)
def test_linear_is_torchs(dtype, with_bias, shape):
    tensors = (random_spikes(*shape, dtype=dtype), torch.randn(17, 33).to(dtype), torch.randn(17).to(dtype))
    tensors = tensors if with_bias else (*tensors[:2], None)
    assert_same(results(spike_linear, tensors), results(functional.linear, tensors))


@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_of_strided_spikes(with_bias):
    rows = random_spikes(33, 8).t()
    gaps = random_spikes(8, 66)[:, ::2]
    for spikes in (rows, gaps, random_spikes(33, 3, 4).permute(1, 2, 0), random_spikes(1, 33).expand(8, 33)):
        tensors = (spikes, torch.randn(17, 33), torch.randn(17) if with_bias else None)
        assert_same(results(spike_linear, tensors), results(functional.linear, tensors))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("place", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("window", [(2,), (2, 2), (3, 2, 1), ((3, 2), (1, 2), (0, 1)), (2, 3), (3, 1, 1)], ids=str)
def test_max_pool2d_is_torchs(dtype, place, window):
    for channels in (1, 6, 16, 70):
        tensors = (place(random_spikes(3, channels, 9, 7, dtype=dtype)),)
        ours, theirs = (
            results(lambda x, f=f: f(x, *window), tensors) for f in (spike_max_pool2d, functional.max_pool2d)
        )
        assert_same(ours, theirs)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_ties_go_where_torch_sends_them(value):
    for place in (torch.Tensor.contiguous, channels_last):
        tensors = (place(torch.full((2, 8, 6, 6), value)),)
        for window in ((2,), (3, 2, 1)):
            ours, theirs = (
                results(lambda x, f=f, w=window: f(x, *w), tensors) for f in (spike_max_pool2d, functional.max_pool2d)
            )
            assert_same(ours, theirs)


@pytest.mark.parametrize("shape", [(0, 4, 6, 6), (4, 6, 6), (2, 4, 1, 1), (2, 1, 6, 6)], ids=str)
def test_max_pool2d_of_odd_shapes(shape):
    window = {"kernel_size": 1 if shape[-1] == 1 else 2}
    for spikes in (random_spikes(*shape), *([channels_last(random_spikes(*shape))] if len(shape) == 4 else [])):
        ours, theirs = (results(f, (spikes,), **window) for f in (spike_max_pool2d, functional.max_pool2d))
        assert_same(ours, theirs)


def test_negative_zero_is_no_spike():
    spikes = random_spikes(2, 3, 6, 6)
    tensors = (torch.where(spikes == 0, -0.0, spikes), torch.randn(4, 3, 3, 3), None)
    assert_same(results(spike_conv2d, tensors), results(functional.conv2d, tensors))


# ---- what is kept ----


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("place", [torch.Tensor.contiguous, channels_last])
def test_bits_are_kept_in_place_of_the_input(dtype, place):
    spikes = place(random_spikes(3, 5, 7, 7, dtype=dtype)).requires_grad_()
    bits = ((-(-3 * 5 * 7 * 7 // 8),), torch.uint8)
    weight = torch.randn(4, 5, 3, 3).to(dtype).requires_grad_()
    assert saved(spike_conv2d, spikes, weight)[0] == [bits, ((4, 5, 3, 3), dtype)]
    assert saved(spike_max_pool2d, spikes, 2)[0] == [bits]
    weight = torch.randn(4, 7).to(dtype).requires_grad_()
    assert saved(spike_linear, spikes.detach(), weight)[0] == [bits, ((4, 7), dtype)]


@pytest.mark.parametrize("place", [torch.Tensor.contiguous, channels_last])
def test_a_frozen_weight_keeps_no_bits(place):
    spikes = place(random_spikes(3, 5, 7, 7)).requires_grad_()
    weight, bias = torch.randn(4, 5, 3, 3), torch.randn(4, requires_grad=True)
    kept, out = saved(spike_conv2d, spikes, weight, bias, padding=1)
    assert kept == [((4, 5, 3, 3), torch.float32)]
    expected = functional.conv2d(spikes, weight, bias, padding=1)
    grad = torch.randn_like(out)
    assert_same(torch.autograd.grad(out, (spikes, bias), grad), torch.autograd.grad(expected, (spikes, bias), grad))

    rows, weight = random_spikes(6, 9).requires_grad_(), torch.randn(4, 9)
    kept, out = saved(spike_linear, rows, weight)
    assert kept == [((4, 9), torch.float32)]
    grad = torch.randn_like(out)
    expected = torch.autograd.grad(functional.linear(rows, weight), rows, grad)
    assert_same(torch.autograd.grad(out, rows, grad), expected)


def test_a_frozen_input_gets_no_gradient():
    spikes, weight = random_spikes(2, 3, 6, 6), torch.randn(4, 3, 3, 3, requires_grad=True)
    out = spike_conv2d(spikes, weight)
    grad = torch.randn_like(out)
    expected = torch.autograd.grad(functional.conv2d(spikes, weight), weight, grad)
    assert_same(torch.autograd.grad(out, weight, grad), expected)


def test_without_gradients_nothing_is_packed_or_checked():
    currents = torch.randn(2, 3, 6, 6)  # no spikes
    weight, matrix = torch.randn(4, 3, 3, 3, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    with torch.no_grad():
        assert torch.equal(spike_conv2d(currents, weight), functional.conv2d(currents, weight))
        assert torch.equal(spike_linear(currents, matrix), functional.linear(currents, matrix))
    assert torch.equal(spike_max_pool2d(currents, 2), functional.max_pool2d(currents, 2))


def test_the_input_may_be_overwritten_after_the_forward_pass():
    spikes, weight = random_spikes(2, 3, 6, 6), torch.randn(4, 3, 3, 3, requires_grad=True)
    expected = torch.autograd.grad(functional.conv2d(spikes, weight).sum(), weight)
    out = spike_conv2d(spikes, weight)
    spikes.zero_()
    assert torch.equal(torch.autograd.grad(out.sum(), weight)[0], expected[0])


# ---- autocast ----


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_casts_as_torch_does(dtype):
    image, matrix = random_spikes(2, 3, 8, 8), random_spikes(5, 9)
    conv = (image, torch.randn(4, 3, 3, 3), torch.randn(4))
    linear = (matrix, torch.randn(4, 9), torch.randn(4))
    with torch.autocast("cpu", dtype):
        assert_same(results(spike_conv2d, conv), results(functional.conv2d, conv))
        assert_same(results(spike_linear, linear), results(functional.linear, linear))
        assert_same(
            results(spike_max_pool2d, (image,), kernel_size=2),
            results(functional.max_pool2d, (image,), kernel_size=2),
        )
        weight = conv[1].requires_grad_()
        kept, out = saved(spike_conv2d, image, weight)
        double = spike_linear(matrix.double(), linear[1].double())
    assert out.dtype == dtype
    assert ((48,), torch.uint8) in kept
    assert not any(shape == tuple(image.shape) for shape, _ in kept)
    assert double.dtype == torch.float64


# ---- errors ----


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan"), float("inf")])
@pytest.mark.parametrize("place", [torch.Tensor.contiguous, channels_last])
def test_a_value_that_is_no_spike_is_named(value, place):
    spikes = random_spikes(2, 3, 6, 6)
    spikes[1, 2, 3, 4] = value
    spikes = place(spikes)
    weight, matrix = torch.randn(4, 3, 3, 3, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    named = rf"spikes\[1, 2, 3, 4\] is {value}; expected 0 or 1\. Use torch\.nn\.functional\."
    with pytest.raises(ValueError, match=f"spike_conv2d: {named}conv2d"):
        spike_conv2d(spikes, weight)
    with pytest.raises(ValueError, match=r"spike_linear: .*torch\.nn\.functional\.linear for inputs that are not"):
        spike_linear(spikes, matrix)
    with pytest.raises(ValueError, match=f"spike_max_pool2d: {named}max_pool2d"):
        spike_max_pool2d(spikes.requires_grad_(), 2)


def test_second_derivatives_are_refused():
    spikes = random_spikes(2, 3, 6, 6).requires_grad_()
    weight, matrix = torch.randn(4, 3, 3, 3, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    for name, out in (
        ("spike_conv2d", spike_conv2d(spikes, weight)),
        ("spike_linear", spike_linear(spikes, matrix)),
        ("spike_max_pool2d", spike_max_pool2d(spikes, 2)),
    ):
        with pytest.raises(RuntimeError, match=f"{name} has no second derivative"):
            torch.autograd.grad(out.sum(), spikes, create_graph=True)


def test_wrong_arguments():
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    for function, arguments in ((spike_conv2d, (weight,)), (spike_linear, (weight,)), (spike_max_pool2d, (2,))):
        with pytest.raises(TypeError, match=r"spikes is torch\.int64; expected a tensor of float32"):
            function(torch.ones(2, 3, 6, 6, dtype=torch.int64), *arguments)
        with pytest.raises(TypeError, match="spikes is list; expected a tensor of float32"):
            function([1.0], *arguments)
    spikes = random_spikes(2, 3, 6, 6)
    with pytest.raises(ValueError, match="padding='full'; expected numbers, 'same' or 'valid'"):
        spike_conv2d(spikes, weight, padding="full")
    with pytest.raises(ValueError, match=r"padding='same' with stride=\(2, 2\); expected stride 1"):
        spike_conv2d(spikes, weight, padding="same", stride=2)
    with pytest.raises(RuntimeError, match="channels"):
        spike_conv2d(spikes[:, :2], weight)


# ---- the ops ----


@settings(deadline=None, max_examples=80)
@given(
    shape=st.lists(st.integers(0, 9), min_size=0, max_size=5),
    dtype=st.sampled_from(DTYPES),
    order=st.permutations(range(5)),
    seed=st.integers(0, 2**16),
)
def test_any_shape_and_memory_order_round_trips(shape, dtype, order, seed):
    spikes = random_spikes(*shape, dtype=dtype, seed=seed)
    order = [d for d in order if d < len(shape)]
    spikes = spikes.permute(order).contiguous().permute([order.index(d) for d in range(len(order))])
    assert dense(spikes) is spikes
    bits, placement = pack_bits(spikes, "test")
    in_memory = torch.as_strided(spikes, (spikes.numel(),), (1,)) if spikes.numel() else spikes.flatten()
    expected = np.packbits(in_memory.to(torch.uint8).numpy(), bitorder="little")
    assert bits.tolist() == expected.tolist()
    back = unpack_bits(bits, placement)
    assert back.dtype == dtype
    assert back.stride() == spikes.stride()
    assert torch.equal(back, spikes)


@pytest.mark.parametrize("count", [0, 1, 8, 4095, 4096, 4097, 300_001])
def test_same_bits_for_any_number_of_threads(count):
    spikes = random_spikes(count)
    expected = np.packbits(spikes.to(torch.uint8).numpy(), bitorder="little")
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            bits = torch.ops.eccsnn.pack_bits(spikes, True)
            assert np.array_equal(bits.numpy(), expected)
            assert torch.equal(torch.ops.eccsnn.unpack_bits(bits, [count], torch.float32), spikes)
    finally:
        torch.set_num_threads(threads)


def test_the_first_offender_of_all_threads_is_named():
    spikes = torch.zeros(1_000_000)
    spikes[[300_007, 700_000, 999_999]] = 3.0
    with pytest.raises(RuntimeError, match="element 300007 of 1000000 in the order of memory is 3, expected 0 or 1"):
        torch.ops.eccsnn.pack_bits(spikes, True)
    assert torch.equal(torch.ops.eccsnn.pack_bits(spikes, False), torch.ops.eccsnn.pack_bits(spikes / 3, True))


def test_opcheck():
    for dtype, shape in itertools.product(DTYPES, ((3, 5, 7), (0, 4), ())):
        spikes = random_spikes(*shape, dtype=dtype)
        torch.library.opcheck(torch.ops.eccsnn.pack_bits.default, (spikes, True))
        bits = torch.ops.eccsnn.pack_bits(spikes, True)
        torch.library.opcheck(torch.ops.eccsnn.unpack_bits.default, (bits, shape, dtype))
    grad = torch.randn(2, 3, 3, 5)
    bits = torch.ops.eccsnn.pack_bits(random_spikes(2, 6, 6, 5), True)
    arguments = (grad, bits, 6, 6, [2, 2], [2, 2], [0, 0])
    torch.library.opcheck(torch.ops.eccsnn.spike_max_pool2d_backward.default, arguments)


BITS = torch.zeros(9, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("op", "arguments", "message"),
    [
        ("pack_bits", (torch.zeros(3, dtype=torch.int32), True), "expected float32"),
        ("unpack_bits", (torch.zeros(9), [72], torch.float32), "expected bits of dtype uint8"),
        ("unpack_bits", (BITS, [64], torch.float32), r"expected bits \[8\] for 64 elements"),
        ("unpack_bits", (BITS.view(3, 3), [72], torch.float32), r"expected bits \[9\]"),
        ("unpack_bits", (BITS, [-72], torch.float32), "without negative numbers"),
        ("unpack_bits", (BITS, [72], torch.int32), "expected float32"),
        ("spike_max_pool2d_backward", (torch.zeros(2, 3, 3), BITS, 6, 6, [2, 2], [2, 2], [0, 0]), "expected grad"),
        ("spike_max_pool2d_backward", (torch.zeros(2, 3, 3, 1), BITS, 6, 8, [2, 2], [2, 2], [0, 0]), "pooling 6 x 8"),
        ("spike_max_pool2d_backward", (torch.zeros(2, 3, 3, 1), BITS, 6, 6, [0, 2], [2, 2], [0, 0]), "two numbers"),
        ("spike_max_pool2d_backward", (torch.zeros(2, 3, 3, 1), BITS, 6, 6, [2, 2], [2, 0], [0, 0]), "two numbers"),
        ("spike_max_pool2d_backward", (torch.zeros(2, 3, 3, 1), BITS, 6, 6, [2, 2], [2, 2], [2, 2]), "half the kernel"),
        ("spike_max_pool2d_backward", (torch.zeros(3, 3, 3, 1), BITS, 6, 6, [2, 2], [2, 2], [0, 0]), "uint8 bits"),
    ],
)
def test_the_ops_check_for_themselves(op, arguments, message):
    with pytest.raises(RuntimeError, match=message):
        getattr(torch.ops.eccsnn, op)(*arguments)


# ---- compilation ----


def network(conv2d, linear, max_pool2d):
    def run(spikes, kernel, bias, matrix):
        hidden, _ = lif(conv2d(spikes, kernel, bias, 1, 1).unsqueeze(0), return_state=False)
        return linear(max_pool2d(hidden[0], 2).flatten(1), matrix)

    return run


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("place", [torch.Tensor.contiguous, channels_last])
def test_compiled_training_keeps_bits(backend, place):
    torch._dynamo.reset()
    ours = network(spike_conv2d, spike_linear, spike_max_pool2d)
    compiled = torch.compile(ours, fullgraph=True, dynamic=True, backend=backend)
    plain = network(functional.conv2d, functional.linear, functional.max_pool2d)
    weights = torch.randn(8, 3, 3, 3), torch.randn(8), torch.randn(5, 8 * 4 * 4)
    for batch in (4, 7):
        spikes = place(random_spikes(batch, 3, 8, 8))
        leaves = [[a.clone().requires_grad_() for a in weights] for _ in range(2)]
        expected = plain(spikes, *leaves[0])
        kept, out = saved(compiled, spikes, *leaves[1])
        for run_out in (expected, out):
            run_out.square().sum().backward()
        torch.testing.assert_close(out, expected)
        for ours_leaf, leaf in zip(leaves[1], leaves[0], strict=True):
            torch.testing.assert_close(ours_leaf.grad, leaf.grad, rtol=1e-4, atol=1e-4)
        bits = sorted(shape[0] for shape, dtype in kept if dtype == torch.uint8)
        assert bits == sorted([batch * 3 * 8 * 8 // 8, batch * 8 * 8 * 8 // 8, batch * 8 * 4 * 4 // 8])
        shapes = [shape for shape, _ in kept]
        assert tuple(spikes.shape) not in shapes
        assert (batch, 8, 4, 4) not in shapes
        assert torch.int64 not in [dtype for _, dtype in kept]


def test_compiled_graphs_check_too():
    torch._dynamo.reset()
    compiled = torch.compile(spike_linear, fullgraph=True, backend="aot_eager")
    with pytest.raises(
        RuntimeError, match=r"element 0 of 6 .*is 0\.5, expected 0 or 1; for inputs that are not spikes"
    ):
        compiled(torch.full((2, 3), 0.5), torch.randn(4, 3, requires_grad=True))


def test_compiled_autocast():
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def run(spikes, weight):
        with torch.autocast("cpu", torch.bfloat16):
            return spike_conv2d(spikes, weight)

    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    out = run(random_spikes(2, 3, 6, 6), weight)
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert weight.grad.dtype == torch.float32
