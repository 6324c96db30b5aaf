"""How many bits the spike codec will need for spikes, differentiably, and the starting tables that it is given.

A timestep is coded bit by bit, places row by row and channels within a place. Each bit is predicted by several context
sets: a set looks at some spikes that the decoder knows by then, and has a probability for each pattern of them. The
logits of these probabilities are mixed with weights:

    p(s = 1) = sigmoid(sum_i weight_i logit(p_i[pattern_i]))        bits = -s log2 p - (1 - s) log2 (1 - p)

The codec (`csrc/core/spike_model.cpp`) computes the same in integers and adapts probabilities and weights to each
stream; this module learns where it starts.

The probabilities are counted, with exponential forgetting: the share of ones is the best estimate that there is for a
pattern, no learning rate has to be found, and patterns that are rare are not left behind. The weights, one a set and
time class, have no such closed form and are learnt by gradient.

Source: logistic mixing as in PAQ (Mahoney 2005); the rate term as in learned compression (Ballé et al., ICLR 2017).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eccsnn.nn import lane_rates
from eccsnn.nn.lane_rates import LaneRates, fits_lanes

NEIGHBOURS = (*lane_rates.NEIGHBOURS, "up_before")
"""Spikes that a context set can look at, in the codec's order: the same neuron one to three timesteps before,
neighbours in this timestep, neighbours one timestep before."""

_PLACES = (
    (1, 0, 0),
    (2, 0, 0),
    (3, 0, 0),
    (0, 0, -1),
    (0, -1, 0),
    (0, -1, -1),
    (0, -1, 1),
    (0, 0, -2),
    (0, -2, 0),
    (1, 0, 1),
    (1, 1, 0),
    (1, 0, -1),
    (1, -1, 0),
)  # timesteps back, rows, columns

TIME_CLASSES = 4
"""Timesteps 0, 1, 2 and all later ones have probabilities of their own."""

MAX_SETS = 6
_MAX_CONTEXT_BITS = 8
_LARGEST_LOGIT = 2047 / 256
_LARGEST_WEIGHT = 256 * 65536
_MAGIC, _VERSION = b"ESPT", 1
_WEIGHT_RATE = 10
"""Binary logarithm of how slowly the codec adapts the weights; 9 to 11 are equally good on trained networks."""


@dataclass(frozen=True)
class ContextSet:
    """What one set of contexts looks at.

    Attributes:
        neighbours: Names of `NEIGHBOURS`, for each time class; at most 8.
        per_channel: Whether each channel has probabilities of its own.
        per_position: Whether each place has.
        recent: How many channels just before, at the same place and timestep, are looked at; 0 to 3.
        count: Whether the number of spikes among all channels before, at the same place and timestep, counts: 0, 1,
            2 or more.
        start: How many observations the learnt probabilities count as at most when a stream starts; 0 to 255.
        limit: How many observations a probability comes to stand for; 1 to 255.
    """

    neighbours: tuple[tuple[str, ...], ...]
    per_channel: bool = True
    per_position: bool = False
    recent: int = 0
    count: bool = False
    start: int = 60
    limit: int = 255

    def __post_init__(self) -> None:
        if len(self.neighbours) != TIME_CLASSES:
            raise ValueError(f"ContextSet: neighbours has {len(self.neighbours)} entries, expected one a time class: 4")
        for names in self.neighbours:
            unknown = sorted(set(names) - set(NEIGHBOURS))
            if unknown or len(set(names)) != len(names) or len(names) > _MAX_CONTEXT_BITS:
                raise ValueError(
                    f"ContextSet: neighbours are {names}, expected at most {_MAX_CONTEXT_BITS} different ones of "
                    f"{', '.join(NEIGHBOURS)}"
                )
        if not 0 <= self.recent <= 3 or not 0 <= self.start <= 255 or not 1 <= self.limit <= 255:
            raise ValueError(
                f"ContextSet: recent is {self.recent}, start {self.start}, limit {self.limit}; expected 0 to 3, 0 to "
                "255 and 1 to 255"
            )

    def pattern_bits(self, time: int) -> int:
        """Bits of a pattern in a time class."""
        return len(self.neighbours[time]) + self.recent + 2 * self.count


def default_sets() -> tuple[ContextSet, ...]:
    """The context sets that did best on spikes of trained networks; docs/spike_codec.md says what each is worth."""
    past1, past2, past3 = ("before1",), ("before1", "before2"), ("before1", "before2", "before3")
    here, wide = ("left", "up"), ("left", "up", "up_left", "up_right")
    ahead = ("right_before", "down_before")
    return (
        ContextSet((wide, past1 + here + ahead[:1], past2 + here, past3 + here[1:])),
        ContextSet((wide, past1 + here + ahead, past2 + here + ahead, past3 + here + ahead)),
        ContextSet((here, past1 + here, past2 + here, past3 + here), recent=3),
        ContextSet(
            ((*wide, "left2", "up2"), past1 + wide + ahead, past2 + wide + ahead, past2 + wide + ahead),
            per_channel=False,
            recent=2,
            start=255,
        ),
        ContextSet((here[:1], past1, past2, past3), count=True),
    )


class SpikeRateModel(nn.Module):
    """Bits that the spike codec needs for a sample's spikes, and the tables that it starts with.

    Add `model(spikes).mean()` times a weight to a loss: the gradient reaches the spikes, and through a surrogate the
    neurons that fire them. In training mode every call also counts the spikes, so that the probabilities follow them.

    Args:
        channels, height, width: Geometry of the spikes at the cut.
        sets: Context sets, 1 to 6.
        decay: What one call leaves of the counts before it.
        context_gradient: Whether the gradient also tells how a spike changes the price of those that have it in their
            context. It makes a call several times as expensive.

    Raises:
        ValueError: A size or a set is out of range.

    Example:
        >>> import torch
        >>> model = SpikeRateModel(2, 4, 4)
        >>> spikes = torch.zeros(4, 8, 2, 4, 4)                  # [T, N, C, H, W]: silence
        >>> model.fit([spikes])
        >>> bool((model.eval()(spikes) < 4).all())
        True
    """

    ones: Tensor
    zeros: Tensor

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        sets: Sequence[ContextSet] | None = None,
        *,
        decay: float = 0.99,
        context_gradient: bool = False,
    ) -> None:
        super().__init__()
        if not (min(channels, height, width) >= 1 and max(channels, height, width) <= 4096):
            raise ValueError(f"SpikeRateModel: {channels} x {height} x {width}; expected sizes from 1 to 4096")
        if channels * height * width > 2**24:
            raise ValueError(
                f"SpikeRateModel: {channels} x {height} x {width} are {channels * height * width} spikes a timestep, "
                "expected at most 2^24"
            )
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"SpikeRateModel: decay is {decay}, expected 0 to 1")
        self.channels, self.height, self.width = channels, height, width
        self.sets = tuple(sets) if sets is not None else default_sets()
        if not 1 <= len(self.sets) <= MAX_SETS:
            raise ValueError(f"SpikeRateModel: there are {len(self.sets)} context sets, expected 1 to {MAX_SETS}")
        self.decay, self.context_gradient = decay, context_gradient
        self._first: dict[tuple[int, int], int] = {}
        cells = 0
        for index, one in enumerate(self.sets):
            for time in range(TIME_CLASSES):
                self._first[index, time] = cells
                cells += self._scopes(one) << one.pattern_bits(time)
        if cells > 2**24:
            raise ValueError(f"SpikeRateModel: the context sets have {cells} probabilities, expected at most 2^24")
        # Counts of a data set are beyond 2^24, where float32 can no longer add one.
        self.register_buffer("ones", torch.zeros(cells, dtype=torch.float64))
        self.register_buffer("zeros", torch.zeros(cells, dtype=torch.float64))
        self.weights = nn.Parameter(torch.full((TIME_CLASSES, len(self.sets)), 1.2 / len(self.sets)))
        self.lanes = LaneRates(channels) if fits_lanes(channels, height, width) else None

    # ---- bits ----

    def forward(self, spikes: Tensor) -> Tensor:
        """Bits of each sample.

        Args:
            spikes: 0 and 1, floating point [T, N, C, H, W].

        Returns:
            [N], float32; headers and the rounding to bytes (3 bits a packet on average) are not in it.

        Raises:
            ValueError: Another shape than the model was made for.
        """
        self._check(spikes)
        if self.training:
            self.observe(spikes)
        table = self._logits()
        total = spikes.new_zeros(spikes.shape[1], dtype=torch.float32)
        for timestep in range(spikes.shape[0]):
            now = self._spikes_at(spikes, timestep)
            logit = self._logit(spikes, timestep, table)
            # -s log p - (1 - s) log (1 - p) = softplus(logit) - s logit
            nats = F.softplus(logit) - now * logit
            total = total + nats.sum((1, 2, 3)) / math.log(2)
        return total

    def _logit(self, spikes: Tensor, timestep: int, table: Tensor) -> Tensor:
        time = min(timestep, TIME_CLASSES - 1)
        logit: Tensor | None = None
        for index, one in enumerate(self.sets):
            bits = self._context(spikes, timestep, one)
            cells = self._cells(bits, one, index, time)
            part = table[cells]
            if self.context_gradient and spikes.requires_grad:
                # Linear in each spike of the context: the slope is what the spike changes, exact at 0 and 1.
                for place, bit in enumerate(reversed(bits)):
                    if bit.requires_grad:
                        with torch.no_grad():
                            clear = cells - (bit > 0).long() * (1 << place)
                            slope = table[clear + (1 << place)] - table[clear]
                        part = part + (bit - bit.detach()) * slope
            weighted = self.weights[time, index] * part
            logit = weighted if logit is None else logit + weighted
        assert logit is not None
        return logit.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)

    def _lane_bits(self, spikes: Tensor) -> Tensor:
        assert self.lanes is not None
        parts = [
            self.lanes.bits(t, self._spikes_at(spikes, t), lambda at, name: self._neighbour(spikes, at, name))
            for t in range(spikes.shape[0])
        ]
        return torch.stack(parts).sum(0)

    def _neighbour(self, spikes: Tensor, timestep: int, name: str) -> Tensor:
        back, rows, columns = _PLACES[NEIGHBOURS.index(name)]
        return _shift(self._spikes_at(spikes, timestep - back), rows, columns)

    def _spikes_at(self, spikes: Tensor, timestep: int) -> Tensor:
        """[N, H, W, C] of a timestep; zeros before the first."""
        if timestep < 0:
            return torch.zeros_like(spikes[0]).movedim(1, -1)
        return spikes[timestep].movedim(1, -1).float()

    def _context(self, spikes: Tensor, timestep: int, one: ContextSet) -> list[Tensor]:
        """The bits of a pattern, the highest first, each [N, H, W, C]."""
        found: list[Tensor] = []
        for name in sorted(one.neighbours[min(timestep, TIME_CLASSES - 1)], key=NEIGHBOURS.index, reverse=True):
            found.append(self._neighbour(spikes, timestep, name))
        now = self._spikes_at(spikes, timestep)
        if one.count:
            before = (now.cumsum(-1) - now).detach().clamp(max=3).round().long()
            found += [(before >> 1).float(), (before & 1).float()]
        for step in range(one.recent, 0, -1):
            found.append(F.pad(now, (step, 0))[..., : self.channels])
        return found

    def _cells(self, bits: list[Tensor], one: ContextSet, index: int, time: int) -> Tensor:
        cells = torch.zeros((), dtype=torch.long, device=self.ones.device)
        if one.per_position:
            places = torch.arange(self.height * self.width, device=self.ones.device)
            cells = places.view(self.height, self.width, 1)
        if one.per_channel:
            cells = cells * self.channels + torch.arange(self.channels, device=self.ones.device)
        for bit in bits:
            cells = cells * 2 + (bit.detach() > 0.5).long()
        return cells + self._first[index, time]

    def _logits(self) -> Tensor:
        ones, zeros = self.ones.float(), self.zeros.float()
        share = (ones + 0.4 * _PRIOR) / (ones + zeros + 0.4)
        return torch.logit(share, eps=1 / 4096).detach()

    # ---- what is learnt ----

    @torch.no_grad()
    def observe(self, spikes: Tensor) -> None:
        """Counts spikes [T, N, C, H, W] in their contexts, after forgetting a part of what was counted before."""
        self._check(spikes)
        self.ones *= self.decay
        self.zeros *= self.decay
        for timestep in range(spikes.shape[0]):
            now = self._spikes_at(spikes, timestep).reshape(-1).double()
            time = min(timestep, TIME_CLASSES - 1)
            for index, one in enumerate(self.sets):
                shape = self._spikes_at(spikes, timestep).shape
                cells = self._cells(self._context(spikes, timestep, one), one, index, time).expand(shape).reshape(-1)
                self.ones.index_add_(0, cells, now)
                self.zeros.index_add_(0, cells, 1 - now)

    def fit(self, batches: Iterable[Tensor], *, steps: int = 60, lr: float = 0.05) -> None:
        """Learns from spikes that no longer change: counts all of them anew, then finds the weights.

        Args:
            batches: Spikes [T, N, C, H, W]; kept in memory.
            steps: Steps of Adam on the weights, each on one batch.
            lr: Its learning rate.
        """
        kept = [batch.detach() for batch in batches]
        if not kept:
            raise ValueError("SpikeRateModel.fit: there are no batches; give at least one [T, N, C, H, W]")
        was_training, decay = self.training, self.decay
        self.eval()
        self.ones.zero_()
        self.zeros.zero_()
        self.decay = 1.0
        # The weights must be learnt on spikes that were not counted, or rare patterns would look better than they are.
        own = kept[-max(1, len(kept) // 4) :]
        counted = kept[: len(kept) - len(own)] or own
        for batch in counted:
            self.observe(batch)
        optimizer = torch.optim.Adam([self.weights], lr=lr)
        with torch.enable_grad():
            for step in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = lr * (1 - step / steps)
                optimizer.zero_grad()
                batch = own[step % len(own)]
                (self(batch).mean() / batch[:, 0].numel()).backward()
                optimizer.step()
        if counted is not own:
            for batch in own:
                self.observe(batch)
        if self.lanes is not None:
            self.lanes.fit(kept, self._lane_bits, steps=4 * steps, lr=3 * lr)
        self.decay = decay
        self.train(was_training)

    # ---- for the codec ----

    def export_tables(self) -> bytes:
        """The codec's starting tables: versioned, with a CRC-32 at the end that is also their name in a stream.

        Example:
            >>> SpikeRateModel(1, 2, 2).export_tables()[:5]
            b'ESPT\\x01'
        """
        parts = [
            _MAGIC,
            struct.pack("<BBBHHH", _VERSION, len(self.sets), _WEIGHT_RATE, self.channels, self.height, self.width),
        ]
        for one in self.sets:
            flags = one.per_channel | one.per_position << 1 | one.count << 2 | one.recent << 3
            masks = [sum(1 << NEIGHBOURS.index(name) for name in names) for names in one.neighbours]
            parts.append(struct.pack("<BB4H", flags, one.limit, *masks))
        weights = (self.weights.detach().double() * 65536).round().long().clamp(-_LARGEST_WEIGHT, _LARGEST_WEIGHT)
        parts.append(struct.pack(f"<{weights.numel()}i", *weights.flatten().tolist()))
        total = self.ones + self.zeros
        share = (self.ones + 0.4 * _PRIOR) / (total + 0.4)
        share = (share * 65536).round().clamp(16, 65520).to(torch.int32)
        seen = total.floor().clamp(max=255)
        for index, one in enumerate(self.sets):
            begin = self._first[index, 0]
            end = self._first.get((index + 1, 0), self.ones.numel())
            seen[begin:end].clamp_(max=min(one.start, one.limit))
        cells = torch.stack([share & 255, share >> 8, seen.to(torch.int32)], 1).to(torch.uint8)
        parts.append(cells.cpu().numpy().tobytes())
        if self.lanes is not None:
            parts.append(self.lanes.export())
        content = b"".join(parts)
        return content + struct.pack("<I", zlib.crc32(content))

    def _scopes(self, one: ContextSet) -> int:
        return (self.channels if one.per_channel else 1) * (self.height * self.width if one.per_position else 1)

    def _check(self, spikes: Tensor) -> None:
        shape = (self.channels, self.height, self.width)
        if spikes.ndim != 5 or spikes.shape[2:] != shape or not spikes.is_floating_point():
            raise ValueError(
                f"SpikeRateModel: spikes are {spikes.dtype} {list(spikes.shape)}, expected floating point "
                f"[T, N, C, H, W] with [C, H, W] = {list(shape)}"
            )

    def extra_repr(self) -> str:
        return f"{self.channels}, {self.height}, {self.width}, sets={len(self.sets)}, cells={self.ones.numel()}"


_PRIOR = 0.125
"""Share of ones in a pattern that was never seen."""


def _shift(x: Tensor, rows: int, columns: int) -> Tensor:
    """x[n, h + rows, w + columns, c], zeros outside; rows and columns may be negative."""
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, max(0, -columns), max(0, columns), max(0, -rows), max(0, rows)))
    top, left = max(0, rows), max(0, columns)
    return padded[:, top : top + height, left : left + width]
