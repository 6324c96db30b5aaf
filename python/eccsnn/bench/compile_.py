"""`eccsnn bench compile`: what torch.compile makes of a whole spiking network, and how fast that is.

Looked at are graph breaks, compilations when the batch and T change, and copies that only change the layout of a
tensor: in the graphs of forward and backward (a recording backend), and those that Inductor adds where an op wants its
inputs otherwise than they are. Then the compiled training step is timed beside SpikingJelly's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch._dynamo
from torch import Tensor

from eccsnn.bench.networks import (
    NetworkSettings,
    check_same,
    images_and_labels,
    loss_of,
    own_network,
    reset,
    spikingjelly_network,
    training_step,
)
from eccsnn.bench.peers import TITLES, Absent
from eccsnn.bench.record import Measurement, Result, Row
from eccsnn.bench.timing import Observer, clock_for, ignore, measure, within
from eccsnn.bench.train_step import budget_of, ratios_of, speed, steps
from eccsnn.errors import BenchmarkError

_COPIES = ("aten.clone.default", "aten.copy.default", "aten._to_copy.default")


@dataclass(frozen=True)
class LayoutCopy:
    """A copy that changes strides and nothing else.

    Attributes:
        graph: "forward" or "backward".
        of_images: Whether it is the network's input that is brought into channels-last memory.
    """

    graph: str
    shape: tuple[int, ...]
    of_images: bool

    def __str__(self) -> str:
        return f"{self.graph} {'x'.join(map(str, self.shape))}"


@dataclass
class _Recorder:
    """A backend for torch.compile that keeps the graphs and runs them as they are."""

    graphs: list[tuple[str, Any]] = field(default_factory=list)
    compilations: int = 0

    def __call__(self, module: Any, inputs: Any) -> Callable[..., Any]:
        from functorch.compile import make_boxed_func
        from torch._dynamo.backends.common import aot_autograd

        self.compilations += 1

        def keep(name: str) -> Callable[..., Any]:
            def compiler(graph: Any, _: Any) -> Any:
                self.graphs.append((name, graph))
                return make_boxed_func(graph.forward)

            return compiler

        return aot_autograd(fw_compiler=keep("forward"), bw_compiler=keep("backward"))(module, inputs)


def layout_copies(graphs: Sequence[tuple[str, Any]]) -> list[LayoutCopy]:
    """Copies in captured graphs that change strides and neither shape nor dtype."""
    found = []
    for name, graph in graphs:
        for node in graph.graph.nodes:
            if node.op != "call_function" or str(node.target) not in _COPIES:
                continue
            source = node.args[1] if str(node.target) == "aten.copy.default" else node.args[0]
            before, after = source.meta.get("val"), node.meta.get("val")
            if not isinstance(before, Tensor) or not isinstance(after, Tensor):
                raise BenchmarkError(
                    f"{node} in the {name} graph has no shapes; this torch ({torch.__version__}) is not known."
                )
            if before.dtype == after.dtype and before.stride() != after.stride():
                of_images = source.op == "placeholder" and tuple(after.shape[1:2]) == (3,)
                found.append(LayoutCopy(name, tuple(int(size) for size in after.shape), of_images))
    return found


@contextmanager
def inductor_copies() -> Iterator[list[tuple[int, ...]]]:
    """Collects the sizes of inputs that Inductor copies for an op, while it compiles."""
    from torch._inductor import ir

    kernels: Any = ir.ExternKernel
    original = getattr(kernels, "copy_input", None)
    if original is None:
        raise BenchmarkError(
            f"Inductor of torch {torch.__version__} has no ExternKernel.copy_input; cannot count copies."
        )
    sizes: list[tuple[int, ...]] = []

    def copy_input(x: Any) -> Any:
        sizes.append(tuple(int(size) for size in x.get_size()))
        return original(x)

    kernels.copy_input = staticmethod(copy_input)
    try:
        yield sizes
    finally:
        kernels.copy_input = staticmethod(original)


@dataclass(frozen=True)
class _Library:
    name: str
    build: Callable[[NetworkSettings], Any]
    stateful: bool

    def fresh(self, settings: NetworkSettings) -> Any:
        torch._dynamo.reset()
        return self.build(settings)


_LIBRARIES = {
    "eccsnn": _Library("eccsnn", own_network, False),
    "spikingjelly": _Library("spikingjelly", spikingjelly_network, True),
}


def graph_breaks(library: _Library, settings: NetworkSettings) -> tuple[int, list[str]]:
    """Graph breaks of the forward pass, and their reasons."""
    network = library.fresh(settings)
    explained = torch._dynamo.explain(network)(images_and_labels(settings)[0])
    if explained.graph_count < 1:
        raise BenchmarkError(f"torch.compile captured no graph of {TITLES[library.name]}; there is nothing to look at.")
    return explained.graph_break_count, [str(reason.reason) for reason in explained.break_reasons]


def captured_graphs(library: _Library, settings: NetworkSettings) -> list[tuple[str, Any]]:
    """The graphs of forward and backward of one training step."""
    network, recorder = library.fresh(settings), _Recorder()
    training_step(network, torch.compile(network, backend=recorder), settings, stateful=library.stateful)()
    if {name for name, _ in recorder.graphs} != {"forward", "backward"}:
        raise BenchmarkError(
            f"captured graphs {[name for name, _ in recorder.graphs]} of {TITLES[library.name]}; expected forward and "
            "backward."
        )
    return recorder.graphs


def compilations(library: _Library, settings: NetworkSettings, what: str) -> int:
    """Compilations of training steps while the batch or T takes three values."""
    network, recorder = library.fresh(settings), _Recorder()
    compiled = torch.compile(network, backend=recorder)
    for factor in (1, 2, 3):
        batch = settings.batch * factor if what == "batch" else settings.batch
        timesteps = settings.timesteps + (factor - 1 if what == "T" else 0)
        call: Callable[[Tensor], Tensor] = compiled
        if what == "T" and library.stateful:
            network.timesteps = timesteps
        elif what == "T":
            call = partial(compiled, timesteps=timesteps)
        if library.stateful:
            reset(network)
        images, labels = images_and_labels(settings, batch)
        loss_of(call, images, labels, settings).backward()
    if recorder.compilations < 1:
        raise BenchmarkError(f"torch.compile compiled nothing of {TITLES[library.name]}; there is nothing to count.")
    return recorder.compilations


def run(
    settings: NetworkSettings, peers: Sequence[str], observer: Observer = ignore
) -> tuple[list[Row], list[Result], list[Absent]]:
    """Looks and measures.

    Raises:
        BenchmarkError: eccsnn's network does not compile as one graph, a compiled step computes something else, or this
            torch does not show what is looked for.
    """
    settings = replace(settings, compiled=True)
    libraries = [_LIBRARIES[name] for name in ("eccsnn", *(peer for peer in peers if peer in _LIBRARIES))]
    looks = within("what is captured", observer)
    small = replace(settings, batch=min(settings.batch, 4))
    looked: list[Measurement] = []
    facts: dict[str, Any] = dict(check_same(settings)) if len(libraries) > 1 else {}
    results: list[Result] = []
    for library in libraries:
        title = TITLES[library.name]
        looks(f"graphs of {title}", 0.0)
        breaks, reasons = graph_breaks(library, small)
        copies = layout_copies(captured_graphs(library, small))
        extra = [copy for copy in copies if not copy.of_images]
        counts = [
            ("graph breaks", breaks, "; ".join(reasons) or None),
            ("layout copies of the images", len(copies) - len(extra), None),
            ("other layout copies", len(extra), ", ".join(map(str, extra)) or None),
        ]
        for what in ("batch", "T"):
            looks(f"{title}: another {what}", 0.5)
            counts.append((f"compilations for three values of {what}", compilations(library, small, what), None))
        looked += [_count(f"{title}: {name}", library.name, count, note) for name, count, note in counts]
        if library.name == "eccsnn":
            results += [
                Result(name="graph breaks", value=breaks, unit="", bar=0.0, better="lower"),
                Result(
                    name="layout copies besides that of the images", value=len(extra), unit="", bar=0.0, better="lower"
                ),
            ]
    torch._dynamo.reset()
    row, copied = _timed(settings, peers, within(settings.row_name(), observer))
    for name, sizes in copied.items():
        note = ", ".join("x".join(map(str, size)) for size in sizes) or None
        looked.append(
            _count(f"{name}: inputs that Inductor copies for an op", name.split()[0].lower(), len(sizes), note)
        )
    results.append(
        Result(
            name="inputs that Inductor copies for an op",
            value=len(copied["eccsnn compiled"]),
            unit="",
            bar=0.0,
            better="lower",
        )
    )
    for name, value in row.ratios.items():
        if name.startswith("eccsnn compiled"):
            results.append(Result(name=f"step, {name}", value=value, aim="1.3x"))
    captured = Row(name=f"what is captured, at batch {small.batch}", measurements=looked, facts=facts)
    return [captured, row], results, []


def _timed(
    settings: NetworkSettings, peers: Sequence[str], observer: Observer
) -> tuple[Row, dict[str, list[tuple[int, ...]]]]:
    candidates = steps(settings, peers)
    copied: dict[str, list[tuple[int, ...]]] = {}
    losses: dict[str, float] = {}
    for candidate in candidates:
        observer(f"compiling: {candidate.name}", 0.0)
        try:
            with inductor_copies() as sizes:
                loss = candidate.call()
        except torch._dynamo.exc.Unsupported as error:
            raise BenchmarkError(
                f"{candidate.name}: torch.compile does not take the network as one graph: {error}"
            ) from error
        assert isinstance(loss, Tensor)
        losses[candidate.name] = float(loss)
        if candidate.name.endswith("compiled"):
            copied[candidate.name] = list(sizes)
    for name, loss in losses.items():
        eager = losses[f"{name.split()[0]} eager"]
        if not math.isfinite(loss) or abs(loss - eager) > 0.05 * abs(eager):
            raise BenchmarkError(f"{name}: the loss is {loss:.6g}, eager {eager:.6g}; nothing was timed.")
    timings = measure(candidates, budget_of(settings), clock=clock_for(settings.device), observer=observer)
    measurements = [speed(name, timing, settings.batch) for name, timing in timings.items()]
    facts = {f"loss, {name}": loss for name, loss in losses.items()}
    return Row(name=settings.row_name(), measurements=measurements, ratios=ratios_of(timings), facts=facts), copied


def _count(name: str, owner: str, count: int, note: str | None) -> Measurement:
    return Measurement(name=name, owner=owner, value=count, unit="", note=note)
