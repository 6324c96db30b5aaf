"""The surrogates' derivatives in float32 to the bounds stated beside `derivative` in csrc/core/lif_neuron.h."""

import math

import pytest
import torch

from eccsnn.ops import lif

ALPHAS = (2.0, 4.0, 1.0, 0.5, 10.0, 0.1, 0.37, 1.3, 1.9999999, 2.9, 3.7, 5.0952957, 22.499691)
EXTREMES = (0.0, 1e-45, 1e-38, 1e-20, 31.0, 60.0, 100.0, 1e4, 1e10, 1e17, 1e18, 1e30)
HUGE = (1e19, 1e25, 1e30, 3.4028235e38, math.inf)
FLAT = 126 * math.log(2.0)  # |alpha u| from which the sigmoid's e stays 2^-126


def derivative(u, surrogate, alpha):
    """With one timestep, tau = 1 and a threshold of 0, the membrane is x and its gradient ds / dh itself."""
    x = u[None].clone().requires_grad_()
    spikes, _ = lif(x, tau=1.0, v_threshold=0.0, v_reset=None, surrogate=surrogate, surrogate_alpha=alpha)
    return torch.autograd.grad(spikes.sum(), x)[0][0]


def inputs(alpha):
    some = [
        torch.linspace(-30, 30, 200_001),
        torch.linspace(-2 / alpha, 2 / alpha, 100_001),
        torch.logspace(-30, 1.47, 50_001),
        torch.tensor(EXTREMES),
    ]
    u = torch.cat(some)
    return torch.cat([u, -u])


def ulp(exact):
    """The distance between neighbouring float32 numbers around a float64."""
    _, exponent = torch.frexp(exact)
    return torch.ldexp(torch.ones_like(exact), (exponent - 24).clamp(min=-149))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_atan_within_8_ulp(alpha):
    u = inputs(alpha)
    denominator = 1 + (math.pi / 2 * alpha * u.double()) ** 2
    exact = alpha / 2 / denominator
    found = derivative(u, "atan", alpha).double()
    error = (found - exact).abs() / ulp(exact)
    overflows = denominator > torch.finfo(torch.float32).max
    assert error[~overflows].max() <= 8
    assert torch.all(found[overflows] == 0)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_sigmoid_within_ulps_that_grow_with_its_argument(alpha):
    u = inputs(alpha)
    argument = (alpha * u.double()).abs()
    e = torch.exp(-argument)
    exact = alpha * e / (1 + e) ** 2
    found = derivative(u, "sigmoid", alpha).double()
    steep = argument < FLAT
    error = (found - exact).abs() / ulp(exact)
    assert torch.all(error[steep] <= (7 + 2 * argument)[steep])
    flat = argument > FLAT * (1 + 1e-6)
    assert torch.all(found[flat] == float(torch.tensor(alpha) * 2.0**-126))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_rect_is_exact(alpha):
    u = inputs(alpha)
    edge = torch.tensor(alpha / 2)
    below, above = (torch.nextafter(edge, torch.tensor(to)) for to in (0.0, math.inf))
    u = torch.cat([u, torch.stack([below, edge, above, -below, -edge, -above])])
    # The edge is the float32 nearest to alpha / 2 and belongs to the outside.
    expected = torch.where(u.abs() < edge, torch.tensor(1 / alpha), 0.0)
    assert torch.equal(derivative(u, "rect", alpha), expected)


@pytest.mark.parametrize("surrogate", ["atan", "sigmoid", "rect"])
@pytest.mark.parametrize("alpha", [*ALPHAS, 1e-3, 1e3])
def test_tails_fall_and_stay_finite(surrogate, alpha):
    # Steps of alpha u that change the derivative by far more than its error, then up to infinity.
    u = torch.cat(
        [torch.linspace(0.5, 100, 10_001) / alpha, 1e3 / alpha * 2.0 ** torch.arange(100), torch.tensor(HUGE)]
    )
    u = u.sort().values
    for side in (u, -u):
        found = derivative(side, surrogate, alpha)
        assert torch.all(found.isfinite())
        assert torch.all(found >= 0)
        assert torch.all(found.diff() <= 0)
        if surrogate != "sigmoid":
            assert found[-1] == 0
    assert derivative(torch.tensor([math.nan]), surrogate, alpha).isnan().item() == (surrogate != "rect")
