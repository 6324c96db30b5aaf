"""The LIF op forwards: the same bits as the reference, whatever the layout, the threads and the vector width."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.ops import lif, lif_of_packed, lif_packed, pack_spikes, reference, unpack_spikes

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
NEURONS = [
    {"tau": tau, "v_reset": v_reset, "decay_input": decay_input, "v_threshold": v_threshold}
    for tau, v_reset, decay_input, v_threshold in itertools.product(
        (1.0, 2.0, 1.7, 20.0), (0.0, None, -0.25, 0.1), (True, False), (1.0, 0.3)
    )
]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """The same bits, signs of zeros included, except that any NaN equals any other."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    equal_bits = a.contiguous().view(bits) == b.contiguous().view(bits)
    return bool((equal_bits | (a.isnan() & b.isnan())).all())


def assert_matches_reference(x, v_init=None, **neuron):
    spikes, v = lif(x, v_init, **neuron)
    expected_spikes, expected_v = reference.lif(x, v_init, **neuron)
    assert same(spikes, expected_spikes)
    assert same(v, expected_v)
    return spikes, v


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_matches_reference(dtype, neuron):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(7, 3, 41, generator=generator) * (2 * neuron["tau"] if neuron["decay_input"] else 2)).to(dtype)
    v_init = torch.randn(3, 41, generator=generator).to(reference.membrane_dtype(dtype))
    spikes, _ = assert_matches_reference(x, **neuron)
    assert_matches_reference(x, v_init, **neuron)
    assert 0 < spikes.float().mean() < 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("timesteps", [1, 2, 5])
def test_matches_reference_around_vector_widths(dtype, timesteps):
    generator = torch.Generator().manual_seed(1)
    for neurons in [*range(1, 20), 31, 32, 33, 63, 64, 65, 127, 129, 2047, 2048, 2049, 4100]:
        x = (torch.randn(timesteps, neurons, generator=generator) * 2).to(dtype)
        assert_matches_reference(x, tau=1.7)


def test_grad_mode_and_inference_agree():
    x = torch.randn(4, 100) * 2
    spikes, v = lif(x.clone().requires_grad_())
    assert spikes.requires_grad
    with torch.no_grad():
        spikes_inference, v_inference = lif(x.clone().requires_grad_())
    assert not spikes_inference.requires_grad
    assert torch.equal(spikes, spikes_inference)
    assert torch.equal(v, v_inference)


