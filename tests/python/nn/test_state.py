import pytest
import torch
from safetensors.torch import load, save

from eccsnn.nn import state_from_tensors, state_to_tensors


def test_a_state_survives_safetensors():
    state = {"a.lif": torch.randn(2, 3).t(), "b.lif": torch.randn(2, requires_grad=True)}
    restored = state_from_tensors(load(save(state_to_tensors(state))), like=state)
    assert list(restored) == list(state)
    for name, value in state.items():
        assert torch.equal(restored[name], value)
        assert not restored[name].requires_grad


def test_layers_at_rest_are_left_out_and_filled_in_again():
    rest = {"a.lif": torch.zeros(2), "b.lif": torch.full((2,), -1.0)}
    tensors = state_to_tensors({"a.lif": torch.ones(2), "b.lif": None})
    assert list(tensors) == ["a.lif"]
    restored = state_from_tensors(tensors, like=rest)
    assert restored["a.lif"].tolist() == [1.0, 1.0]
    assert restored["b.lif"].tolist() == [-1.0, -1.0]


def test_another_models_state_is_refused():
    like = {"a.lif": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"layers \['b.lif'\], which the model lacks"):
        state_from_tensors({"b.lif": torch.zeros(2)}, like=like)
    with pytest.raises(ValueError, match=r"shape \[3\], expected \[2\]"):
        state_from_tensors({"a.lif": torch.zeros(3)}, like=like)
    with pytest.raises(TypeError, match="is a float"):
        state_to_tensors({"a.lif": 0.5})
