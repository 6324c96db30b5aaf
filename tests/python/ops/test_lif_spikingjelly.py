"""Agreement with SpikingJelly's LIFNode, spike for spike and in gradient, over a grid of parameters."""

import itertools

import pytest
import torch

from eccsnn.ops import lif

neuron = pytest.importorskip("spikingjelly.activation_based.neuron", reason="SpikingJelly is not installed")
surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")

# Our name and parameter, and the same function there; their Rect takes the height, ours the width.
SURROGATES = {
    "atan": (2.0, lambda: surrogate.ATan(alpha=2.0)),
    "sigmoid": (4.0, lambda: surrogate.Sigmoid(alpha=4.0)),
    "rect": (0.5, lambda: surrogate.Rect(alpha=2.0)),
}
GRID = list(
    itertools.product(
        (1.1, 2.0, 3.7, 16.0),  # tau
        (1.0, 0.4),  # v_threshold
        (0.0, None, -0.3, 0.2),  # v_reset
        (True, False),  # decay_input
        (True, False),  # detach_reset
        SURROGATES,
    )
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("tau", "v_threshold", "v_reset", "decay_input", "detach_reset", "name"), GRID)
def test_spikes_membrane_and_gradient(dtype, tau, v_threshold, v_reset, decay_input, detach_reset, name):
    generator = torch.Generator().manual_seed(0)
    scale = tau if decay_input else 1.0
    x = torch.randn(6, 2, 5, 3, 3, generator=generator, dtype=dtype) * scale
    weights = torch.randn(x.shape, generator=generator, dtype=dtype)
    alpha, theirs = SURROGATES[name]
    node = neuron.LIFNode(
        tau=tau,
        decay_input=decay_input,
        v_threshold=v_threshold,
        v_reset=v_reset,
        surrogate_function=theirs(),
        detach_reset=detach_reset,
        step_mode="m",
    )
    expected_x = x.clone().requires_grad_()
    expected = node(expected_x)
    (expected * weights).sum().backward()

    ours_x = x.clone().requires_grad_()
    spikes, v = lif(
        ours_x,
        tau=tau,
        v_threshold=v_threshold,
        v_reset=v_reset,
        decay_input=decay_input,
        detach_reset=detach_reset,
        surrogate=name,
        surrogate_alpha=alpha,
    )
    (spikes * weights).sum().backward()

    assert 0 < spikes.mean() < 1
    assert torch.equal(spikes, expected)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(v, node.v, rtol=tolerance, atol=tolerance)
    largest = expected_x.grad.abs().max()
    assert (ours_x.grad - expected_x.grad).abs().max() <= tolerance * largest