@pytest.mark.parametrize("tau_dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tau_as_a_tensor(dtype, tau_dtype):
    x = (torch.randn(4, 50) * 2).to(dtype)
    for tau in (2.0, 1.75):
        assert_matches_reference(x, tau=torch.tensor(tau, dtype=tau_dtype))
        assert torch.equal(lif(x, tau=torch.tensor(tau, dtype=tau_dtype))[0], lif(x, tau=tau)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("v_reset", [0.0, None, -0.25])
def test_all_timesteps_at_once_equal_single_steps(dtype, v_reset):
    x = (torch.randn(6, 2, 33) * 2).to(dtype)
    spikes, v_final = lif(x, tau=1.7, v_reset=v_reset)
    v = None
    for t in range(len(x)):
        spikes_t, v = lif(x[t : t + 1], v, tau=1.7, v_reset=v_reset)
        assert torch.equal(spikes_t[0], spikes[t])
    assert torch.equal(v, v_final)


# ---- layouts ----


def layouts(x):
    """The same values [T, N, C, H, W] in other places in memory."""
    yield "channels last", x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    yield "time second in memory", x.transpose(0, 1).contiguous().transpose(0, 1)
    yield "time innermost in memory", x.permute(1, 2, 3, 4, 0).contiguous().permute(4, 0, 1, 2, 3)
    yield "height and width swapped", x.transpose(3, 4).contiguous().transpose(3, 4)
    wide = torch.zeros(*x.shape[:-1], x.shape[-1] + 3, dtype=x.dtype)
    wide[..., 1:-2] = x
    yield "gaps in every row", wide[..., 1:-2]
    long = torch.zeros(2 * len(x), *x.shape[1:], dtype=x.dtype)
    long[::2] = x
    yield "gaps between timesteps", long[::2]
    yield "offset", torch.cat([torch.zeros_like(x[:1]), x])[1:]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grad", [False, True])
def test_layouts(dtype, grad):
    x = (torch.randn(3, 2, 5, 4, 3) * 2).to(dtype)
    v_init = torch.randn(2, 5, 4, 3).to(reference.membrane_dtype(dtype))
    expected, expected_v = lif(x, v_init)
    for name, placed in layouts(x):
        assert torch.equal(placed, x), name
        spikes, v = lif(placed.detach().requires_grad_(grad), v_init)
        assert torch.equal(spikes, expected), name
        assert torch.equal(v, expected_v), name


def test_memory_order_is_kept():
    x = torch.randn(3, 2, 5, 4, 4).permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3).requires_grad_()
    spikes, v = lif(x)
    spikes.sum().backward()
    assert spikes.stride() == x.stride()
    assert x.grad.stride() == x.stride()
    assert v.stride() == x[0].stride()
    assert v.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", DTYPES)
def test_input_repeated_over_time_is_not_copied(dtype):
    image = (torch.randn(2, 3, 8, 8) * 2).to(dtype)
    for one in (image, image.contiguous(memory_format=torch.channels_last), image[..., ::2]):
        x = one.expand(5, *one.shape)
        assert x.stride(0) == 0
        spikes, v = lif(x)
        expected, expected_v = lif(x.contiguous())
        assert torch.equal(spikes, expected)
        assert torch.equal(v, expected_v)


def test_results_do_not_alias_the_input():
    x = torch.ones(1, 3)
    v_init = torch.zeros(3)
    spikes, v = lif(x, v_init)
    spikes.add_(5)
    v.add_(5)
    assert torch.equal(x, torch.ones(1, 3))
    assert torch.equal(v_init, torch.zeros(3))


@pytest.mark.parametrize("shape", [(3, 0), (2, 0, 4), (1, 2, 3, 0, 4), (4, 0, 3, 8, 8)])
@pytest.mark.parametrize("grad", [False, True])
def test_empty_inputs(shape, grad):
    x = torch.zeros(shape, requires_grad=grad)
    spikes, v = lif(x)
    assert spikes.shape == shape
    assert v.shape == shape[1:]
    if grad:
        spikes.sum().backward()
        assert x.grad.shape == shape


def test_one_neuron_without_dimensions():
    spikes, v = lif(torch.tensor([1.5, 1.5, 1.5]))
    assert spikes.tolist() == [0.0, 1.0, 0.0]
    assert v.shape == ()


def test_many_timesteps_and_many_neurons():
    assert_matches_reference(torch.randn(300, 17))
    x = torch.randn(2, 1_000_003)
    assert_matches_reference(x)


# ---- special values ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("v_reset", [0.0, None, -0.25])
@pytest.mark.parametrize("decay_input", [True, False])
def test_nan_and_infinity_as_in_the_reference(dtype, v_reset, decay_input):
    values = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-40, 6e-8, 3e4, -3e4]
    x = torch.tensor([[a] * len(values) for a in values] + [[0.0] * len(values)] * 2).to(dtype)
    x[1] = torch.tensor(values).to(dtype)
    for steps in (x, x[1:], x[3:]):
        spikes, _ = assert_matches_reference(steps, v_reset=v_reset, decay_input=decay_input)
        assert not spikes.isnan().any()


def test_nan_does_not_fire_and_stays_in_its_neuron():
    x = torch.full((4, 3), 3.0)
    x[1, 1] = float("nan")
    spikes, v = lif(x)
    assert spikes[:, 1].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert v.isnan().tolist() == [False, True, False]
    assert spikes[:, [0, 2]].all()


def test_membrane_at_the_threshold_fires():
    spikes, v = lif(torch.full((1, 1), 2.0), tau=2.0, v_threshold=1.0)
    assert spikes.item() == 1.0
    assert v.item() == 0.0


def test_halves_keep_a_float32_membrane():
    # Each step adds 1 / 512 to a membrane near 1: bfloat16 (8 bits) would lose it.
    x = torch.full((4, 1), 2.0**-9, dtype=torch.bfloat16)
    _, v = lif(x, torch.full((1,), 0.5), leak=False)
    assert v.dtype == torch.float32
    assert v.item() == 0.5 + 4 * 2.0**-9


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    timesteps=st.integers(1, 6),
    neurons=st.integers(0, 70),
    tau=st.floats(1.0, 50.0),
    v_threshold=st.floats(0.01, 5.0),
    v_reset=st.none() | st.floats(-2.0, 0.5),
    decay_input=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
