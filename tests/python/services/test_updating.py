"""Edges that learn while they answer, over real gRPC on this machine."""

import contextlib
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learning import CLASSES, FEATURES, MAX_COUNT, SHAPE, SOURCE, counts_of, images_of, statistics_of

from eccsnn.incremental.exact import ExactLearner
from eccsnn.incremental.memory import DeviceMemory
from eccsnn.incremental.statistics import CountStatistics
from eccsnn.services.client import CloudClient
from eccsnn.services.cloud import background_cloud
from eccsnn.services.edge import EdgeAgent, Source
from eccsnn.services.merging import MergedStatistics
from eccsnn.services.updating import HeldOut, UpdatingAgent

BASE = statistics_of((images_of(10, 20), 10), (images_of(11, 20), 11))
WAIT_S = 30.0


def held_out() -> HeldOut:
    images = np.concatenate([images_of(label, 10, seed=9) for label in CLASSES])
    return HeldOut(counts_of(images), np.repeat(CLASSES, 10))


class World:
    """A cloud that merges, and edges."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, predict, *, merge: bool = True) -> None:
        self.stack, self.folder = stack, folder
        self.merged = None
        if merge:
            self.merged = MergedStatistics(folder / "merged.db", FEATURES, MAX_COUNT, SOURCE, class_ids=CLASSES)
            stack.callback(self.merged.close)
        self.bound = stack.enter_context(background_cloud(predict, CLASSES, "m", image_shape=SHAPE, merged=self.merged))
        self.memories: dict[str, DeviceMemory] = {}

    def edge(
        self, name: str, *, exchange: bool = True, made: threading.Event | None = None, kind=UpdatingAgent, **options
    ):
        client = self.stack.enter_context(CloudClient(self.bound.host, self.bound.port))
        if name not in self.memories:
            memory = DeviceMemory(self.folder / f"{name}.db", FEATURES, MAX_COUNT, SOURCE)
            self.memories[name] = self.stack.enter_context(memory)
        agents: list[EdgeAgent] = []

        def make_agent(predict, class_ids):
            agents.append(
                EdgeAgent(predict, lambda logits: np.zeros(1), 0.5, client, class_ids=class_ids, timeout_s=WAIT_S)
            )
            if made is not None and len(agents) > 1:
                made.set()
            return agents[-1]

        settings = {"base": BASE, "client": client if exchange else None, "edge_id": name, "timeout_s": WAIT_S}
        return kind(counts_of, self.memories[name], make_agent, **(settings | options))


@pytest.fixture
def world(tmp_path: Path, predict):
    with contextlib.ExitStack() as stack:
        yield World(stack, tmp_path, predict)


def upload(agent: UpdatingAgent, images: np.ndarray) -> list[int]:
    results = [agent.process(image, force_upload=True) for image in images]
    assert {result.source for result in results} == {Source.CLOUD}
    return [result.label for result in results]


def test_two_edges_learn_together_what_one_learner_of_all_samples_learns(world: World) -> None:
    first, second = images_of(12, 15), np.concatenate([images_of(13, 12), images_of(10, 3, seed=5)])
    a, b = world.edge("a"), world.edge("b")
    new = images_of(12, 1, seed=7)[0]
    assert a.process(new).label in (10, 11)  # it knows no others yet
    assert upload(a, first) == [12] * 15
    assert upload(b, second) == [13] * 12 + [10] * 3
    for agent in (a, b, a):
        agent.update()
    union = statistics_of(
        (images_of(10, 20), 10), (images_of(11, 20), 11), (first, 12), (second[:12], 13), (second[12:], 10)
    )
    assert a.live.statistics.to_bytes() == b.live.statistics.to_bytes() == union.to_bytes()
    alone = ExactLearner(FEATURES, MAX_COUNT, source=SOURCE)
    alone.merge(union)
    probe = np.concatenate([images_of(label, 5, seed=3) for label in CLASSES])
    for agent in (a, b):
        answers = [agent.process(image) for image in probe]
        assert {result.source for result in answers} == {Source.EDGE}
        assert np.array_equal([r.logits for r in answers], alone.scores(counts_of(probe)).astype(np.float32))
    assert (a.counts.learnt, a.counts.pushed, a.counts.fetched, a.counts.failures) == (15, 1, 2, 0)
    # Nothing new: nothing is pushed, sent or merged again.
    before = a.counts, world.merged.version
    assert (a.update(), world.merged.version) == before
    # More samples replace what was pushed before, also after a restart of the edge.
    upload(a, images_of(11, 2, seed=8))
    restarted = world.edge("a")
    restarted.update()
    assert world.merged.edges == {"a": 2, "b": 1}
    union.add(counts_of(images_of(11, 2, seed=8)), [11, 11])
    assert restarted.live.statistics.to_bytes() == union.to_bytes()


def test_a_classifier_that_falls_does_not_go_live(world: World) -> None:
    agent = world.edge("a", exchange=False, held_out=held_out())
    assert agent.live.accuracy == 0.5
    upload(agent, images_of(12, 20))
    agent.update()
    live = agent.live
    assert live.accuracy == 0.75
    # Somebody has labelled many images of class 10 as class 11.
    wrong = counts_of(images_of(10, 400, seed=4))
    world.memories["a"].add(wrong, [11] * len(wrong))
    counts = agent.update()
    assert agent.live is live
    assert (counts.rolled_back, counts.updates, counts.learnt) == (1, 1, 20)
    memory = world.memories["a"]
    assert (memory.pending, memory.aside, memory.version) == (0, 400, 1)
    upload(agent, images_of(13, 20))  # and it goes on learning
    agent.update()
    assert agent.live.accuracy == 1.0


def test_other_edges_cannot_make_it_worse(world: World) -> None:
    bad, good = world.edge("bad"), world.edge("good", held_out=held_out())
    world.memories["bad"].add(counts_of(images_of(10, 400, seed=4)), [11] * 400)
    bad.update()
    live = good.live
    counts = good.update()
    assert good.live is live
    assert (counts.fetched, counts.rolled_back) == (1, 1)
    assert good.update() == counts  # the same statistics are not tried again
    assert world.memories["good"].aside == 0


def test_it_answers_while_it_learns(world: World) -> None:
    made = threading.Event()
    agent = world.edge("a", exchange=False, made=made, update_after=4)
    with agent:
        upload(agent, images_of(12, 4))
        assert made.wait(WAIT_S)
    # Learnt in the background; an answer needs neither the memory nor a lock of learning.
    assert agent.counts.learnt == 4
    with agent._updating, world.memories["a"]._moving:
        assert agent.process(images_of(12, 1, seed=2)[0]).label == 12


def test_unsure_labels_and_a_full_memory_are_counted_and_answered(world: World, tmp_path: Path) -> None:
    agent = world.edge("a", exchange=False, min_confidence=0.9)  # the cloud is sure to e / (e + 3) = 0.48
    assert upload(agent, images_of(12, 2)) == [12, 12]
    assert (agent.counts.unsure, agent.counts.queued) == (2, 0)
    world.memories["small"] = world.stack.enter_context(
        DeviceMemory(tmp_path / "small.db", FEATURES, MAX_COUNT, SOURCE, max_pending=1)
    )
    small = world.edge("small", exchange=False)
    assert upload(small, images_of(12, 3)) == [12, 12, 12]
    assert (small.counts.queued, small.counts.refused) == (1, 2)
    assert "max_pending" in str(small.last_failure)


def test_a_cloud_that_does_not_merge_or_is_gone_stops_no_learning(tmp_path: Path, predict) -> None:
    with contextlib.ExitStack() as stack:
        agent = (world := World(stack, tmp_path, predict, merge=False)).edge("a", timeout_s=5.0)
        upload(agent, images_of(12, 2))
        assert (agent.update().learnt, agent.counts.failures) == (2, 2)  # a push and a fetch
        assert "--merge" in str(agent.last_failure)
        world.memories["a"].add(counts_of(images_of(13, 2)), [13, 13])
    with contextlib.ExitStack() as stack:
        memory = stack.enter_context(DeviceMemory(tmp_path / "a.db", FEATURES, MAX_COUNT, SOURCE))
        client = stack.enter_context(CloudClient(world.bound.host, world.bound.port))

        def make_agent(predict, class_ids):
            return EdgeAgent(predict, lambda logits: np.zeros(1), 0.5, client, class_ids=class_ids)

        alone = UpdatingAgent(counts_of, memory, make_agent, base=BASE, client=client, timeout_s=1.0)
        counts = alone.update()
        assert (counts.learnt, counts.failures) == (2, 1)
        assert alone.live.class_ids == CLASSES


class Judged(UpdatingAgent):
    """Whose accuracy is said beforehand, to see what the check makes of it."""

    said = 0.0

    def _solve(self, own, others):
        return replace(super()._solve(own, others), accuracy=self.said)


def judged(world: World, accuracy: float, **options) -> UpdatingAgent:
    """An agent of the memory `a`, as after a restart."""
    Judged.said = accuracy
    return world.edge("a", exchange=False, kind=Judged, **({"held_out": held_out(), "tolerance": 0.01} | options))


def learns(world: World, agent: UpdatingAgent, accuracy: float) -> bool:
    """Whether an update with this accuracy goes live."""
    Judged.said = accuracy
    world.memories["a"].add(counts_of(images_of(12, 1)), [12])
    updates = agent.counts.updates
    return agent.update().updates > updates


def test_small_losses_do_not_add_up(world: World) -> None:
    agent = judged(world, 0.90)
    assert learns(world, agent, 0.895)
    assert not learns(world, agent, 0.885)  # 0.01 below the last one, 0.015 below the best
    assert learns(world, agent, 0.91)
    assert not learns(world, agent, 0.895)
    # Nor over restarts.
    assert learns(world, judged(world, 0.91), 0.905)
    agent = judged(world, 0.905)
    assert not learns(world, agent, 0.897)
    assert learns(world, agent, 0.90)
    assert not learns(world, judged(world, 0.90), 0.895)
    # What was best on other samples, with another base or another classifier, says nothing.
    images = images_of(12, 5, seed=9)
    assert learns(world, judged(world, 0.80, held_out=HeldOut(counts_of(images), np.repeat(12, 5))), 0.80)
    assert learns(world, judged(world, 0.70, classifier={"ridge": 1.0}), 0.70)
    assert learns(world, judged(world, 0.60, base=statistics_of((images_of(10, 9), 10))), 0.60)


def test_the_others_classes_are_known_after_a_restart_without_the_cloud(world: World) -> None:
    world.merged.push("b", 1, statistics_of((images_of(13, 9), 13)).to_bytes())
    agent = world.edge("a", held_out=held_out())
    agent.update()
    assert agent.live.class_ids == (10, 11, 13)
    restarted = world.edge("a", held_out=held_out())
    assert restarted.live.class_ids == (10, 11, 13)
    assert restarted.live.statistics == agent.live.statistics
    assert restarted.update().fetched == 0  # known: not sent again
    world.merged.push("b", 2, CountStatistics(FEATURES, MAX_COUNT, SOURCE).to_bytes())  # withdrawn
    alone = world.edge("a")
    alone.update()
    assert world.edge("a").live.class_ids == (10, 11)


def test_a_refused_push_does_not_keep_the_others_away(world: World) -> None:
    world.merged.push("a", 5, statistics_of((images_of(12, 3), 12)).to_bytes())  # of an earlier memory
    world.merged.push("b", 1, statistics_of((images_of(13, 9), 13)).to_bytes())
    agent = world.edge("a")
    world.memories["a"].add(counts_of(images_of(12, 1)), [12])
    counts = agent.update()
    assert (counts.pushed, counts.fetched, counts.failures) == (0, 1, 1)
    assert "sequence_conflict" in str(agent.last_failure)
    assert agent.live.class_ids == (10, 11, 12, 13)


def test_a_failure_of_any_kind_is_counted_and_the_thread_goes_on(world: World, caplog) -> None:
    failed, learnt = threading.Event(), threading.Event()
    agent = world.edge("a", exchange=False, update_after=1)
    solve, fail, live = agent._solve, agent._fail, agent._go_live

    def fails(*arguments):
        raise RuntimeError("no memory")

    agent._solve = fails
    agent._fail = lambda *arguments: (fail(*arguments), failed.set())
    agent._go_live = lambda made: (live(made), learnt.set())
    with agent:
        upload(agent, images_of(12, 1))
        assert failed.wait(WAIT_S)
        assert agent.last_failure == "an update failed: no memory"
        assert "RuntimeError" in caplog.text  # where it came from: nobody has foreseen it
        agent._solve = solve
        upload(agent, images_of(12, 1, seed=2))
        assert learnt.wait(WAIT_S)
    assert (agent.counts.learnt, agent.counts.failures) == (2, 1)


def test_samples_that_wait_from_before_are_learnt_at_the_start(world: World) -> None:
    learnt = threading.Event()
    agent = world.edge("a", exchange=False, made=learnt, update_after=4)
    world.memories["a"].add(counts_of(images_of(12, 4)), [12] * 4)
    with agent:
        assert learnt.wait(WAIT_S)
    assert agent.counts.learnt == 4
    thread = threading.Thread(target=lambda: None)  # one that has ended
    thread.start()
    thread.join()
    agent._thread = thread
    world.memories["a"].add(counts_of(images_of(13, 4)), [13] * 4)
    learnt.clear()
    with agent:
        assert learnt.wait(WAIT_S)
    assert agent.counts.learnt == 8


def test_arguments_out_of_range_are_refused(world: World) -> None:
    for options in ({"tolerance": -0.1}, {"min_confidence": 2.0}, {"update_after": 0}, {"timeout_s": 0.0}):
        with pytest.raises(ValueError, match="expected 0 to 1"):
            world.edge("a", **options)
    with pytest.raises(ValueError, match="at least one"):
        HeldOut(np.zeros((0, FEATURES)), np.zeros(0, dtype=np.int64))
    with pytest.raises(ValueError, match="class"):
        world.edge("a", base=None)  # no class yet
