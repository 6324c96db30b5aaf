"""Neurons with batch norm in front, against torch's layers one after the other."""

import copy

import pytest
import torch
from torch import nn

from eccsnn.nn import LIF, over_time


def sample(*shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 1
    return x.movedim(2, -1).contiguous().movedim(-1, 2)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.BatchNorm2d])
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_statistics_and_results_are_those_of_torch(layer, options):
    shape = (4, 6, 5) if layer is nn.BatchNorm1d else (4, 6, 5, 3, 3)
    fused = layer(5, **options).double()
    if fused.affine:
        nn.init.normal_(fused.weight)
        nn.init.normal_(fused.bias)
    plain = copy.deepcopy(fused)
    lif = LIF()
    for step in range(4):
        x = sample(*shape) * (step + 1)
        if step == 3:
            fused.eval()
            plain.eval()
        leaf, leaf2 = x.clone().requires_grad_(), x.clone().requires_grad_()
        spikes, state = lif(leaf, None, True, norm=fused)
        expected, expected_state = lif(over_time(plain, leaf2), None, return_state=True)
        assert torch.equal(spikes, expected)
        torch.testing.assert_close(state, expected_state)
        weights = torch.randn_like(x)
        torch.testing.assert_close(
            torch.autograd.grad(spikes, leaf, weights), torch.autograd.grad(expected, leaf2, weights)
        )
        for (name, a), b in zip(fused.state_dict().items(), plain.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, msg=name)


def test_a_single_image_stands_for_every_timestep():
    norm, lif = nn.BatchNorm2d(5).double(), LIF()
    x = sample(1, 6, 5, 3, 3).requires_grad_()
    spikes = lif(x, norm=copy.deepcopy(norm), timesteps=3)
    expected = lif(over_time(norm, x).expand(3, -1, -1, -1, -1))
    assert torch.equal(spikes, expected)
    weights = torch.randn_like(spikes)
    torch.testing.assert_close(torch.autograd.grad(spikes, x, weights), torch.autograd.grad(expected, x, weights))
    assert torch.equal(LIF()(x.detach(), timesteps=3), LIF()(x.detach().expand(3, -1, -1, -1, -1)))


def test_who_listens_to_the_norm_hears_it():
    norm, lif, heard = nn.BatchNorm2d(5), LIF(), []
    norm.register_forward_hook(lambda module, inputs, output: heard.append(output.shape))
    lif(sample(4, 6, 5, 3, 3).float(), norm=norm)
    assert heard == [(24, 5, 3, 3)]


