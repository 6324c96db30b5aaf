"""`eccsnn bench train-step`: forward, loss and backward of a spiking VGG-9, beside SpikingJelly's layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eccsnn.bench.networks import (
    NetworkSettings,
    compare,
    own_network,
    spikingjelly_network,
    training_step,
)
from eccsnn.bench.peers import Absent, in_short
from eccsnn.bench.record import Measurement, Result, Row
from eccsnn.bench.timing import (
    Budget,
    Candidate,
    Observer,
    Ratio,
    Timing,
    clock_for,
    ignore,
    measure,
    ratio,
    within,
)
from eccsnn.errors import BenchmarkError, EccsnnError


def budget_of(settings: NetworkSettings) -> Budget:
    """Rounds of training steps: fewer than of neurons, since each takes longer."""
    if settings.size == "tiny":
        return Budget(min(settings.budget_s, 0.2), minimum_rounds=3, warmup_calls=2)
    return Budget(settings.budget_s, minimum_rounds=7, warmup_calls=3)


@dataclass(frozen=True)
class Step:
    """A training step: its name, the network that gets the gradients, and the call, which returns the loss."""

    name: str
    network: nn.Module
    call: Callable[[], Tensor]


def steps(settings: NetworkSettings, peers: Sequence[str]) -> list[Step]:
    """Training steps of both networks, eager and, if asked for, compiled."""
    found = []
    for name, stateful, build in (
        ("eccsnn", False, own_network),
        ("SpikingJelly", True, spikingjelly_network),
    ):
        if stateful and "spikingjelly" not in peers:
            continue
        network = build(settings)
        found.append(Step(f"{name} eager", network, training_step(network, network, settings, stateful=stateful)))
        if settings.compiled:
            network = build(settings)
            compiled = torch.compile(network, fullgraph=True)
            step = training_step(network, compiled, settings, stateful=stateful)
            found.append(Step(f"{name} compiled", network, step))
    return found


def first_call(step: Step) -> Tensor | Absent:
    """Runs a step once, which compiles it.

    Returns:
        The loss; or why the step cannot be measured, so that the others still are.

    Raises:
        BenchmarkError: It is eccsnn's eager step, without which there is nothing to measure.
    """
    try:
        return step.call()
    except EccsnnError:
        raise
    except Exception as error:  # whatever breaks in a compiler or in the other library
        if step.name == "eccsnn eager":
            raise BenchmarkError(f"eccsnn's training step fails: {in_short(error)}") from error
        return Absent(step.name, f"fails: {in_short(error)}")


def timed(named: Sequence[Step], settings: NetworkSettings, observer: Observer) -> dict[str, Timing]:
    """Times steps in turns."""
    candidates = [Candidate(step.name, step.call) for step in named]
    return measure(candidates, budget_of(settings), clock=clock_for(settings.device), observer=observer)


def speed(name: str, timing: Timing, batch: int) -> Measurement:
    """Images a second."""
    value = batch / timing.median_s
    return Measurement(
        name=name,
        owner=name.split()[0].lower(),
        value=value,
        unit="images/s",
        spread=value * timing.spread,
        rounds=timing.rounds,
    )


def ratios_of(timings: dict[str, Timing]) -> dict[str, Ratio]:
    """Every pair of ours and theirs, theirs over ours."""
    return {
        f"{ours}: {theirs}": ratio([timings[theirs]], [timings[ours]])
        for ours in timings
        if ours.startswith("eccsnn")
        for theirs in timings
        if theirs.startswith("SpikingJelly")
    }


def timed_row(
    settings: NetworkSettings, timings: dict[str, Timing], ratios: dict[str, Ratio], facts: dict[str, float]
) -> Row:
    """The row of what `timed` measured."""
    return Row(
        name=settings.row_name(),
        measurements=[speed(name, timing, settings.batch) for name, timing in timings.items()],
        ratios={name: found.value for name, found in ratios.items()},
        ratio_ranges={name: (found.low, found.high) for name, found in ratios.items()},
        facts=dict(facts),
    )


def run(
    settings: NetworkSettings, peers: Sequence[str], observer: Observer = ignore
) -> tuple[list[Row], list[Result], list[Absent]]:
    """Measures the row.

    Raises:
        BenchmarkError: The networks do not do the same.
    """
    name = settings.row_name()
    observer = within(name, observer)
    observer("comparing the networks", 0.0)
    torch._dynamo.reset()
    facts, peers, absent = compare(settings, peers)
    ready = []
    for step in steps(settings, peers):
        observer(f"first call: {step.name}", 0.0)
        outcome = first_call(step)
        if isinstance(outcome, Absent):
            absent.append(outcome)
        else:
            ready.append(step)
    timings = timed(ready, settings, observer)
    ratios = ratios_of(timings)
    results = [Result(name=f"step, {name}", value=found.value, spread=found.spread) for name, found in ratios.items()]
    return [timed_row(settings, timings, ratios, facts)], results, absent
