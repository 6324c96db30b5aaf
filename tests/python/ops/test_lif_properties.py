"""LIF neurons, alone and behind a batch norm, of any kind, shape, place in memory and value, against the reference."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.ops import batch_norm_lif, channel_statistics, lif, lif_packed, pack_spikes, reference

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
NEURONS = 4000  # at most; more than one block of the kernels
TAUS = (1.0, 2.0, 4.0, 1024.0, 1.7, 3.0, 1e3)
THRESHOLDS = (1.0, 0.3, 0.0, -0.25, -2.0)
RESETS = (0.0, 0.0, -0.0, 0.1, -0.25, -3.0, None)
SURROGATES = (("atan", 2.0), ("atan", 5.3), ("sigmoid", 4.0), ("sigmoid", 0.7), ("rect", 1.0), ("rect", 2.2))
SEEDS = st.integers(0, 2**31)


def same(a, b):
    """The same bits, signs of zeros included, except that any NaN equals any other."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    equal_bits = a.contiguous().view(bits) == b.contiguous().view(bits)
    return bool((equal_bits | (a.isnan() & b.isnan())).all())


# ---- where values lie ----


def contiguous(x, draw):
    return x.contiguous()


def permuted(x, draw):
    order = draw(st.permutations(range(x.dim())))
    inverse = [order.index(d) for d in range(x.dim())]
    return x.permute(order).contiguous().permute(inverse)


def channels_last(x, draw):
    return x.movedim(2, -1).contiguous().movedim(-1, 2) if x.dim() > 2 else x


def with_gaps(x, draw):
    steps = [draw(st.integers(1, 2)) for _ in x.shape]
    begins = [draw(st.integers(0, 2)) for _ in x.shape]
    wide = torch.full(
        [begin + step * size + 1 for begin, step, size in zip(begins, steps, x.shape, strict=True)], 7.0, dtype=x.dtype
    )
    for d, (begin, step, size) in enumerate(zip(begins, steps, x.shape, strict=True)):
        wide = wide.narrow(d, begin, step * size + 1)
        wide = wide[(slice(None),) * d + (slice(0, step * size, step),)]
    wide.copy_(x)
    return wide


def repeated_over_time(x, draw):
    return x[:1].expand(x.shape)


def repeated_elsewhere(x, draw):
    for d in range(1, x.dim()):
        if x.shape[d] > 0 and draw(st.booleans()):
            x = x.narrow(d, 0, 1).expand(x.shape)
    return x


def misaligned(x, draw):
    """Contiguous, but not from the beginning of a storage, which torch aligns to 64 bytes."""
    offset = draw(st.integers(1, 31))
    storage = torch.full((offset + x.numel(),), 7.0, dtype=x.dtype)
    storage[offset:] = x.flatten()
    return storage[offset:].view(x.shape)


def misaligned_channels_last(x, draw):
    if x.dim() <= 2:
        return misaligned(x, draw)
    return misaligned(x.movedim(2, -1).contiguous(), draw).movedim(-1, 2)


def repeated_and_permuted(x, draw):
    return permuted(x[0], draw).expand(x.shape)


LAYOUTS = (
    contiguous,
    permuted,
    channels_last,
    with_gaps,
    repeated_over_time,
    repeated_elsewhere,
    misaligned,
    misaligned_channels_last,
    repeated_and_permuted,
)


# ---- what they are ----


def special_values(dtype, v_threshold):
    info = torch.finfo(dtype)
    subnormal = info.tiny * info.eps
    return torch.tensor(
        [
            *(float("nan"), float("inf"), -float("inf"), 0.0, -0.0),
            *(subnormal, -subnormal, 3 * subnormal, info.tiny, -info.tiny),
            *(info.max, -info.max, info.max / 3, v_threshold, 2 * v_threshold),
        ],
        dtype=torch.float64,
    ).to(dtype)


