"""`eccsnn bench memory`: what a training step keeps for its backward pass, counted, and its peak, measured.

Counted are the bytes of all storages that autograd holds between forward and backward, each once, without parameters
and buffers. They are found twice: by hooks while they are saved, and by walking the graph of the loss, which also tells
what saved them and must not find anything else. What only the hooks see belongs to states that outlive the step
("state"): SpikingJelly's neurons hold their last membranes with their graph until they are reset. The peak is that of
one step in a process of its own, with the allocator left as it is: the median over several such processes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eccsnn.bench.networks import (
    NetworkSettings,
    compare,
    images_and_labels,
    loss_of,
    own_network,
    reset,
    spikingjelly_network,
)
from eccsnn.bench.peers import TITLES, Absent
from eccsnn.bench.record import Measurement, Result, Row
from eccsnn.bench.timing import Observer, ignore, quartiles, within
from eccsnn.errors import BenchmarkError

KINDS = ("conv", "bn", "neuron", "pool", "linear", "loss", "state")
_MEASURED_TOGETHER = ("conv", "bn", "neuron")
# Parts of the names of autograd's nodes; every other node in these networks belongs to the neurons, which in eager
# SpikingJelly are a hundred small operations.
_NAMES = (
    ("conv", ("convolution", "conv2d")),
    ("bn", ("batchnorm", "batch_norm")),
    ("pool", ("pool",)),
    ("linear", ("addmm", "mmbackward", "linear", "view", "tbackward")),
    ("loss", ("nllloss", "logsoftmax", "crossentropy")),
)
_BUILDERS: dict[str, Callable[[NetworkSettings], nn.Module]] = {
    "eccsnn": own_network,
    "spikingjelly": spikingjelly_network,
}


@dataclass(frozen=True)
class Saved:
    """Bytes that autograd keeps: by kind, and weights.

    A storage that several keep counts once, for the first of `KINDS`.
    """

    by_kind: dict[str, int]
    weights: int

    @property
    def total(self) -> int:
        """Without weights."""
        return sum(self.by_kind.values())


def kind_of(node: str) -> str:
    """The kind of an autograd node, by its name.

    Example:
        >>> kind_of("NativeBatchNormBackward0"), kind_of("MaxPool2DWithIndicesBackward0"), kind_of("SomethingBackward")
        ('bn', 'pool', 'neuron')
    """
    for kind, parts in _NAMES:
        if any(part in node.lower() for part in parts):
            return kind
    return "neuron"


def count_saved(network: nn.Module, forward: Callable[[], Tensor]) -> Saved:
    """Counts what `forward`, which returns the loss, keeps for the backward pass.

    Raises:
        BenchmarkError: The two ways to count do not agree, or there is nothing to count.
    """
    own = {_address(tensor) for tensor in (*network.parameters(), *network.buffers())}
    hooked: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.dim():  # numbers come wrapped, anew each time they are looked at
            hooked[_address(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()
    walked: dict[int, Tensor] = {}
    kinds: dict[int, str] = {}
    for node in _nodes(loss.grad_fn):
        kind = kind_of(node.name())
        for tensor in filter(Tensor.dim, _saved_by(node)):
            address = _address(tensor)
            walked[address] = tensor
            if address not in kinds or KINDS.index(kind) < KINDS.index(kinds[address]):
                kinds[address] = kind
    if not walked.keys() <= hooked.keys():
        extra = sum(_bytes(walked[address]) for address in walked.keys() - hooked.keys())
        raise BenchmarkError(
            f"two ways to count what autograd keeps do not agree: {extra} bytes of the graph were not seen by hooks; "
            "nothing is reported."
        )
    by_kind = dict.fromkeys(KINDS, 0)
    for address in hooked.keys() - own:
        by_kind[kinds.get(address, "state")] += _bytes(hooked[address])
    if not by_kind["conv"] or not by_kind["neuron"]:
        raise BenchmarkError(
            f"found {by_kind} bytes; expected some in convolutions and neurons: is it a training step?"
        )
    return Saved(by_kind, sum(_bytes(hooked[address]) for address in hooked.keys() & own))


def _nodes(root: Any) -> Iterator[Any]:
    seen, todo = {root}, [root]
    while todo:
        node = todo.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                todo.append(following)


def _saved_by(node: Any) -> Iterator[Tensor]:
    if hasattr(node, "saved_tensors"):  # a Python function's
        yield from (tensor for tensor in node.saved_tensors if tensor is not None)
        return
    for name in dir(node):
        if name.startswith("_saved_"):
            value = getattr(node, name)
            values = value if isinstance(value, list | tuple) else (value,)
            yield from (tensor for tensor in values if isinstance(tensor, Tensor))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


# ---- the peak, in a process of its own ----


def measure_peak(settings: NetworkSettings, library: str) -> dict[str, int]:
    """Bytes before a training step and at its peak, from a fresh process.

    Raises:
        BenchmarkError: The process fails.
    """
    arguments = [sys.executable, "-m", "eccsnn.bench.memory", library, json.dumps(asdict(settings))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"a training step of {TITLES[library]} failed in its process:\n{done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def _peak_of_this_process(settings: NetworkSettings, library: str) -> dict[str, int]:
    network = _BUILDERS[library](settings)
    images, labels = images_and_labels(settings)

    def step(count: int) -> None:
        if library == "spikingjelly":
            reset(network)
        loss_of(network, images[:count], labels[:count], settings).backward()
        if library == "spikingjelly":
            reset(network)

    step(1)  # loads code, and makes the gradients, which stay
    gc.collect()
    if settings.device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(settings.device)
        before = torch.cuda.memory_allocated(settings.device)
        step(settings.batch)
        torch.cuda.synchronize()
        return {"before": before, "peak": torch.cuda.max_memory_allocated(settings.device)}
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status_bytes("VmRSS")
    step(settings.batch)
    return {"before": before, "peak": _status_bytes("VmHWM")}


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError(f"/proc/self/status has no {key}; the peak cannot be measured on this system.")


def can_measure_peak(device: str) -> str | None:
    """Why the peak of a process cannot be measured here, or None."""
    if device.startswith("cuda"):
        return None
    try:
        Path("/proc/self/clear_refs").write_text("5")
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError) as error:
        return f"the peak of a process cannot be measured on this system: {error}"
    return None


# ---- the benchmark ----


def run(
    settings: NetworkSettings, peers: Sequence[str], observer: Observer = ignore
) -> tuple[list[Row], list[Result], list[Absent]]:
    """Counts and measures.

    Raises:
        BenchmarkError: The networks do not do the same, or counting fails.
    """
    name = settings.row_name()
    observer = within(name, observer)
    facts, peers, absent = compare(settings, peers)
    libraries = ["eccsnn", *(peer for peer in peers if peer in _BUILDERS)]
    images, labels = images_and_labels(settings)
    saved: dict[str, Saved] = {}
    peaks: dict[str, list[int]] = {}
    measurements: list[Measurement] = []
    for index, library in enumerate(libraries):
        observer(f"counting what {TITLES[library]} keeps", index / len(libraries))
        network = _BUILDERS[library](settings)
        counted = saved[library] = count_saved(network, lambda: loss_of(network, images, labels, settings))  # noqa: B023
        parts = {**counted.by_kind, "in all": counted.total}
        measurements += [_mib(f"{TITLES[library]} keeps: {part}", library, size) for part, size in parts.items()]
        measurements.append(_mib(f"{TITLES[library]} keeps: weights, not counted above", library, counted.weights))
    reason = can_measure_peak(settings.device)
    if reason is not None:
        absent.append(Absent("peak memory", reason))
    else:
        peaks = _peaks(settings, libraries, observer)
        for library, sizes in peaks.items():
            low, high = quartiles(sizes)
            measurements.append(
                Measurement(
                    name=f"{TITLES[library]} peak of a step",
                    owner=library,
                    value=statistics.median(sizes) / 2**20,
                    unit="MiB",
                    spread=(high - low) / 2**20,
                    rounds=len(sizes),
                    note="over what the process held before it; one process a round",
                )
            )
    ratios: dict[str, float] = {}
    results: list[Result] = []
    if "spikingjelly" in saved:
        ours, theirs = saved["eccsnn"], saved["spikingjelly"]
        together = [sum(counted.by_kind[kind] for kind in _MEASURED_TOGETHER) for counted in (ours, theirs)]
        ratios["kept by conv + bn + neuron: SpikingJelly"] = together[1] / together[0]
        ratios["kept in all: SpikingJelly"] = theirs.total / ours.total
        results.append(
            Result(
                name="kept by conv + bn + neuron, of SpikingJelly's",
                value=together[0] / together[1],
                bar=0.45 if settings.size == "full" and settings.dtype == "fp32" else None,
                aim="0.34x",
                better="lower",
            )
        )
        results.append(Result(name="kept in all, of SpikingJelly's", value=ours.total / theirs.total, better="lower"))
        medians = {library: statistics.median(sizes) for library, sizes in peaks.items()}
        if min(medians.values(), default=0) > 0:
            ratios["peak of a step: SpikingJelly"] = medians["spikingjelly"] / medians["eccsnn"]
            value = medians["eccsnn"] / medians["spikingjelly"]
            results.append(Result(name="peak of a step, of SpikingJelly's", value=value, better="lower"))
    return [Row(name=name, measurements=measurements, ratios=ratios, facts=dict(facts))], results, absent


def _peaks(settings: NetworkSettings, libraries: Sequence[str], observer: Observer) -> dict[str, list[int]]:
    """Bytes of a step's peak, over what was held before, in processes by turns."""
    processes = 1 if settings.size == "tiny" else 5
    peaks: dict[str, list[int]] = {library: [] for library in libraries}
    for process in range(processes):
        for library in libraries:
            observer(f"a step of {TITLES[library]} in process {process + 1} of {processes}", process / processes)
            taken = measure_peak(settings, library)
            peaks[library].append(taken["peak"] - taken["before"])
    return peaks


def _mib(name: str, owner: str, size: int, note: str | None = None) -> Measurement:
    return Measurement(name=name, owner=owner, value=size / 2**20, unit="MiB", note=note)


if __name__ == "__main__":
    print(json.dumps(_peak_of_this_process(NetworkSettings(**json.loads(sys.argv[2])), sys.argv[1])))