class Rescaled(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_subclass_is_called_as_it_is():
    x = sample(4, 6, 5, 3, 3).float()
    norm = Rescaled(5).eval()
    assert torch.equal(LIF()(x, norm=norm), LIF()(over_time(norm, x)))


def test_bad_input():
    with pytest.raises(ValueError, match=r"LIF: .* expected \[T, N, 4, H, W\] for BatchNorm2d\(4\)"):
        LIF()(torch.zeros(2, 3, 5, 1, 1), norm=nn.BatchNorm2d(4))
    with pytest.raises(ValueError, match="a single value a channel has no variance"):
        LIF()(torch.zeros(1, 1, 4), norm=nn.BatchNorm1d(4))


class Heard(nn.BatchNorm2d):
    """Not torch's own class, so that it is called as it is."""


@pytest.mark.parametrize("layer", [nn.BatchNorm2d, Heard])
@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"state": torch.zeros(1, 1)}, ValueError, "v_init has shape"),
        ({"state": torch.zeros(3, 5, 2, 2, dtype=torch.int64)}, TypeError, "v_init is torch.int64"),
        ({"timesteps": 3}, ValueError, "x has 4 timesteps; expected timesteps=3"),
        ({"timesteps": 0}, ValueError, "timesteps is 0"),
        ({"return_state": "yes"}, TypeError, "return_state is 'yes'"),
    ],
)
def test_a_refused_call_changes_no_statistics(layer, arguments, error, says):
    norm = layer(5)
    before = copy.deepcopy(norm.state_dict())
    with pytest.raises(error, match=says):
        LIF()(sample(4, 3, 5, 2, 2).float(), norm=norm, **arguments)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize(
    ("norm", "x", "error", "says"),
    [
        ("bn", torch.zeros(2, 3, 5, 1, 1), TypeError, r"norm is str \('bn'\); expected a layer torch.nn.BatchNorm1d"),
        (nn.BatchNorm2d, torch.zeros(2, 3, 5, 1, 1), TypeError, "norm is the class BatchNorm2d; expected a layer"),
        (nn.GroupNorm(1, 5), torch.zeros(2, 3, 5, 1, 1), TypeError, "norm is GroupNorm.*over_time"),
        (nn.BatchNorm1d(5), torch.zeros(2, 3, 5, 1, 1), ValueError, r"\[T, N, 5\] or \[T, N, 5, W\] for BatchNorm1d"),
        (nn.BatchNorm2d(5), torch.zeros(2, 3, 5), ValueError, r"expected \[T, N, 5, H, W\] for BatchNorm2d\(5\)"),
        (nn.BatchNorm3d(5), torch.zeros(2, 3, 5, 1, 1), ValueError, r"expected \[T, N, 5, D, H, W\]"),
        (nn.BatchNorm1d(5), [[[0.0]]], TypeError, "x is list; expected a tensor"),
        (nn.BatchNorm1d(5).bfloat16(), torch.zeros(2, 3, 5), TypeError, "is torch.bfloat16, x is torch.float32"),
        (nn.BatchNorm1d(5, affine=False).half(), torch.zeros(2, 3, 5), TypeError, "is torch.float16"),
        (nn.BatchNorm1d(5), torch.zeros(2, 3, 5).double(), TypeError, "is torch.float32, x is torch.float64"),
    ],
)
def test_a_batch_norm_that_does_not_suit_the_input_is_refused(norm, x, error, says):
    with pytest.raises(error, match=says):
        LIF()(x, norm=norm)


def test_the_eval_pass_survives_a_training_pass_before_its_backward():
    norm, lif = nn.BatchNorm2d(5), LIF()
    x = sample(4, 6, 5, 3, 3).float().requires_grad_()
    norm(x.detach().flatten(0, 1))
    norm.eval()
    spikes = lif(x, norm=norm)
    expected = torch.autograd.grad(lif(x, norm=norm).sum(), x)[0]
    norm.train()
    lif(x.detach(), norm=norm)
    assert torch.equal(torch.autograd.grad(spikes.sum(), x)[0], expected)


def test_running_statistics_that_are_switched_off_later_stay():
    norm = nn.BatchNorm2d(5)
    norm.track_running_stats = False
    LIF()(sample(4, 6, 5, 3, 3).float(), norm=norm)
    assert not norm.running_mean.any()
    norm.track_running_stats, norm.num_batches_tracked = True, None
    LIF()(sample(4, 6, 5, 3, 3).float(), norm=norm)
    assert norm.running_mean.all()


def test_an_empty_batch_is_left_to_torch():
    norm = nn.BatchNorm1d(5)
    assert LIF()(torch.zeros(4, 0, 5), norm=norm).shape == (4, 0, 5)


def test_backward_hooks_and_another_forward_are_heard():
    norm, lif, heard = nn.BatchNorm2d(5), LIF(), []
    norm.register_full_backward_pre_hook(lambda module, grad: heard.append("backward"))
    x = sample(4, 6, 5, 3, 3).float().requires_grad_()
    lif(x, norm=norm).sum().backward()
    assert heard == ["backward"]
    norm = nn.BatchNorm2d(5)
    norm.forward = lambda x: heard.append("forward") or x
    lif(x, norm=norm)
    assert heard[-1] == "forward"