def values(draw, shape, dtype, v_threshold, share):
    generator = torch.Generator().manual_seed(draw(SEEDS))
    x = (torch.randn(shape, generator=generator) * draw(st.sampled_from((0.5, 2.0, 6.0)))).to(dtype)
    if share > 0:
        special = special_values(dtype, v_threshold)
        some = special[torch.randint(len(special), shape, generator=generator)]
        x = torch.where(torch.rand(shape, generator=generator) < share, some, x)
    return x


def draw_shape(draw, dimensions, limit=NEURONS):
    """Sizes 0 to 70 of one timestep with a bounded product; 0 seldom."""
    sizes = []
    for _ in range(dimensions):
        sizes.append(draw(st.integers(1, max(1, min(70, limit)))))
        limit //= sizes[-1]
    if sizes and draw(st.integers(0, 19)) == 13:
        sizes[draw(st.integers(0, dimensions - 1))] = 0
    return draw(st.permutations(sizes))


@st.composite
def neurons(draw):
    v_threshold = draw(st.sampled_from(THRESHOLDS))
    return {
        "tau": draw(st.sampled_from(TAUS)),
        "v_threshold": v_threshold,
        "v_reset": draw(st.sampled_from([v for v in RESETS if v is None or v < v_threshold])),
        "decay_input": draw(st.booleans()),
        "leak": draw(st.sampled_from((True, True, False))),
    }


@st.composite
def forward_cases(draw, bytes_of_channels=False):
    """x, v_init and a neuron. With `bytes_of_channels`, what `lif_packed` packs without a second pass, mostly."""
    dtype = draw(st.sampled_from(DTYPES))
    neuron = draw(neurons())
    timesteps = draw(st.integers(1, 40))
    layouts = LAYOUTS
    if bytes_of_channels:
        batch, *space = draw_shape(draw, draw(st.sampled_from((1, 3))), NEURONS // 8)
        shape = [batch, draw(st.sampled_from((8, 16, 24, 64))), *space]
        layouts = (channels_last, channels_last, misaligned_channels_last, permuted)
    else:
        shape = draw_shape(draw, draw(st.integers(0, 5)))
    share = draw(st.sampled_from((0.0, 0.01, 0.2)))
    x = values(draw, (timesteps, *shape), dtype, neuron["v_threshold"], share)
    x = draw(st.sampled_from(layouts))(x, draw)
    v_init = None
    if draw(st.booleans()):
        v_dtype = draw(st.sampled_from((dtype, reference.membrane_dtype(dtype))))
        v_init = values(draw, tuple(shape), v_dtype, neuron["v_threshold"], share)
        v_init = draw(st.sampled_from((contiguous, permuted, with_gaps, misaligned)))(v_init, draw)
    if draw(st.integers(0, 3)) == 0:
        neuron["tau"] = torch.tensor(neuron["tau"], dtype=draw(st.sampled_from((torch.float32, torch.float64))))
    return x, v_init, neuron


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(case=forward_cases())
def test_forward_has_the_bits_of_the_reference(case):
    x, v_init, neuron = case
    expected, expected_v = reference.lif(x, v_init, **neuron)
    for grad in (False, True):
        spikes, v = lif(x.detach().requires_grad_(grad), v_init, **neuron)
        assert same(spikes, expected)
        assert same(v, expected_v)
        spikes, nothing = lif(x.detach().requires_grad_(grad), v_init, return_state=False, **neuron)
        assert same(spikes, expected)
        assert nothing.numel() == 0
    if x.dim() in (3, 5):
        assert_packed(x, v_init, neuron)


def assert_packed(x, v_init, neuron):
    expected, expected_v = reference.lif(x, v_init, **neuron)
    packed, v = lif_packed(x, v_init, **neuron)
    assert torch.equal(packed, pack_spikes(expected))
    assert same(v, expected_v)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(case=forward_cases(bytes_of_channels=True))
def test_spikes_that_are_packed_where_they_fire(case):
    assert_packed(*case)


# ---- gradients ----


def weights_like(draw, *tensors):
    generator = torch.Generator().manual_seed(draw(SEEDS))
    return [torch.randn(a.shape, generator=generator, dtype=a.dtype) for a in tensors]


def assert_close(found, expected, what):
    """To 1e-9 of each value, or of the largest where terms cancel."""
    assert found.shape == expected.shape, what
    scale = float(expected.abs().max()) if expected.numel() > 0 else 0.0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12 * (1 + scale), msg=lambda m: f"{what}: {m}")