def test_any_neuron_and_input(data, timesteps, neurons, tau, v_threshold, v_reset, decay_input, dtype):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    x = (torch.randn(timesteps, neurons, generator=generator) * data.draw(st.floats(0.0, 10.0))).to(dtype)
    if v_reset is not None:
        v_reset = min(v_reset, v_threshold / 2)
    spikes, v = assert_matches_reference(x, tau=tau, v_threshold=v_threshold, v_reset=v_reset, decay_input=decay_input)
    assert torch.all((spikes == 0) | (spikes == 1))
    # Cutting time anywhere and passing the membrane on changes nothing.
    cut = data.draw(st.integers(0, timesteps))
    if 0 < cut < timesteps:
        neuron = {"tau": tau, "v_threshold": v_threshold, "v_reset": v_reset, "decay_input": decay_input}
        first, state = lif(x[:cut], **neuron)
        second, last = lif(x[cut:], state, **neuron)
        assert torch.equal(torch.cat([first, second]), spikes)
        assert torch.equal(last, v)


# ---- bad input ----


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"x": torch.zeros(0, 3)}, ValueError, "T = 0"),
        ({"x": torch.tensor(1.0)}, ValueError, "no dimensions"),
        ({"x": torch.zeros(2, 3, dtype=torch.int64)}, TypeError, "int64"),
        ({"x": [1.0, 2.0]}, TypeError, "list"),
        ({"v_init": torch.zeros(4)}, ValueError, r"\[4\]; expected .* \[3\]"),
        ({"v_init": torch.zeros(3, dtype=torch.float64)}, TypeError, "float64; expected torch.float32"),
        ({"v_init": torch.zeros(3, device="meta")}, ValueError, "meta"),
        ({"v_init": [0.0, 0.0, 0.0]}, TypeError, "v_init is list; expected a tensor"),
        ({"tau": 0.5}, ValueError, "tau=0.5"),
        ({"tau": float("nan")}, ValueError, "tau=nan"),
        ({"tau": torch.ones(3)}, ValueError, "without dimensions"),
        ({"tau": torch.tensor(2)}, ValueError, "int64"),
        ({"tau": torch.tensor(2.0, device="meta")}, ValueError, "meta"),
        ({"tau": float("inf")}, ValueError, "tau=inf"),
        ({"tau": None}, TypeError, "tau is None; expected a finite time constant"),
        ({"tau": "2"}, TypeError, "tau is '2'"),
        ({"tau": torch.tensor(0.5)}, ValueError, "tau is a tensor of value 0.5; expected .* at least 1"),
        ({"tau": torch.tensor(0.0)}, ValueError, "value 0.0"),
        ({"tau": torch.tensor(-1.0)}, ValueError, "value -1.0"),
        ({"tau": torch.tensor(float("nan"))}, ValueError, "value nan"),
        ({"tau": torch.nn.Parameter(torch.tensor(float("inf")))}, ValueError, "value inf.*lower the learning rate"),
        ({"x": torch.zeros(2, 3).to_sparse()}, TypeError, "sparse_coo; expected a dense tensor"),
        ({"v_threshold": "1"}, TypeError, "v_threshold is '1'; expected a finite number"),
        ({"v_threshold": True}, TypeError, "v_threshold is True"),
        ({"v_reset": "0"}, TypeError, "v_reset is '0'.*None for soft reset"),
        ({"v_reset": 1.5}, ValueError, "v_reset=1.5; expected below v_threshold=1.0"),
        ({"surrogate_alpha": "a"}, TypeError, "surrogate_alpha is 'a'; expected a finite number above 0"),
        ({"surrogate_alpha": float("inf")}, ValueError, "surrogate_alpha=inf"),
        ({"decay_input": "no"}, TypeError, "decay_input is 'no'; expected True or False"),
        ({"leak": 1}, TypeError, "leak is 1"),
        ({"detach_reset": None}, TypeError, "detach_reset is None"),
        ({"return_state": "yes"}, TypeError, "return_state is 'yes'"),
        ({"v_threshold": float("inf")}, ValueError, "v_threshold=inf"),
        ({"v_reset": float("nan")}, ValueError, "v_reset=nan"),
        ({"surrogate": "gauss"}, ValueError, "'gauss'; expected 'atan'"),
        ({"surrogate_alpha": 0.0}, ValueError, "surrogate_alpha=0.0"),
        ({"smooth": True}, TypeError, "float64 alone"),
    ],
)
def test_bad_input(arguments, error, says):
    with pytest.raises(error, match=says):
        lif(**{"x": torch.zeros(2, 3), **arguments})


