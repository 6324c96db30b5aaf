"""`eccsnn bench lif`: the fused multi-timestep LIF against its peers and against a copy of the same memory.

The neuron is the same everywhere: tau 2, threshold 1, hard reset to 0, decayed input, detached reset (norse cannot
detach it). A neuron-step is one neuron in one timestep. `train` is clone + forward + backward, as a layer in a network
has it: its input is not a leaf.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eccsnn import ops
from eccsnn.bench.peers import TITLES, Absent, in_short
from eccsnn.bench.record import Measurement, Result, Row, geometric_mean
from eccsnn.bench.timing import (
    Budget,
    Candidate,
    Observer,
    Ratio,
    Timing,
    clock_for,
    ignore,
    measure,
    quartiles,
    ratio,
    within,
)
from eccsnn.errors import BenchmarkError, ConfigError, EccsnnError
from eccsnn.nn._hints import nearest

TITLE = "Fused multi-timestep LIF, ns a neuron-step"
SIZES: dict[str, tuple[tuple[int, ...], ...]] = {
    "full": ((4, 32, 64, 32, 32), (4, 1, 64, 32, 32), (16, 32, 128, 8, 8)),
    "tiny": ((4, 2, 8, 4, 4),),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
SURROGATE_ALPHAS = {"atan": 2.0, "sigmoid": 4.0, "rect": 1.0}
LARGE_BYTES = 32 * 2**20
"""Inputs of at least this size count as large: beside their outputs they fit into no cache, as a copy's may."""

_BASE: dict[str, Any] = {"tau": 2.0, "v_threshold": 1.0, "v_reset": 0.0, "decay_input": True}
_FIRST_CALL = """
import json, time, torch
import eccsnn.ops
x = torch.randn({shape}, dtype={dtype}, device="{device}")
def call():
    begin = time.perf_counter()
    eccsnn.ops.lif(x, return_state=False)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin
if x.is_cuda:
    torch.cuda.synchronize()
print(json.dumps([call(), call()]))
"""