@st.composite
def training(draw):
    surrogate, alpha = draw(st.sampled_from(SURROGATES))
    return {"detach_reset": draw(st.booleans()), "surrogate": surrogate, "surrogate_alpha": alpha}


@st.composite
def gradient_cases(draw):
    neuron = draw(neurons()) | draw(training())
    del neuron["tau"]
    timesteps = draw(st.integers(1, 40))
    shape = draw_shape(draw, draw(st.integers(0, 5)))
    x = values(draw, (timesteps, *shape), torch.float64, 1.0, 0.0)
    x = draw(st.sampled_from(LAYOUTS))(x, draw)
    v_init = None
    if draw(st.booleans()):
        v_init = values(draw, tuple(shape), torch.float64, 1.0, 0.0)
        v_init = draw(st.sampled_from((contiguous, permuted, with_gaps)))(v_init, draw)
    tau = torch.tensor(draw(st.sampled_from(TAUS)), dtype=torch.float64)
    return x, v_init, tau, neuron, weights_like(draw, x, x[0])


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(case=gradient_cases(), which=st.sampled_from(("both", "spikes", "membrane")))
def test_gradients_are_those_of_autograd_through_the_reference(case, which):
    x, v_init, tau, neuron, weights = case
    results = []
    for function in (lif, reference.lif):
        leaves = {"x": x, "tau": tau} | ({} if v_init is None else {"v_init": v_init})
        leaves = {name: a.detach().requires_grad_() for name, a in leaves.items()}
        outputs = function(leaves["x"], leaves.get("v_init"), tau=leaves["tau"], **neuron)
        picked = {"both": slice(None), "spikes": slice(1), "membrane": slice(1, 2)}[which]
        grads = torch.autograd.grad(outputs[picked], list(leaves.values()), weights[picked], materialize_grads=True)
        results.append((outputs, dict(zip(leaves, grads, strict=True))))
    (outputs, found), (expected_outputs, expected) = results
    assert all(same(a.detach(), b.detach()) for a, b in zip(outputs, expected_outputs, strict=True))
    for name, grad in found.items():
        assert_close(grad, expected[name], name)


# ---- with a batch norm in front ----


