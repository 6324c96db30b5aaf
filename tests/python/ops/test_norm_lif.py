"""Batch norm with LIF neurons behind it, against plain torch."""

import itertools

import pytest
import torch
from torch import nn

from eccsnn.ops import batch_norm_lif, channel_statistics, lif, reference

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SHAPES = [(4, 3, 5), (2, 3, 16, 4, 5), (5, 2, 70, 3), (3, 1, 1, 7, 7), (17, 2, 8, 3, 3), (2, 2, 600, 2, 3)]


def channels_last(x):
    return x.movedim(2, -1).contiguous().movedim(-1, 2)


def sample(shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 1.5 + 0.7
    channels = shape[2]
    membrane = reference.membrane_dtype(dtype)
    weight = torch.rand(channels, generator=generator, dtype=torch.float64) * 2 + 0.5
    bias = torch.randn(channels, generator=generator, dtype=torch.float64)
    v_init = torch.randn((shape[1], *shape[2:]), generator=generator, dtype=torch.float64)
    return x.to(dtype), weight.to(membrane), bias.to(membrane), v_init.to(membrane)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 700, 5, 2, 9)])
def test_statistics(dtype, shape):
    x, *_ = sample(shape, dtype)
    x = x + 30 if dtype in (torch.float32, torch.float64) else x  # a mean far from zero
    dims = [d for d in range(x.dim()) if d != 2]
    expected = x.double().mean(dims), x.double().var(dims, correction=0)
    for placed in (x, channels_last(x)):
        for found, exact in zip(channel_statistics(placed), expected, strict=True):
            assert found.dtype == reference.membrane_dtype(dtype)
            tolerance = 1e-12 if dtype == torch.float64 else 2e-6
            torch.testing.assert_close(found.double(), exact, rtol=tolerance, atol=tolerance)


def test_statistics_of_a_constant_and_of_what_is_not_finite():
    mean, variance = channel_statistics(torch.full((3, 50, 2), 1e6 + 0.25))
    assert mean.tolist() == [1e6 + 0.25] * 2
    assert variance.tolist() == [0.0, 0.0]
    x = torch.zeros(2, 3, 2)
    x[1, 1, 0] = float("nan")
    mean, variance = channel_statistics(x)
    assert mean.isnan().tolist() == variance.isnan().tolist() == [True, False]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", [True, False])
def test_forward_has_the_bits_of_the_reference(dtype, shape, affine):
    x, weight, bias, v_init = sample(shape, dtype)
    if not affine:
        weight = bias = None
    for state, (v_reset, tau, leak) in itertools.product(
        (None, v_init), ((0.0, 2.0, True), (None, 1.7, True), (-0.25, 2.0, False))
    ):
        mean, variance = channel_statistics(x)
        neuron = {"v_reset": v_reset, "tau": tau, "leak": leak}
        expected, expected_v = reference.batch_norm_lif(x, mean, variance, weight, bias, state, **neuron)
        for placed in (x, channels_last(x)):
            spikes, v = batch_norm_lif(placed, mean, variance, weight, bias, state, **neuron)
            assert torch.equal(spikes, expected)
            assert torch.equal(v, expected_v)
            assert 0 < spikes.float().mean() < 1
            trained = placed.detach().requires_grad_()
            again, v = batch_norm_lif(trained, mean, variance, weight, bias, state, batch_statistics=True, **neuron)
            assert torch.equal(again, expected)
            assert torch.equal(v, expected_v)


def test_statistics_where_the_first_value_is_an_outlier():
    x = torch.zeros(4, 16, 2, 256, 256)
    x[0, 0, 0, 0, 0] = 110.3  # a hot pixel
    for placed in (x, channels_last(x)):
        mean, variance = channel_statistics(placed)
        exact = x[:, :, 0].double()
        torch.testing.assert_close(mean[0].double(), exact.mean(), rtol=1e-6, atol=0)
        torch.testing.assert_close(variance[0].double(), exact.var(correction=0), rtol=1e-6, atol=0)


def test_memory_order_is_kept():
    x = channels_last(torch.randn(2, 3, 8, 4, 5))
    spikes, v = batch_norm_lif(x, *channel_statistics(x))
    assert spikes.stride() == x.stride()
    assert v.is_contiguous(memory_format=torch.channels_last)


def gradients(function, x, weight, bias, v_init, tau, **arguments):
    leaves = [a.detach().clone().requires_grad_() for a in (x, weight, bias, v_init, tau)]
    x, weight, bias, v_init, tau = leaves
    mean, variance = arguments.pop("statistics", None) or channel_statistics(x.detach())
    if function is reference.batch_norm_lif and arguments.pop("batch_statistics", False):
        mean = variance = None  # so that autograd passes through them
    spikes, v = function(x, mean, variance, weight, bias, v_init, tau=tau, **arguments)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(a.shape, generator=generator, dtype=torch.float64).to(a.dtype) for a in (spikes, v)]
    return torch.autograd.grad([spikes, v], leaves, weights)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize(("surrogate", "alpha"), [("atan", 2.0), ("sigmoid", 4.0), ("rect", 1.0)])