@dataclass(frozen=True)
class LifSettings:
    """What is measured; see `eccsnn bench lif --help`."""

    size: str = "full"
    dtype: str = "fp32"
    surrogate: str = "atan"
    device: str = "cpu"
    compiled: bool = True
    budget_s: float = 20.0

    def __post_init__(self) -> None:
        for name, known in (("size", SIZES), ("dtype", DTYPES), ("surrogate", SURROGATE_ALPHAS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"--{name}: unknown {getattr(self, name)!r}: {nearest(getattr(self, name), known)}")

    @property
    def budget(self) -> Budget:
        """Budget of a row."""
        if self.size == "tiny":
            return Budget(min(self.budget_s, 0.2), minimum_rounds=3, warmup_calls=2)
        return Budget(self.budget_s)


def run(
    settings: LifSettings, peers: Sequence[str], observer: Observer = ignore
) -> tuple[list[Row], list[Result], list[Absent]]:
    """Measures all rows.

    Raises:
        BenchmarkError: eccsnn's spikes are not those of SpikingJelly.
    """
    rows: list[Row] = []
    absent: list[Absent] = []
    for shape in SIZES[settings.size]:
        name = f"{shape[0]} x {'x'.join(map(str, shape[1:]))}"
        rows.append(_row(name, shape, settings, peers, absent, within(name, observer)))
    rows.append(_first_call_row(settings, observer))
    return rows, _results(rows, settings), list(dict.fromkeys(absent))


# ---- one row ----


def _row(
    name: str,
    shape: tuple[int, ...],
    settings: LifSettings,
    peers: Sequence[str],
    absent: list[Absent],
    observer: Observer,
) -> Row:
    generator = torch.Generator().manual_seed(0)
    x = (2 * torch.randn(shape, generator=generator)).to(DTYPES[settings.dtype]).to(settings.device)
    grad = torch.randn(shape, generator=generator).to(x)
    spikes = ops.lif(x, **_BASE, return_state=False)[0]
    entries = _own_entries(x, grad, settings)
    facts: dict[str, Any] = {"neuron_steps": x.numel(), "firing_rate": float(spikes.float().mean())}
    for peer in peers:
        try:
            found = _PEERS[peer](x, grad, settings)
        except _NotComparableError as error:
            absent.append(Absent(peer, str(error)))
            continue
        except EccsnnError:
            raise
        except Exception as error:  # whatever breaks in the other library
            absent.append(Absent(peer, f"fails: {in_short(error)}"))
            continue
        absent += found.absent
        agreement = float((found.spikes.to(spikes) == spikes).float().mean())
        facts[f"spikes_equal_to_{peer}"] = agreement
        if peer == "spikingjelly" and agreement < 1:
            message = (
                f"{TITLES[peer]}'s spikes differ from eccsnn's in {1 - agreement:.2%} of {name} ({settings.dtype})"
            )
            if x.dtype in (torch.float32, torch.float64):
                raise BenchmarkError(f"{message}; they have to be the same bit for bit, so nothing was timed.")
            absent.append(Absent(peer, f"{message}: its membranes are not float32, ours are; not timed"))
            continue
        entries += found.entries
    clock = clock_for(settings.device)
    timings = measure(
        [Candidate(entry.name, entry.call) for entry in entries], settings.budget, clock=clock, observer=observer
    )
    measurements = [_measurement(entry, timings, x) for entry in entries]
    ratios = _ratios(timings)
    return Row(
        name=name,
        measurements=measurements,
        ratios={ratio_name: found.value for ratio_name, found in ratios.items()},
        ratio_ranges={ratio_name: (found.low, found.high) for ratio_name, found in ratios.items()},
        facts=facts,
    )


@dataclass(frozen=True)
class _Entry:
    name: str
    owner: str
    call: Callable[[], object]
    bytes_per_item: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class _Peer:
    spikes: Tensor
    entries: list[_Entry]
    absent: tuple[Absent, ...] = ()


class _NotComparableError(Exception):
    pass


def _own_entries(x: Tensor, grad: Tensor, settings: LifSettings) -> list[_Entry]:
    item = x.element_size()
    kept = (x.shape[0] - 1) // 16 / x.shape[0] * max(4, item)  # membranes that long sequences keep for backward
    target = torch.empty_like(x)
    last = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    surrogate: dict[str, Any] = {
        "surrogate": settings.surrogate,
        "surrogate_alpha": SURROGATE_ALPHAS[settings.surrogate],
    }
    leaf = x.clone().requires_grad_()

    def forward(value: Tensor) -> Tensor:
        return ops.lif(value, **_BASE, **surrogate, return_state=False)[0]

    def packed_op() -> object:
        return torch.ops.eccsnn.lif_inference(
            x,
            None,
            tau_tensor=None,
            tau=_BASE["tau"],
            v_threshold=_BASE["v_threshold"],
            v_reset=_BASE["v_reset"],
            charge="decayed_input",
            need_state=False,
            packed=True,
        )

    return [
        _Entry("copy", "bound", lambda: target.copy_(x), 2 * item, "y.copy_(x): the bound of what moves memory"),
        _Entry("clone", "bound", lambda: x.clone(), 2 * item, "x.clone(): with an allocation"),
        _Entry("eccsnn inference", "eccsnn", _inference(forward, x), 2 * item),
        _Entry(
            "eccsnn inference, packed",
            "eccsnn",
            lambda: ops.lif_packed(last, **_BASE, return_state=False),
            item + 1 / 8,
            "ops.lif_packed on channels-last memory",
        ),
        _Entry("eccsnn inference, packed (raw op)", "eccsnn", packed_op, item + 1 / 8, "bits in memory order"),
        _Entry("eccsnn forward", "eccsnn", lambda: forward(leaf), 2 * item + kept, "for training"),
        _Entry("eccsnn backward", "eccsnn", _backward(forward, x, grad), 3 * item + kept, "x, grad and grad_x"),
        _Entry("eccsnn train", "eccsnn", _train(forward, x, grad), 7 * item + 2 * kept, "clone + forward + backward"),
    ]


def _inference(forward: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return forward(x)

    return call


def _backward(forward: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> Callable[[], object]:
    leaf = x.clone().requires_grad_()
    spikes = forward(leaf)
    return lambda: torch.autograd.grad(spikes, leaf, grad, retain_graph=True)


def _train(forward: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> Callable[[], object]:
    leaf = x.clone().requires_grad_()

    def call() -> None:
        leaf.grad = None
        forward(leaf.clone()).backward(grad)

    return call


def _peer_entries(
    peer: str, label: str, forward: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor, note: str
) -> list[_Entry]:
    name = f"{TITLES[peer]}{label}"
    entries = [_Entry(f"{name} inference", peer, _inference(forward, x), note=note)]
    if not label:  # of the eager one, what a training step is made of
        leaf = x.clone().requires_grad_()
        entries.append(_Entry(f"{name} forward", peer, lambda: forward(leaf), note=note))
        entries.append(_Entry(f"{name} backward", peer, _backward(forward, x, grad), note=note))
    return [*entries, _Entry(f"{name} train", peer, _train(forward, x, grad), note=note)]


def _spikingjelly(x: Tensor, grad: Tensor, settings: LifSettings) -> _Peer:
    import torch._dynamo
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based import surrogate as surrogates

    alpha = SURROGATE_ALPHAS[settings.surrogate]
    surrogate = {
        "atan": lambda: surrogates.ATan(alpha=alpha),
        "sigmoid": lambda: surrogates.Sigmoid(alpha=alpha),
        "rect": lambda: surrogates.Rect(alpha=1 / alpha),  # theirs is the height
    }[settings.surrogate]

    def node() -> Any:
        return neuron.LIFNode(**_BASE, surrogate_function=surrogate(), detach_reset=True, step_mode="m")

    def resetting(layer: Any, call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def forward(value: Tensor) -> Tensor:
            functional.reset_net(layer)
            return call(value)

        return forward

    eager = node()
    forward = resetting(eager, eager)
    spikes = _inference(forward, x)()
    assert isinstance(spikes, Tensor)
    entries = _peer_entries("spikingjelly", "", forward, x, grad, "LIFNode(step_mode='m'), eager")
    absent: tuple[Absent, ...] = ()
    if settings.compiled:
        torch._dynamo.reset()
        # Two compilations of two layers, one without and one with gradients, so that neither recompiles the other.
        for what in ("inference", "train"):
            layer = node()
            compiled = resetting(layer, torch.compile(layer, fullgraph=True))
            try:
                with torch.set_grad_enabled(what == "train"):
                    fired = compiled(x.clone().requires_grad_(what == "train"))
            except Exception as error:  # no compiler, for example
                absent += (Absent("spikingjelly compiled", f"torch.compile fails: {in_short(error)}"),)
                break
            if not torch.equal(fired.detach(), spikes):
                raise BenchmarkError(
                    "SpikingJelly fires other spikes under torch.compile than without; nothing was timed."
                )
            pair = _peer_entries("spikingjelly", " compiled", compiled, x, grad, "LIFNode under torch.compile")
            entries += [entry for entry in pair if entry.name.endswith(what)]
    return _Peer(spikes, entries, absent)


def _snntorch(x: Tensor, grad: Tensor, settings: LifSettings) -> _Peer:
    import snntorch
    from snntorch import surrogate as surrogates

    if x.dtype != torch.float32:
        raise _NotComparableError(f"fires float32 spikes whatever its input is; {settings.dtype} is not timed")
    if settings.surrogate == "rect":
        raise _NotComparableError("has no rectangular surrogate")
    alpha = SURROGATE_ALPHAS[settings.surrogate]
    surrogate = surrogates.atan(alpha) if settings.surrogate == "atan" else surrogates.sigmoid(alpha)
    layer = snntorch.Leaky(
        beta=1 - 1 / _BASE["tau"], threshold=_BASE["v_threshold"], spike_grad=surrogate, reset_mechanism="zero"
    ).to(x.device)

    def forward(value: Tensor) -> Tensor:
        membrane, spikes = torch.zeros_like(value[0]), []
        for current in value:
            fired, membrane = layer(current, membrane)
            spikes.append(fired)
        return torch.stack(spikes)

    # It has no decayed input: x / tau is made beforehand and not timed.
    scaled = x / _BASE["tau"]
    entries = _peer_entries(
        "snntorch", "", forward, scaled, grad, "Leaky(reset_mechanism='zero') in a loop, on x / tau"
    )
    return _Peer(_spikes(forward, scaled), _only(entries, "inference", "train"))


def _norse(x: Tensor, grad: Tensor, settings: LifSettings) -> _Peer:
    from norse.torch import LIFBoxCell, LIFBoxParameters

    if x.dtype not in (torch.float32, torch.float64):
        raise _NotComparableError(f"{settings.dtype} is not timed: it has no float32 membranes")
    if settings.surrogate == "rect":
        raise _NotComparableError("has no rectangular surrogate")

    def constant(value: float) -> Tensor:
        return torch.tensor(value, dtype=x.dtype, device=x.device)

    cell = LIFBoxCell(
        LIFBoxParameters(
            tau_mem_inv=constant(1 / _BASE["tau"]),
            v_leak=constant(0.0),
            v_th=constant(_BASE["v_threshold"]),
            v_reset=constant(_BASE["v_reset"]),
            alpha=constant(SURROGATE_ALPHAS[settings.surrogate]),
        ),
        dt=1.0,
    )

    def forward(value: Tensor) -> Tensor:
        state, spikes = None, []
        for current in value:
            fired, state = cell(current, state)
            spikes.append(fired)
        return torch.stack(spikes)

    entries = _peer_entries("norse", "", forward, x, grad, "LIFBoxCell in a loop; SuperSpike, reset not detached")
    return _Peer(_spikes(forward, x), _only(entries, "inference", "train"))


_PEERS: dict[str, Callable[[Tensor, Tensor, LifSettings], _Peer]] = {
    "spikingjelly": _spikingjelly,
    "snntorch": _snntorch,
    "norse": _norse,
}


def _spikes(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return forward(x)


def _only(entries: list[_Entry], *whats: str) -> list[_Entry]:
    return [entry for entry in entries if entry.name.endswith(whats)]


# ---- what follows from the timings ----


def _measurement(entry: _Entry, timings: dict[str, Timing], x: Tensor) -> Measurement:
    timing = timings[entry.name]
    fraction = None
    if entry.bytes_per_item is not None and entry.name != "copy":
        fraction = entry.bytes_per_item / (2 * x.element_size()) * timings["copy"].median_s / timing.median_s
    return Measurement(
        name=entry.name,
        owner=entry.owner,
        value=timing.median_s / x.numel() * 1e9,
        unit="ns/neuron-step",
        spread=timing.iqr_s / x.numel() * 1e9,
        rounds=timing.rounds,
        bytes_per_item=entry.bytes_per_item,
        fraction_of_bound=fraction,
        note=entry.note,
    )


# Name of the ratio -> the peer's candidates and ours, each added up.
_RATIOS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "inference: SpikingJelly eager": (("SpikingJelly inference",), ("eccsnn inference",)),
    "inference: SpikingJelly compiled": (("SpikingJelly compiled inference",), ("eccsnn inference",)),
    "packed: SpikingJelly compiled": (("SpikingJelly compiled inference",), ("eccsnn inference, packed",)),
    "inference: snnTorch": (("snnTorch inference",), ("eccsnn inference",)),
    "inference: norse": (("norse inference",), ("eccsnn inference",)),
    "train: SpikingJelly eager": (("SpikingJelly train",), ("eccsnn train",)),
    "train: SpikingJelly compiled": (("SpikingJelly compiled train",), ("eccsnn train",)),
    "train: snnTorch": (("snnTorch train",), ("eccsnn train",)),
    "train: norse": (("norse train",), ("eccsnn train",)),
    "forward + backward: SpikingJelly eager": (
        ("SpikingJelly forward", "SpikingJelly backward"),
        ("eccsnn forward", "eccsnn backward"),
    ),
}


def _ratios(timings: dict[str, Timing]) -> dict[str, Ratio]:
    return {
        name: ratio([timings[candidate] for candidate in theirs], [timings[candidate] for candidate in ours])
        for name, (theirs, ours) in _RATIOS.items()
        if all(candidate in timings for candidate in theirs)
    }


def _spread_of(rows: Sequence[Row], names: Sequence[str]) -> float:
    """The largest interquartile range over its median, among measurements of these names."""
    return max(entry.spread / entry.value for row in rows for entry in row.measurements if entry.name in names)


_CPU_BARS: dict[str, tuple[float, str]] = {
    "train: SpikingJelly eager": (8.0, "12x"),
    "train: SpikingJelly compiled": (2.0, "3x"),
    "inference: SpikingJelly compiled": (1.2, "copy bandwidth"),
    "packed: SpikingJelly compiled": (1.8, "copy bandwidth"),
}
# Against the native CUDA kernels; for dense output and a surrogate that is recomputed.
_CUDA_BARS = {"fp32": 1.15, "bf16": 1.5}
_BOUND_BARS = {"cpu": (0.70, "0.9"), "cuda": (0.85, "1")}


def _results(rows: list[Row], settings: LifSettings) -> list[Result]:
    timed = [row for row in rows if "neuron_steps" in row.facts]
    device = settings.device.partition(":")[0]
    results = []
    for name in _RATIOS:
        values = [row.ratios[name] for row in timed if name in row.ratios]
        if not values:
            continue
        bar, aim = None, None
        if settings.size != "full":
            pass  # the bars are for those sizes
        elif device == "cpu" and settings.dtype == "fp32":
            bar, aim = _CPU_BARS.get(name, (None, None))
        elif device == "cuda" and name == "forward + backward: SpikingJelly eager":
            bar, aim = _CUDA_BARS.get(settings.dtype), "the byte bound"
        spread = _spread_of([row for row in timed if name in row.ratios], [*_RATIOS[name][0], *_RATIOS[name][1]])
        title = f"{name}, geometric mean"
        results.append(Result(name=title, value=geometric_mean(values), bar=bar, aim=aim, spread=spread))
    large = [row for row in timed if row.facts["neuron_steps"] * _item_size(settings) >= LARGE_BYTES]
    bar, aim = _BOUND_BARS.get(device, (None, None))
    for name in ("inference", "inference, packed", "forward", "backward"):
        fractions = [
            entry.fraction_of_bound
            for row in large
            for entry in row.measurements
            if entry.name == f"eccsnn {name}" and entry.fraction_of_bound is not None
        ]
        if fractions:
            where = ", ".join(row.name for row in large)
            title = f"eccsnn {name}: bandwidth over that of a copy at {where}"
            spread = _spread_of(large, ["copy", f"eccsnn {name}"])
            results.append(Result(name=title, value=min(fractions), bar=bar, aim=aim, spread=spread))
    return results


def _item_size(settings: LifSettings) -> int:
    return torch.empty(0, dtype=DTYPES[settings.dtype]).element_size()


# ---- the first call of a process ----


def _first_call_row(settings: LifSettings, observer: Observer) -> Row:
    processes = 2 if settings.size == "tiny" else 7
    program = _FIRST_CALL.format(shape=(4, 2, 8, 4, 4), dtype=DTYPES[settings.dtype], device=settings.device)
    first, second = [], []
    for process in range(processes):
        observer("first call of a process", process / processes)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"a fresh process cannot call ops.lif:\n{done.stderr.strip()}")
        times = json.loads(done.stdout.splitlines()[-1])
        first.append(times[0] * 1e6)
        second.append(times[1] * 1e6)
    return Row(
        name="first call of ops.lif in a process, 4 x 2x8x4x4",
        measurements=[
            Measurement(name="eccsnn first call", owner="eccsnn", unit="us", rounds=processes, **_spread(first)),
            Measurement(name="eccsnn second call", owner="eccsnn", unit="us", rounds=processes, **_spread(second)),
        ],
        facts={"what": "fresh processes, imports not counted"},
    )


def _spread(values: list[float]) -> dict[str, float]:
    low, high = quartiles(values)
    return {"value": statistics.median(values), "spread": high - low}
