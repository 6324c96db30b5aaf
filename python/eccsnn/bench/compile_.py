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
from torch import Tensor, nn

from eccsnn.bench.networks import (
    NetworkSettings,
    compare,
    gradients,
    images_and_labels,
    loss_of,
    own_network,
    reset,
    spikingjelly_network,
    training_step,
)
from eccsnn.bench.peers import TITLES, Absent, in_short
from eccsnn.bench.record import Measurement, Result, Row
from eccsnn.bench.timing import Observer, ignore, within
from eccsnn.bench.train_step import Step, first_call, ratios_of, steps, timed, timed_row
from eccsnn.errors import BenchmarkError, EccsnnError

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
    compared, peers, absent = compare(settings, peers)
    libraries = [_LIBRARIES[name] for name in ("eccsnn", *(peer for peer in peers if peer in _LIBRARIES))]
    looks = within("what is captured", observer)
    small = replace(settings, batch=min(settings.batch, 4))
    looked: list[Measurement] = []
    results: list[Result] = []
    for library in libraries:
        try:
            found, extra = _look(library, small, looks)
        except EccsnnError:
            raise
        except Exception as error:  # whatever breaks in the other library
            if library.name == "eccsnn":
                raise BenchmarkError(f"torch.compile does not take eccsnn's network: {in_short(error)}") from error
            absent.append(Absent(library.name, f"torch.compile fails: {in_short(error)}"))
            peers = [peer for peer in peers if peer != library.name]
            continue
        looked += found
        if library.name == "eccsnn":
            results += [
                Result(name="graph breaks", value=found[0].value, unit="", bar=0.0, better="lower"),
                Result(name="layout copies besides that of the images", value=extra, unit="", bar=0.0, better="lower"),
            ]
    torch._dynamo.reset()
    measured = _timed(settings, peers, compared, within(settings.row_name(), observer))
    for name, sizes in measured.copied.items():
        note = ", ".join("x".join(map(str, size)) for size in sizes) or None
        looked.append(
            _count(f"{name}: inputs that Inductor copies for an op", name.split()[0].lower(), len(sizes), note)
        )
    results.append(
        Result(
            name="inputs that Inductor copies for an op",
            value=len(measured.copied["eccsnn compiled"]),
            unit="",
            bar=0.0,
            better="lower",
        )
    )
    results += measured.results
    captured = Row(name=f"what is captured, at batch {small.batch}", measurements=looked)
    return [captured, measured.row], results, [*absent, *measured.absent]


def _look(library: _Library, settings: NetworkSettings, looks: Observer) -> tuple[list[Measurement], int]:
    """What is counted of a library, graph breaks first, and its layout copies besides that of the images."""
    title = TITLES[library.name]
    looks(f"graphs of {title}", 0.0)
    breaks, reasons = graph_breaks(library, settings)
    copies = layout_copies(captured_graphs(library, settings))
    extra = [copy for copy in copies if not copy.of_images]
    counts = [
        ("graph breaks", breaks, "; ".join(reasons) or None),
        ("layout copies of the images", len(copies) - len(extra), None),
        ("other layout copies", len(extra), ", ".join(map(str, extra)) or None),
    ]
    for what in ("batch", "T"):
        looks(f"{title}: another {what}", 0.5)
        counts.append((f"compilations for three values of {what}", compilations(library, settings, what), None))
    return [_count(f"{title}: {name}", library.name, count, note) for name, count, note in counts], len(extra)


@dataclass(frozen=True)
class _Timed:
    row: Row
    results: list[Result]
    copied: dict[str, list[tuple[int, ...]]]
    absent: list[Absent]


def _timed(settings: NetworkSettings, peers: Sequence[str], facts: dict[str, float], observer: Observer) -> _Timed:
    copied: dict[str, list[tuple[int, ...]]] = {}
    absent: list[Absent] = []
    ready: list[Step] = []
    losses: dict[str, float] = {}
    eager: dict[str, Tensor] = {}
    facts = dict(facts)
    for step in steps(settings, peers):
        observer(f"compiling: {step.name}", 0.0)
        library, how = step.name.split()
        with inductor_copies() as sizes:
            loss = first_call(step)
        if isinstance(loss, Absent):
            if library == "eccsnn":
                raise BenchmarkError(
                    f"{step.name}: torch.compile {loss.reason}; there is nothing to time. Does it find a C++ compiler?"
                )
            absent.append(loss)
            continue
        ready.append(step)
        losses[step.name] = facts[f"loss, {step.name}"] = float(loss)
        if how == "eager":
            eager[library] = gradients(step.network)
            continue
        copied[step.name] = list(sizes)
        cosine = float(nn.functional.cosine_similarity(gradients(step.network), eager[library], dim=0))
        facts[f"gradient cosine, {step.name} and eager"] = cosine
        before, after = losses[f"{library} eager"], losses[step.name]
        if not math.isfinite(after) or abs(after - before) > 0.05 * abs(before) or not cosine > 0:
            raise BenchmarkError(
                f"{step.name}: the loss is {after:.6g}, eager {before:.6g}, and the cosine of the gradients "
                f"{cosine:.4f}; expected the same within 5 % and a cosine above 0; nothing was timed."
            )
    timings = timed(ready, settings, observer)
    ratios = ratios_of(timings)
    results = [
        Result(name=f"step, {name}", value=found.value, aim="1.3x", spread=found.spread)
        for name, found in ratios.items()
        if name.startswith("eccsnn compiled")
    ]
    return _Timed(timed_row(settings, timings, ratios, facts), results, copied, absent)


def _count(name: str, owner: str, count: int, note: str | None) -> Measurement:
    return Measurement(name=name, owner=owner, value=count, unit="", note=note)