@pytest.mark.parametrize("surrogate", ["atan", "rect"])
def test_the_transforms_of_torch_func_are_refused(surrogate):
    with pytest.raises(NotImplementedError, match=r"eccsnn.ops.lif has no rule for .* torch.autograd.grad"):
        torch.func.grad(lambda x: lif(x, surrogate=surrogate)[0].sum())(torch.ones(2, 3))


def test_the_ops_check_for_themselves():
    forward = torch.ops.eccsnn.lif_forward
    neuron = (1.0, 0.0, "decayed_input", True, "atan", 2.0, False, True)
    with pytest.raises(RuntimeError, match="T = 0"):
        forward(torch.zeros(0, 3), None, None, 2.0, *neuron)
    with pytest.raises(RuntimeError, match="got Long"):
        forward(torch.zeros(2, 3, dtype=torch.int64), None, None, 2.0, *neuron)
    with pytest.raises(RuntimeError, match="v_init has dtype Double"):
        forward(torch.zeros(2, 3), torch.zeros(3, dtype=torch.float64), None, 2.0, *neuron)
    with pytest.raises(RuntimeError, match="v_init does not have the shape"):
        forward(torch.zeros(2, 3), torch.zeros(4), None, 2.0, *neuron)
    backward = torch.ops.eccsnn.lif_backward
    number = torch.tensor(1.0)
    with pytest.raises(RuntimeError, match="no dimensions"):
        backward(number, number, number, number, None, None, 2.0, *neuron)
    kept = torch.zeros(0, 3)
    with pytest.raises(RuntimeError, match="x does not have the shape"):
        backward(torch.zeros(2, 3), None, torch.zeros(2, 4), kept, None, None, 2.0, *neuron)
    with pytest.raises(RuntimeError, match="v_kept is not what lif_forward returns"):
        backward(torch.zeros(17, 3), None, torch.zeros(17, 3), kept, None, None, 2.0, *neuron)
    with pytest.raises(RuntimeError, match="surrogate is 'gauss'"):
        forward(torch.zeros(2, 3), None, None, 2.0, 1.0, 0.0, "leaky", True, "gauss", 2.0, False, True)
    with pytest.raises(RuntimeError, match="charge is 'quadratic'"):
        forward(torch.zeros(2, 3), None, None, 2.0, 1.0, 0.0, "quadratic", True, "atan", 2.0, False, True)
    with pytest.raises(RuntimeError, match="float64 alone"):
        forward(torch.zeros(2, 3), None, None, 2.0, 1.0, 0.0, "leaky", True, "atan", 2.0, True, True)


PLACEMENTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
    "gaps": lambda x: torch.stack([x, x], dim=-1)[..., 0],
    "repeated": lambda x: x[:1].expand(x.shape),
}


