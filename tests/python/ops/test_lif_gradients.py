"""The LIF op backwards: against float64 autograd through the reference, and against numerical derivatives."""

import itertools

import pytest
import torch

from eccsnn.ops import lif, reference

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SURROGATES = (("atan", 2.0), ("atan", 5.0), ("sigmoid", 4.0), ("rect", 1.0), ("rect", 0.5))
RESETS = list(itertools.product((0.0, None, -0.25), (True, False), (True, False)))
# Relative to the largest gradient; halves round inputs and results to 8 and 11 bits.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-13, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def gradients(function, x, v_init, tau, grad_spikes, grad_v, **neuron):
    leaves = [a.detach().clone().requires_grad_() for a in (x, v_init, tau)]
    spikes, v = function(leaves[0], leaves[1], tau=leaves[2], **neuron)
    torch.autograd.backward([spikes, v], [grad_spikes.to(spikes.dtype), grad_v.to(v.dtype)])
    return spikes, [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("surrogate", "alpha"), SURROGATES)
@pytest.mark.parametrize(("v_reset", "decay_input", "detach_reset"), RESETS)
def test_gradients_of_the_reference_in_float64(dtype, surrogate, alpha, v_reset, decay_input, detach_reset):
    generator = torch.Generator().manual_seed(0)
    membrane = reference.membrane_dtype(dtype)
    x = (torch.randn(5, 3, 37, generator=generator) * 2).to(dtype)
    v_init = (torch.randn(3, 37, generator=generator) / 2).to(membrane)
    tau = torch.tensor(1.75, dtype=membrane)
    grad_spikes = torch.randn(5, 3, 37, generator=generator).to(dtype)
    grad_v = torch.randn(3, 37, generator=generator).to(membrane)
    neuron = {
        "v_reset": v_reset,
        "decay_input": decay_input,
        "detach_reset": detach_reset,
        "surrogate": surrogate,
        "surrogate_alpha": alpha,
    }
    spikes, found = gradients(lif, x, v_init, tau, grad_spikes, grad_v, **neuron)
    expected_spikes, expected = gradients(
        reference.lif, x.double(), v_init.double(), tau.double(), grad_spikes, grad_v, **neuron
    )
    # Halves of x are exact in float64 too, so even there the spikes of both agree unless h is within rounding of the
    # threshold, which this seed avoids.
    assert torch.equal(spikes.double(), expected_spikes)
    for name, a, b in zip(("x", "v_init", "tau"), found, expected, strict=True):
        scale = b.abs().max()
        assert scale > 0, name
        assert (a.double() - b).abs().max() <= TOLERANCE[dtype] * scale, name


