"""A cut spiking network as two live ends: its parts behind the interfaces that the services stream between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eccsnn.models.split import CloudPart, EdgePart, SpikingPart
from eccsnn.nn import State
from eccsnn.offload.exits import NEVER
from eccsnn.services.early_exit import EdgeSplit, EdgeStep
from eccsnn.services.split import Decoder, SplitModel
from eccsnn.transport.packed_spikes import PACKED, pack_spikes

Prepare = Callable[[NDArray[np.uint8]], Tensor]
"""Samples uint8 `[N, C, H, W]` to what the network takes, `[N, C, H, W]` or event frames `[T, N, C, H, W]`."""

Encode = Callable[[NDArray[np.uint8]], bytes]
"""Spikes uint8 `[C, H, W]` of one sample's next timestep to a packet."""


def cloud_split(
    part: CloudPart,
    timesteps: int,
    *,
    exit_threshold: float = NEVER,
    decoders: Mapping[int, Callable[[], Decoder]] | None = None,
) -> SplitModel:
    """What a cloud serves of a cut network; samples of several edges, at any timesteps, share a call.

    Args:
        part: the network behind the wire.
        timesteps: most of a sample.
        exit_threshold: confidence at which a sample ends, where its edge says none.
        decoders: makes a sample's decoder, by the number of the codec; None: packed bits alone.

    Raises:
        ValueError: real values cross the wire, or a number is out of range.
    """
    part.eval()
    like = next(part.parameters())

    def step(spikes: NDArray[np.uint8], states: Sequence[State]) -> tuple[NDArray[np.floating], list[State]]:
        with torch.inference_mode():
            before = {key: torch.cat([state[key] for state in states]) for key in states[0]}
            logits, after = part.step(torch.from_numpy(spikes).to(like.device, like.dtype), before)
            rows = [{key: value[row : row + 1] for key, value in after.items()} for row in range(len(spikes))]
            return logits.double().cpu().numpy(), rows

    return SplitModel(
        split_point=part.wire.name,
        shape=(part.wire.channels, part.wire.size, part.wire.size),
        timesteps=timesteps,
        start=partial(_at_rest, part),
        step=step,
        exit_threshold=exit_threshold,
        max_count=_max_count(part),
        decoders=decoders,
    )


def edge_split(
    part: EdgePart,
    prepare: Prepare,
    *,
    timesteps: int | None = None,
    codec: int = PACKED,
    encoder: Callable[[], Encode] | None = None,
    class_ids: Sequence[int] = (),
    local: Callable[[NDArray[np.uint8]], NDArray[np.floating]] | None = None,
) -> EdgeSplit:
    """The edge's part of a cut network; a static image is convolved once, as it is priced, and shown to the first
    neurons at every timestep; of event frames every timestep sees the next one.

    Args:
        part: the network before the wire; its exit head, if it has one, is used.
        prepare: makes the network's input.
        timesteps: most of a sample; None: those of the part.
        codec: number of the codec that `encoder` writes.
        encoder: makes a sample's encoder; None: packed bits.
        class_ids: class of each logit of the exit head and of `local`.
        local: a network of the edge alone, image uint8 `[C, H, W]` to logits `[K]`.

    Raises:
        ValueError: real values cross the wire, or classes are missing.
    """
    part.eval()
    max_count = _max_count(part)
    head = part.exit_head

    def start(image: NDArray[np.uint8]) -> Callable[[int], EdgeStep]:
        with torch.inference_mode():
            x, state = prepare(image[None]), _at_rest(part)
            static = part.prepare(x) if x.ndim == 4 else None
        encode = encoder() if encoder is not None else partial(pack_spikes, max_count=max_count)

        def step(timestep: int) -> EdgeStep:
            nonlocal state
            with torch.inference_mode():
                spikes, state = part.step(x[timestep] if static is None else static, state)
                logits = head(spikes)[0].float().cpu().numpy() if head is not None else None
                return EdgeStep(encode(spikes[0].to(torch.uint8).cpu().numpy()), logits)

        return step

    return EdgeSplit(
        start,
        part.wire.name,
        part.timesteps if timesteps is None else timesteps,
        codec=codec,
        class_ids=tuple(class_ids),
        exit_head=head is not None,
        local=local,
    )


def _at_rest(part: SpikingPart) -> State:
    with torch.inference_mode():
        return part.init_state(1)


def _max_count(part: SpikingPart) -> int:
    if part.wire.max_count is None:
        raise ValueError(f"real values cross the wire at {part.wire.name!r}; timesteps of spikes are streamed only")
    return part.wire.max_count