def test_gradients_against_autograd_in_float64(shape, batch_statistics, detach_reset, surrogate, alpha):
    x, weight, bias, v_init = sample(shape, torch.float64)
    for v_reset, decay_input, timesteps in ((0.0, True, None), (None, False, None), (-0.25, True, 5)):
        arguments = {
            "v_reset": v_reset,
            "decay_input": decay_input,
            "detach_reset": detach_reset,
            "surrogate": surrogate,
            "surrogate_alpha": alpha,
            "batch_statistics": batch_statistics,
            "timesteps": timesteps,
        }
        given = channels_last(x) if timesteps is None else x[:1]
        tensors = (given, weight, bias, v_init, torch.tensor(1.7, dtype=torch.float64))
        found = gradients(batch_norm_lif, *tensors, **arguments)
        expected = gradients(reference.batch_norm_lif, *tensors, **arguments)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_in_lower_precision(dtype):
    x, weight, bias, v_init = sample((4, 8, 16, 6, 6), dtype)
    tensors = (weight, bias, v_init, torch.tensor(2.0))
    statistics = channel_statistics(x)
    found = gradients(batch_norm_lif, x, *tensors, statistics=statistics, batch_statistics=True)
    exact = [a.double() for a in (x, *tensors)]
    expected = gradients(
        reference.batch_norm_lif, *exact, statistics=[a.double() for a in statistics], batch_statistics=True
    )
    # A neuron whose float32 membrane falls on the other side of the threshold has other gradients; few do.
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    for a, b in zip(found, expected, strict=True):
        wrong = (a.double() - b).abs() > tolerance * (1 + b.abs())
        assert wrong.double().mean() < 0.01


def test_smooth_gradients_numerically():
    x, weight, bias, v_init = (a.requires_grad_() for a in sample((3, 2, 4, 2), torch.float64))
    tau = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)

    def function(x, weight, bias, v_init, tau):
        mean, variance = channel_statistics(x)
        return batch_norm_lif(
            x, mean, variance, weight, bias, v_init, tau=tau, batch_statistics=True, detach_reset=False, smooth=True
        )

    assert torch.autograd.gradcheck(function, (x, weight, bias, v_init, tau))


def test_equals_torch_layers():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(12)
    nn.init.normal_(norm.weight)
    x = channels_last(torch.randn(4, 5, 12, 6, 7))
    weights = torch.randn(4, 5, 12, 6, 7)
    leaf = x.clone().requires_grad_()
    spikes = lif(norm(leaf.flatten(0, 1)).unflatten(0, (4, 5)))[0]
    expected = torch.autograd.grad(spikes, (leaf, norm.weight, norm.bias), weights)
    mean, variance = channel_statistics(x)
    ours = batch_norm_lif(leaf, mean, variance, norm.weight, norm.bias, batch_statistics=True)[0]
    assert (ours != spikes).float().mean() < 1e-3  # both round, in another order
    for a, b in zip(torch.autograd.grad(ours, (leaf, norm.weight, norm.bias), weights), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-3)


def test_only_x_is_kept():
    x = channels_last(torch.randn(4, 8, 16, 8, 8)).requires_grad_()
    weight, bias = torch.ones(16, requires_grad=True), torch.zeros(16, requires_grad=True)
    mean, variance = channel_statistics(x)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) or t, lambda t: t
    ):
        batch_norm_lif(x, mean, variance, weight, bias, batch_statistics=True)
    assert kept.pop(x.untyped_storage().data_ptr()) == 4 * x.numel()
    assert sum(kept.values()) <= 4 * 4 * 16  # mean, variance, weight, bias


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("repeated", [False, True])
def test_opcheck(dtype, repeated):
    x, weight, bias, v_init = sample((1 if repeated else 3, 2, 5), dtype)
    mean, variance = channel_statistics(x)
    steps = 3
    neuron = (2.0, 1.0, 0.0, "decayed_input", True, "atan", 2.0, False)
    ops = torch.ops.eccsnn
    torch.library.opcheck(ops.channel_statistics, (x,))
    torch.library.opcheck(
        ops.norm_lif_inference,
        (x, steps, mean, variance, weight, None, 1e-5, v_init, None, *neuron[:4], True, False),
    )
    tau = torch.tensor(1.7, dtype=mean.dtype, requires_grad=True)
    leaves = [a.detach().requires_grad_() for a in (x, weight, bias, v_init)]
    torch.library.opcheck(
        ops.norm_lif_forward,
        (leaves[0], steps, mean, variance, *leaves[1:3], 1e-5, True, leaves[3], tau, *neuron, True),
        atol=1e-2 if x.element_size() == 2 else 1e-5,
        rtol=1e-2 if x.element_size() == 2 else 1e-4,
    )
    grad = torch.randn(steps, 2, 5).to(dtype)
    kept = torch.empty(0, 2, 5, dtype=mean.dtype)
    backward = (grad, None, x, kept, mean, variance, weight, bias, 1e-5, True, v_init, tau.detach(), *neuron)
    for need_grad_x in (True, False):
        torch.library.opcheck(ops.norm_lif_backward, (*backward, need_grad_x, True))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_training_equals_eager(backend):
    x, weight, bias, _ = sample((3, 2, 8, 4, 4), torch.float32)
    x = channels_last(x)

    def step(x, weight, bias):
        mean, variance = channel_statistics(x)
        return batch_norm_lif(x, mean, variance, weight, bias, batch_statistics=True)[0]

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend=backend, dynamic=True)
    for n in (2, 3):
        leaves = [a.clone().requires_grad_() for a in (x[:, :1].expand(3, n, 8, 4, 4) * 1.0, weight, bias)]
        expected, found = step(*leaves), compiled(*leaves)
        assert torch.equal(found, expected)
        weights = torch.randn_like(expected)
        for a, b in zip(
            torch.autograd.grad(found, leaves, weights), torch.autograd.grad(expected, leaves, weights), strict=True
        ):
            torch.testing.assert_close(a, b)