@pytest.mark.parametrize(("surrogate", "alpha"), SURROGATES)
@pytest.mark.parametrize("v_reset", [0.0, None, -0.25])
@pytest.mark.parametrize("decay_input", [True, False])
def test_numerical_derivatives_of_the_smooth_neuron(surrogate, alpha, v_reset, decay_input):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, 2, 3, generator=generator, dtype=torch.float64) * 1.5
    v_init = torch.randn(2, 3, generator=generator, dtype=torch.float64) / 2
    tau = torch.tensor(1.7, dtype=torch.float64)
    leaves = [a.requires_grad_() for a in (x, v_init, tau)]

    def function(x, v_init, tau):
        return lif(
            x,
            v_init,
            tau=tau,
            v_reset=v_reset,
            decay_input=decay_input,
            detach_reset=False,  # a detached reset has, on purpose, not the derivative of what was computed
            surrogate=surrogate,
            surrogate_alpha=alpha,
            smooth=True,
        )

    assert torch.autograd.gradcheck(function, leaves)
    spikes, v = function(*leaves)
    expected_spikes, expected_v = reference.lif(
        *leaves[:2],
        tau=tau,
        v_reset=v_reset,
        decay_input=decay_input,
        surrogate=surrogate,
        surrogate_alpha=alpha,
        smooth=True,
    )
    torch.testing.assert_close(spikes, expected_spikes, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(v, expected_v, rtol=1e-12, atol=1e-12)


def test_surrogate_derivative_over_its_range():
    # One timestep, no decay: dL/dx is the derivative at x - v_threshold itself.
    u = torch.cat([torch.linspace(-60, 60, 4001), torch.tensor([-1e30, -1e4, 1e4, 1e30])])
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        for surrogate, alpha in (("atan", 2.0), ("sigmoid", 4.0), ("rect", 1.0), ("sigmoid", 0.1)):
            x = u.to(dtype)[None].requires_grad_()
            spikes, _ = lif(x, v_threshold=0.0, v_reset=None, leak=False, surrogate=surrogate, surrogate_alpha=alpha)
            spikes.sum().backward()
            expected = reference.surrogate_derivative(u.to(dtype).double(), surrogate, alpha)
            torch.testing.assert_close(x.grad[0].double(), expected, rtol=5 * tolerance, atol=tolerance)


def test_membrane_alone_carries_a_gradient():
    x = (torch.randn(4, 9, dtype=torch.bfloat16) / 2).requires_grad_()
    _, v = lif(x)
    v.sum().backward()
    assert x.grad.dtype == torch.bfloat16
    expected = x.detach().double().requires_grad_()
    reference.lif(expected)[1].sum().backward()
    torch.testing.assert_close(x.grad.double(), expected.grad, rtol=1e-2, atol=1e-3)


def test_gradient_reaches_only_what_asks_for_it():
    x = torch.randn(4, 9)
    v_init = torch.zeros(9, requires_grad=True)
    spikes, _ = lif(x, v_init)
    spikes.sum().backward()
    assert v_init.grad is not None
    tau = torch.tensor(2.0, requires_grad=True)
    lif(x, tau=tau)[0].sum().backward()
    assert tau.grad.shape == ()
    assert tau.grad != 0


def test_gradient_of_an_input_repeated_over_time_is_summed():
    image = torch.randn(2, 3, 5, requires_grad=True)
    weights = torch.randn(4, 2, 3, 5)
    (lif(image.expand(4, 2, 3, 5))[0] * weights).sum().backward()
    repeated = image.detach().expand(4, 2, 3, 5).contiguous().requires_grad_()
    (lif(repeated)[0] * weights).sum().backward()
    torch.testing.assert_close(image.grad, repeated.grad.sum(0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_does_not_depend_on_layout(dtype):
    x = (torch.randn(3, 2, 5, 4, 3) * 2).to(dtype)
    weights = torch.randn(3, 2, 5, 4, 3).to(dtype)
    expected = x.clone().requires_grad_()
    (lif(expected)[0] * weights).sum().backward()
    for placed in (
        x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
        x.permute(1, 2, 3, 4, 0).contiguous().permute(4, 0, 1, 2, 3),
        torch.stack([x, x], dim=-1)[..., 0],
    ):
        leaf = placed.detach().requires_grad_()
        (lif(leaf)[0] * weights).sum().backward()
        assert torch.equal(leaf.grad, expected.grad)


@pytest.mark.parametrize("neurons", [1, 7, 33, 2047, 2049, 5000])
def test_gradient_of_tau_over_many_neurons(neurons):
    x = torch.randn(3, neurons, dtype=torch.float64)
    taus = [torch.tensor(1.7, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    lif(x, tau=taus[0])[0].sum().backward()
    reference.lif(x, tau=taus[1])[0].sum().backward()
    torch.testing.assert_close(taus[0].grad, taus[1].grad, rtol=1e-11, atol=1e-12)


def test_gradient_of_tau_beyond_the_range_of_float_is_infinite():
    # As a sum in float32 would be; a gradient scaler relies on it.
    tau = torch.tensor(2.0, requires_grad=True)
    spikes, _ = lif(torch.full((1, 20), 2.0), tau=tau)
    (grad,) = torch.autograd.grad(spikes, tau, torch.full_like(spikes, 3e38))
    assert grad == -float("inf")


def test_truncated_backpropagation_through_a_state():
    x = torch.randn(6, 11, requires_grad=True)
    first, state = lif(x[:3])
    second, _ = lif(x[3:], state)
    (first.sum() + second.sum()).backward()
    whole = x.detach().clone().requires_grad_()
    lif(whole)[0].sum().backward()
    torch.testing.assert_close(x.grad, whole.grad)
    cut = x.detach().clone().requires_grad_()
    _, state = lif(cut[:3])
    lif(cut[3:], state.detach())[0].sum().backward()
    assert torch.all(cut.grad[:3] == 0)


def test_nan_gradients_stay_in_their_neuron():
    x = torch.full((4, 3), 0.7)
    x[1, 1] = float("nan")
    x.requires_grad_()
    lif(x)[0].sum().backward()
    assert x.grad[:, [0, 2]].isfinite().all()
    assert x.grad[:, 1].isnan().any()


def test_second_derivatives_are_refused():
    x = torch.randn(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(lif(x)[0].sum(), x, create_graph=True)