def draw_normalized(draw, dtype, share, v_threshold):
    """x, its timesteps (None: those of x) and one value of each parameter per channel."""
    timesteps = draw(st.integers(1, 40))
    dimensions = draw(st.integers(0, 3))
    channels = draw(st.integers(1, 70))
    batch, *space = draw_shape(draw, dimensions + 1, NEURONS // channels)
    repeated = draw(st.integers(0, 3)) == 0
    shape = (1 if repeated else timesteps, batch, channels, *space)
    x = draw(st.sampled_from(LAYOUTS))(values(draw, shape, dtype, v_threshold, share), draw)
    membrane = reference.membrane_dtype(dtype)
    generator = torch.Generator().manual_seed(draw(SEEDS))
    mean, weight, bias = torch.randn(3, channels, generator=generator, dtype=torch.float64)
    variance = torch.rand(channels, generator=generator, dtype=torch.float64) * draw(st.sampled_from((0.0, 1.0, 30.0)))
    mean, variance, weight, bias = (a.to(membrane) for a in (mean, variance, weight, bias))
    if draw(st.integers(0, 3)) == 0:
        weight = None
    if draw(st.integers(0, 3)) == 0:
        bias = None
    v_init = None
    if draw(st.booleans()):
        v_init = values(draw, shape[1:], membrane, v_threshold, share)
        v_init = draw(st.sampled_from((contiguous, permuted, with_gaps)))(v_init, draw)
    return x, timesteps if repeated else None, (mean, variance), weight, bias, v_init


@st.composite
def norm_cases(draw):
    dtype = draw(st.sampled_from(DTYPES))
    neuron = draw(neurons()) | {"eps": draw(st.sampled_from((1e-5, 1e-3)))}
    share = draw(st.sampled_from((0.0, 0.01, 0.2)))
    return *draw_normalized(draw, dtype, share, neuron["v_threshold"]), neuron


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(case=norm_cases(), own=st.booleans())
def test_batch_norm_forward_has_the_bits_of_the_reference(case, own):
    x, timesteps, statistics, weight, bias, v_init, neuron = case
    if own and x.numel() > 0:
        statistics = channel_statistics(x)
    expected, expected_v = reference.batch_norm_lif(x, *statistics, weight, bias, v_init, timesteps=timesteps, **neuron)
    for grad in (False, True):
        leaf = x.detach().requires_grad_(grad)
        spikes, v = batch_norm_lif(leaf, *statistics, weight, bias, v_init, timesteps=timesteps, **neuron)
        assert same(spikes.detach(), expected)
        assert same(v.detach(), expected_v)


@st.composite
def norm_gradient_cases(draw):
    neuron = draw(neurons()) | draw(training()) | {"eps": draw(st.sampled_from((1e-5, 1e-3)))}
    tau = torch.tensor(neuron.pop("tau"), dtype=torch.float64)
    x, timesteps, statistics, weight, bias, v_init = draw_normalized(draw, torch.float64, 0.0, 1.0)
    steps = x.shape[0] if timesteps is None else timesteps
    weights = weights_like(draw, x.expand(steps, *x.shape[1:]), x[0])
    return x, timesteps, statistics, weight, bias, v_init, tau, neuron, weights


def reference_with_statistics(x, mean, variance, *rest, batch_statistics, **neuron):
    """With batch_statistics, autograd passes through mean and variance, which keep the bits that were given."""
    if batch_statistics:
        dims = [d for d in range(x.dim()) if d != 2]
        own = x.mean(dims), x.var(dims, correction=0)
        mean, variance = (given + (a - a.detach()) for given, a in zip((mean, variance), own, strict=True))
    return reference.batch_norm_lif(x, mean, variance, *rest, **neuron)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(case=norm_gradient_cases(), batch_statistics=st.booleans())
def test_batch_norm_gradients_are_those_of_autograd_through_the_reference(case, batch_statistics):
    x, timesteps, statistics, weight, bias, v_init, tau, neuron, weights = case
    batch_statistics = batch_statistics and x.numel() > 0
    if batch_statistics:
        statistics = channel_statistics(x)
    results = []
    for function in (batch_norm_lif, reference_with_statistics):
        given = {"x": x, "weight": weight, "bias": bias, "v_init": v_init, "tau": tau}
        leaves = {name: a.detach().requires_grad_() for name, a in given.items() if a is not None}
        outputs = function(
            leaves["x"],
            *statistics,
            *(leaves.get(name) for name in ("weight", "bias", "v_init")),
            tau=leaves["tau"],
            timesteps=timesteps,
            batch_statistics=batch_statistics,
            **neuron,
        )
        grads = torch.autograd.grad(outputs, list(leaves.values()), weights, materialize_grads=True)
        results.append((outputs, dict(zip(leaves, grads, strict=True))))
    (outputs, found), (expected_outputs, expected) = results
    assert all(same(a.detach(), b.detach()) for a, b in zip(outputs, expected_outputs, strict=True))
    for name, grad in found.items():
        assert_close(grad, expected[name], name)