def test_threads_do_not_change_bits():
    x, weight, bias, _ = sample((4, 40, 24, 9, 9), torch.float32)
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found = gradients(batch_norm_lif, x, weight, bias, torch.zeros_like(x[0]), torch.tensor(2.0),
                              batch_statistics=True)  # fmt: skip
            results.append([*channel_statistics(x), *found])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            assert torch.equal(a, b)


X = torch.zeros(2, 3, 4)
C = torch.ones(4)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"x": torch.zeros(2, 3)}, ValueError, r"x has shape \[2, 3\]; expected \[T, N, C"),
        ({"x": X.long()}, TypeError, "x is torch.int64"),
        ({"mean": torch.ones(3)}, ValueError, r"mean is \[3\]; expected a tensor \[4\]"),
        ({"variance": 1.0}, ValueError, "variance is float"),
        ({"weight": torch.ones(4, 1)}, ValueError, r"weight is \[4, 1\]"),
        ({"timesteps": 3}, ValueError, "x has 2 timesteps; expected timesteps=3"),
        ({"x": X[:1], "timesteps": 0}, ValueError, "timesteps is 0; expected at least 1"),
        ({"timesteps": True}, TypeError, "timesteps is True; expected an integer"),
        ({"timesteps": 2.0}, TypeError, "timesteps is 2.0"),
        ({"eps": -5}, ValueError, "eps=-5; expected a finite number above 0"),
        ({"eps": float("nan")}, ValueError, "eps=nan"),
        ({"eps": "small"}, TypeError, "eps is 'small'"),
        ({"batch_statistics": 1}, TypeError, "batch_statistics is 1; expected True or False"),
        (
            {"weight": torch.ones(4, dtype=torch.bfloat16)},
            TypeError,
            "weight is torch.bfloat16; expected torch.float32",
        ),
        ({"x": X[:, :, :0], "mean": C[:0], "variance": C[:0]}, ValueError, "at least one channel"),
        ({"mean": torch.ones(4, requires_grad=True)}, ValueError, r"pass mean.detach\(\)"),
        ({"variance": torch.ones(4, dtype=torch.int64)}, TypeError, "variance is torch.int64"),
        ({"v_init": torch.zeros(3, 5)}, ValueError, "v_init has shape"),
        ({"tau": 0.5}, ValueError, "tau=0.5"),
    ],
)
def test_bad_input(arguments, error, says):
    with pytest.raises(error, match=says):
        batch_norm_lif(**{"x": X, "mean": C, "variance": C, **arguments})


def test_statistics_of_nothing():
    with pytest.raises(ValueError, match="at least one value a channel"):
        channel_statistics(torch.zeros(2, 0, 4))


def test_no_second_derivative():
    x = torch.randn(2, 3, 4, requires_grad=True)
    spikes, _ = batch_norm_lif(x, *channel_statistics(x), batch_statistics=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(spikes.sum(), x, create_graph=True)


def test_the_op_refuses_no_channels():
    nothing = torch.zeros(2, 3, 0)
    with pytest.raises(RuntimeError, match="at least one channel"):
        torch.ops.eccsnn.norm_lif_inference(
            nothing, 2, nothing[0, 0], nothing[0, 0], None, None, 1e-5, None, None, 2.0, 1.0, 0.0, "leaky", False, False
        )


def test_a_frozen_tau_gets_no_gradient():
    x = torch.randn(3, 4, 8, requires_grad=True)
    statistics = channel_statistics(x.detach())
    spikes, _ = batch_norm_lif(x, *statistics, tau=torch.tensor(2.0))
    plain, _ = batch_norm_lif(x, *statistics, tau=2.0)
    weights = torch.randn_like(x)
    assert torch.equal(torch.autograd.grad(spikes, x, weights)[0], torch.autograd.grad(plain, x, weights)[0])
