import pytest
import torch
from torch import nn

from eccsnn import ops
from eccsnn.nn import IF, LIF, PLIF, ATan, Rect, Sigmoid, complete_neuron_config


def current(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).mul(2).to(dtype)


@pytest.mark.parametrize("v_reset", [0.0, -0.5, None])
@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("learn_tau", [True, False])
def test_all_steps_at_once_equal_single_steps_bit_for_bit(v_reset, decay_input, learn_tau):
    lif = LIF(tau=3.0, v_reset=v_reset, decay_input=decay_input, learn_tau=learn_tau)
    x = current(6, 3, 4, 5, 5)
    spikes, membranes = lif(x, None, return_state=True)
    state, steps = None, []
    for x_t in x:
        spikes_t, state = lif(x_t.unsqueeze(0), state, return_state=True)
        steps.append(spikes_t)
    assert torch.equal(torch.cat(steps), spikes)
    assert torch.equal(state, membranes)
    assert torch.equal(lif(x), spikes)
    assert 0 < spikes.mean() < 1


def test_the_module_passes_every_argument_to_the_op():
    x = current(5, 7)
    options = {"tau": 1.5, "v_threshold": 0.8, "v_reset": None, "decay_input": False, "detach_reset": False}
    lif = LIF(**options, surrogate=Rect(0.7))
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    spikes = lif(x1)
    expected, _ = ops.lif(x2, **options, surrogate="rect", surrogate_alpha=0.7)
    weights = current(5, 7)
    (spikes * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(spikes, expected)
    assert torch.equal(x1.grad, x2.grad)
    assert x1.grad.any()


def test_the_module_keeps_no_state_and_changes_no_argument():
    lif, x = LIF(), current(4, 2, 3)
    state = torch.full((2, 3), 0.4)
    first = lif(x, state, return_state=True)
    second = lif(x, state, return_state=True)
    assert torch.equal(first[0], second[0])
    assert torch.equal(state, torch.full((2, 3), 0.4))
    assert not lif.state_dict()


def test_neurons_start_at_their_resting_potential():
    x = torch.zeros(1, 2)
    assert LIF(v_reset=-0.5)(x, None, return_state=True)[1].tolist() == [-0.5, -0.5]
    assert LIF(v_reset=None)(x, None, return_state=True)[1].tolist() == [0.0, 0.0]
    assert LIF(v_reset=-0.5).rest == -0.5
    assert LIF(v_reset=None).rest == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_spikes_have_the_input_dtype_and_membranes_at_least_float32(dtype):
    spikes, membranes = LIF()(current(3, 2, 4, dtype=dtype), None, return_state=True)
    assert spikes.dtype == dtype
    assert membranes.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_a_learnt_time_constant_starts_at_tau_and_gets_a_gradient():
    lif = LIF(tau=3.0, learn_tau=True)
    assert lif.tau.item() == pytest.approx(3.0)
    lif(current(4, 2, 8)).sum().backward()
    assert lif.w.grad is not None
    assert lif.w.grad.item() != 0
    with torch.no_grad():
        lif.w += 10.0  # however far it is moved, tau stays a valid time constant
    assert lif.tau.item() >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0.5}, "tau is 0.5, expected at least 1"),
        ({"tau": float("nan")}, "tau is nan"),
        ({"tau": "2"}, "tau is '2'"),
        ({"tau": 1.0, "learn_tau": True}, "above 1 when learn_tau"),
        ({"v_threshold": float("inf")}, "v_threshold is inf"),
        ({"v_reset": 1.0}, "v_threshold is 1.0, expected above the resting potential 1.0"),
        ({"v_threshold": -1.0, "v_reset": None}, "resting potential 0.0"),
    ],
)
def test_values_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LIF(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"surrogate": "atan"}, "make_surrogate"), ({"decay_input": 1}, "decay_input is 1")]
)
def test_wrong_types_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        LIF(**arguments)


def test_errors_begin_with_the_name_of_the_neuron():
    with pytest.raises(ValueError, match=r"^IF: v_threshold is -1.0, expected above"):
        IF(v_threshold=-1.0)
    with pytest.raises(TypeError, match=r"^IF: surrogate is"):
        IF(surrogate="atan")
    with pytest.raises(ValueError, match=r"^PLIF: tau is 1.0, expected above 1"):
        PLIF(tau=1.0)
    with pytest.raises(TypeError, match=r"^PLIF: detach_reset is 'no'"):
        PLIF(detach_reset="no")
    with pytest.raises(TypeError, match=r"^PLIF: learn_tau is False, but tau is always learnt here.*LIF\(learn_tau"):
        PLIF(learn_tau=False)


@pytest.mark.parametrize("w", [float("nan"), float("-inf"), -1000.0])
def test_a_learnt_time_constant_that_has_diverged_is_refused(w):
    lif = PLIF()
    with torch.no_grad():
        lif.w.fill_(w)
    with pytest.raises(ValueError, match=r"tau is a tensor of value (nan|inf).*lower the learning rate"):
        lif(current(4, 2, 8))


@pytest.mark.parametrize(
    ("timesteps", "error", "says"),
    [
        (-1, ValueError, "timesteps is -1; expected at least 1"),
        (0, ValueError, "timesteps is 0; expected at least 1"),
        (True, TypeError, "timesteps is True; expected an integer of at least 1"),
        (2.5, TypeError, "timesteps is 2.5; expected an integer"),
        ("3", TypeError, "timesteps is '3'; expected an integer"),
        (3, ValueError, "x has 4 timesteps; expected timesteps=3 of them, or 1 that is repeated"),
    ],
)
@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d(3), nn.SyncBatchNorm(3)])
def test_timesteps_are_checked_with_and_without_batch_norm(timesteps, error, says, norm):
    with pytest.raises(error, match=says):
        LIF()(current(4, 2, 3, 8, 8), norm=norm, timesteps=timesteps)
    assert norm is None or norm.num_batches_tracked == 0


def test_as_many_timesteps_as_the_input_has_are_welcome():
    x = current(4, 2, 3)
    assert torch.equal(LIF()(x, timesteps=4), LIF()(x))


def test_the_default_configuration_is_the_published_neuron():
    lif = LIF.from_config(None)
    assert (lif.tau, lif.v_threshold, lif.v_reset, lif.decay_input, lif.detach_reset) == (2.0, 1.0, 0.0, True, True)
    assert lif.surrogate == Sigmoid(4.0)
    assert LIF().surrogate == ATan(2.0)


def test_a_complete_configuration_is_plain_and_stable():
    config = complete_neuron_config({"surrogate": "rect", "tau": 4.0})
    assert config["surrogate_alpha"] == 1.0
    assert complete_neuron_config(config) == config


def test_a_configuration_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"tau is 0.5, expected at least 1"):
        complete_neuron_config({"tau": 0.5})
    with pytest.raises(TypeError, match="learn_tau is 'yes'"):
        complete_neuron_config({"learn_tau": "yes"})


def test_an_unknown_configuration_key_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown neuron key 'v_treshold': did you mean 'v_threshold'"):
        LIF.from_config({"v_treshold": 1.0})


def test_it_works_inside_a_sequence_of_modules():
    model = nn.Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 2))
    model(current(3, 5, 4)).sum().backward()
    assert model[0].weight.grad.any()
    assert "tau=2.0" in repr(model)