@pytest.mark.parametrize("place", PLACEMENTS)
@pytest.mark.parametrize("channels", [3, 8, 16, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_packed_spikes_are_the_spikes_packed(place, channels, dtype):
    generator = torch.Generator().manual_seed(channels)
    x = PLACEMENTS[place]((torch.randn(5, 2, channels, 7, 9, generator=generator) * 2).to(dtype))
    v_init = torch.randn(2, channels, 7, 9, generator=generator).to(reference.membrane_dtype(dtype))
    for neuron in ({}, {"v_reset": None, "tau": 1.7}, {"v_threshold": -0.1, "v_reset": -0.5, "decay_input": False}):
        spikes, v = lif(x, v_init, **neuron)
        packed, v_packed = lif_packed(x, v_init, **neuron)
        assert torch.equal(packed, pack_spikes(spikes))
        assert torch.equal(v_packed, v)
        assert v_packed.stride() == v.stride()


def test_packed_spikes_of_one_row_of_neurons():
    x = torch.randn(3, 2, 40) * 2
    packed, nothing = lif_packed(x, return_state=False)
    assert torch.equal(packed, pack_spikes(lif(x)[0]))
    assert nothing.numel() == 0
    with pytest.raises(ValueError, match=r"shape \[3, 2, 5, 8\]; expected"):
        lif_packed(torch.zeros(3, 2, 5, 8))


@pytest.mark.parametrize("channels", [1, 2, 8, 11, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_neurons_read_packed_spikes(channels, dtype):
    generator = torch.Generator().manual_seed(channels)
    packed = torch.randint(0, 256, (5, 2, 21, 25, (channels + 7) // 8), generator=generator, dtype=torch.uint8)
    v_init = torch.randn(2, channels, 21, 25, generator=generator).to(reference.membrane_dtype(dtype))
    for neuron in ({}, {"v_reset": None, "tau": torch.tensor(1.7)}, {"leak": False}):
        for gain in (1.3, -0.7):
            current = gain * unpack_spikes(packed, channels, torch.float64)
            expected, expected_v = reference.lif(current.to(dtype), v_init, **neuron)
            spikes, v = lif_of_packed(packed, channels, v_init, gain=gain, dtype=dtype, **neuron)
            assert spikes.any()
            assert torch.equal(spikes, expected)
            assert torch.equal(v, expected_v)
    rows = packed[:, :, 0, 0]
    assert torch.equal(lif_of_packed(rows, channels, gain=2.0)[0], lif(2.0 * unpack_spikes(rows, channels))[0])
    repeated = packed[:1].expand(packed.shape)
    same = lif_of_packed(repeated, channels, gain=2.0, return_state=False)
    assert torch.equal(same[0], lif(2.0 * unpack_spikes(repeated.contiguous(), channels))[0])
    assert same[1].numel() == 0


def test_packed_spikes_that_are_none():
    packed = torch.zeros(3, 2, 4, 4, 1, dtype=torch.uint8)
    for wrong, channels, error, message in (
        (packed.float(), 2, TypeError, "lif_of_packed expects packed spikes of dtype uint8"),
        (packed[0], 2, ValueError, "lif_of_packed expects packed spikes"),
        (packed, 9, ValueError, "got 1 bytes for channels=9"),
        (packed[:0], 2, ValueError, "timesteps"),
    ):
        with pytest.raises(error, match=message):
            lif_of_packed(wrong, channels)
    with pytest.raises(ValueError, match="v_init has shape"):
        lif_of_packed(packed, 2, torch.zeros(2, 4, 4, 2))
    with pytest.raises(ValueError, match="gain=nan"):
        lif_of_packed(packed, 2, gain=float("nan"))


def test_a_state_that_nobody_reads_is_not_written():
    x = torch.randn(3, 4, requires_grad=True)
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            spikes, nothing = lif(x, return_state=False)
            assert torch.equal(spikes, lif(x)[0])
            assert nothing.shape == (0,)
    lif(x, return_state=False)[0].sum().backward()
    assert x.grad.any()


@pytest.mark.parametrize("timesteps", [15, 16, 17, 32, 33, 50])
def test_gradients_over_many_timesteps(timesteps):
    # Beyond 16 timesteps the backward pass starts again from membranes that the forward pass has kept.
    x = torch.randn(timesteps, 3, 21, dtype=torch.float64)
    v_init = torch.randn(3, 21, dtype=torch.float64)
    weights = torch.randn(timesteps, 3, 21, dtype=torch.float64)
    results = []
    for function in (lif, reference.lif):
        leaves = [a.clone().requires_grad_() for a in (x, v_init, torch.tensor(1.7, dtype=torch.float64))]
        spikes, v = function(leaves[0], leaves[1], tau=leaves[2], v_reset=-0.25, detach_reset=False)
        ((spikes * weights).sum() + v.sum()).backward()
        results.append([leaf.grad for leaf in leaves])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_forward_mode_derivatives_are_refused():
    x = torch.randn(3, 4)
    with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        torch.func.jvp(lambda x: lif(x)[0], (x,), (torch.ones_like(x),))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
            lif(dual)
