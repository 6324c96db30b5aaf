import pytest
import torch
from torch import nn

from eccsnn.nn import LIF, firing_rates


def test_rates_are_means_over_all_passes():
    model = nn.Sequential(LIF(), nn.Linear(3, 5), LIF())
    loud, silent = torch.full((4, 2, 3), 10.0), torch.zeros(4, 6, 3)
    with firing_rates(model) as rates:
        model(loud)
        model(silent)
    assert list(rates) == ["0", "2"]
    assert rates["0"] == pytest.approx(2 / 8)
    assert 0 <= rates["2"] <= 1


def test_nothing_is_counted_outside_the_context():
    lif = LIF()
    with firing_rates(lif) as rates:
        lif(torch.full((2, 3), 10.0), None, return_state=True)
    lif(torch.zeros(2, 3))
    assert dict(rates) == {"lif": 1.0}
    assert not lif._forward_hooks


def test_an_error_inside_the_context_removes_the_hooks():
    lif = LIF()
    with pytest.raises(RuntimeError, match="stop"), firing_rates(lif):
        raise RuntimeError("stop")
    assert not lif._forward_hooks


def test_layers_that_did_not_run_are_missing():
    model = nn.ModuleList([LIF(), LIF()])
    with firing_rates(model) as rates:
        model[1](torch.zeros(2, 3))
    assert list(rates) == ["1"]


def test_an_empty_batch_counts_as_silence():
    lif = LIF()
    with firing_rates(lif) as rates:
        lif(torch.zeros(2, 0))
    assert rates["lif"] == 0.0


def test_a_model_without_neurons_is_refused():
    with pytest.raises(ValueError, match="Linear has no LIF layer"):
        firing_rates(nn.Linear(2, 2))
