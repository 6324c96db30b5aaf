"""`eccsnn bench train-step`: forward, loss and backward of a spiking VGG-9, beside SpikingJelly's layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from eccsnn.bench.networks import (
    NetworkSettings,
    check_same,
    own_network,
    spikingjelly_network,
    training_step,
)
from eccsnn.bench.peers import Absent
from eccsnn.bench.record import Measurement, Result, Row
from eccsnn.bench.timing import Budget, Candidate, Observer, Timing, clock_for, ignore, measure, within


def budget_of(settings: NetworkSettings) -> Budget:
    """Rounds of training steps: fewer than of neurons, since each takes longer."""
    if settings.size == "tiny":
        return Budget(min(settings.budget_s, 0.2), minimum_rounds=3, warmup_calls=2)
    return Budget(settings.budget_s, minimum_rounds=7, warmup_calls=3)


def steps(settings: NetworkSettings, peers: Sequence[str]) -> list[Candidate]:
    """Training steps of both networks, eager and, if asked for, compiled."""
    candidates = []
    for name, stateful, build in (
        ("eccsnn", False, own_network),
        ("SpikingJelly", True, spikingjelly_network),
    ):
        if stateful and "spikingjelly" not in peers:
            continue
        network = build(settings)
        candidates.append(Candidate(f"{name} eager", training_step(network, network, settings, stateful=stateful)))
        if settings.compiled:
            network = build(settings)
            compiled = torch.compile(network, fullgraph=True)
            step = training_step(network, compiled, settings, stateful=stateful)
            candidates.append(Candidate(f"{name} compiled", step))
    return candidates


def speed(name: str, timing: Timing, batch: int) -> Measurement:
    """Images a second."""
    value = batch / timing.median_s
    return Measurement(
        name=name,
        owner=name.split()[0].lower(),
        value=value,
        unit="images/s",
        spread=value * timing.iqr_s / timing.median_s,
        rounds=timing.rounds,
    )


def ratios_of(timings: dict[str, Timing]) -> dict[str, float]:
    """Every pair of ours and theirs, theirs over ours."""
    return {
        f"{ours}: {theirs}": timings[theirs].median_s / timings[ours].median_s
        for ours in timings
        if ours.startswith("eccsnn")
        for theirs in timings
        if theirs.startswith("SpikingJelly")
    }


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
    facts = check_same(settings) if "spikingjelly" in peers else {}
    timings = measure(steps(settings, peers), budget_of(settings), clock=clock_for(settings.device), observer=observer)
    ratios = ratios_of(timings)
    row = Row(
        name=name,
        measurements=[speed(name, timing, settings.batch) for name, timing in timings.items()],
        ratios=ratios,
        facts=dict(facts),
    )
    return [row], [Result(name=f"step, {name}", value=value) for name, value in ratios.items()], []
