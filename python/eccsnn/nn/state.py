"""A model's state over time, and the form in which it is stored or sent.

A state is a flat dict from a neuron layer's name to its membranes [N, ...]. It is a value: `step` returns a new one and
leaves the old one as it is, so that a caller may keep, fork, store or move it.
"""

from collections.abc import Mapping

from torch import Tensor

State = dict[str, Tensor]


def state_to_tensors(state: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Turns a state into named tensors that safetensors stores: detached, contiguous, on the CPU.

    Layers that are still at rest (None) are left out; `state_from_tensors` reads the result back.

    Raises:
        TypeError: A value is neither a tensor nor None.

    Example:
        >>> import torch
        >>> state_to_tensors({"conv1.lif": torch.zeros(1, 2), "fc1.lif": None})
        {'conv1.lif': tensor([[0., 0.]])}
    """
    tensors = {}
    for name, value in state.items():
        if value is None:
            continue
        if not isinstance(value, Tensor):
            raise TypeError(f"state[{name!r}] is a {type(value).__name__}, expected a tensor or None")
        tensors[name] = value.detach().cpu().contiguous()
    return tensors


def state_from_tensors(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor | None] | None = None) -> State:
    """Reads a state back from named tensors.

    Args:
        tensors: What `state_to_tensors` returned.
        like: A state of the same model (`model.init_state(batch)`): layers that were left out are taken from it, and
            the tensors move to its devices.

    Raises:
        ValueError: The names or shapes do not belong to `like`.
    """
    if like is None:
        return dict(tensors)
    unknown = sorted(set(tensors) - set(like))
    if unknown:
        raise ValueError(f"state has layers {unknown}, which the model lacks (it has {sorted(like)})")
    state: State = {}
    for name, rest in like.items():
        value = tensors.get(name, rest)
        if value is None:
            continue
        if rest is not None:
            if value.shape != rest.shape:
                raise ValueError(f"state[{name!r}] has shape {list(value.shape)}, expected {list(rest.shape)}")
            value = value.to(rest.device)
        state[name] = value
    return state
