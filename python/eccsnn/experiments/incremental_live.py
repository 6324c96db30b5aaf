"""A run of learners as live processes: a cloud that labels and merges, edges that learn while they answer."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eccsnn.errors import ConfigError
from eccsnn.experiments.incremental_load import LoadedIncremental
from eccsnn.incremental.memory import DeviceMemory
from eccsnn.services.breaker import CircuitBreaker
from eccsnn.services.client import CloudClient
from eccsnn.services.edge import EdgeAgent, EdgeResult, Predict
from eccsnn.services.merging import MergedStatistics
from eccsnn.services.updating import HeldOut, UpdatingAgent
from eccsnn.transport.statistics_messages import MAX_STATISTICS_BYTES


def serve_arguments(loaded: LoadedIncremental) -> dict[str, Any]:
    """Arguments of `eccsnn.services.cloud.run_cloud` that serve the run's cloud model.

    Raises:
        ConfigError: The run has no cloud.
    """
    if loaded.cloud is None:
        raise ConfigError(
            f"{loaded.path} has no cloud model to serve; run it with trunk.distillation.logit_weight > 0."
        )
    ids = loaded.cloud.head.class_ids
    return {
        "predict": loaded.cloud_logits,
        "class_ids": ids,
        "class_names": [loaded.class_names[c] for c in ids],
        "model_id": loaded.cloud.spec["name"],
        "image_shape": (3, loaded.image_size, loaded.image_size),
    }


def open_merged(loaded: LoadedIncremental, path: Path) -> MergedStatistics:
    """The store in which a cloud merges what the edges of this run push."""
    statistics = loaded.learner.statistics
    return MergedStatistics(
        path,
        statistics.features,
        statistics.max_count,
        statistics.source,
        class_ids=range(len(loaded.class_names)),
    )


def margin_ambiguity(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ambiguity `[N]` in [0, 1] of scores `[N, K]` near one-hot targets: 1 minus the lead of the best over the next.

    Example:
        >>> margin_ambiguity(np.array([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]])).tolist()
        [0.5, 1.0]
    """
    if scores.shape[1] < 2:
        return np.zeros(len(scores))
    ordered = np.sort(scores.astype(np.float64), axis=1)
    return 1.0 - np.clip(ordered[:, -1] - ordered[:, -2], 0.0, 1.0)


def learn_and_answer(
    loaded: LoadedIncremental,
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[int] | None,
    *,
    host: str,
    port: int,
    memory: Path,
    edge_id: str = "edge",
    threshold: float | None = None,
    codec: str = "png",
    timeout_s: float = 5.0,
    tls_ca: Path | None = None,
) -> tuple[dict[str, Any], list[EdgeResult]]:
    """Answers images, learns those that the cloud has labelled, and exchanges statistics with other edges.

    Args:
        loaded: The run.
        images: uint8 `[3, H, W]` each.
        labels: Their true classes, for the accuracy; None: unknown. Nothing is learnt from them.
        host, port: Of the cloud.
        memory: File of the device's memory; one that is there goes on.
        edge_id: Of this memory, which keeps it and refuses another; a new memory needs a new one.
        threshold: Ambiguity (`margin_ambiguity`) above which an image is uploaded; None: the median of the held-out
            samples, by the classifier that the device begins with.
        codec, timeout_s, tls_ca: As for `eccsnn.services.edge.run_edge`.

    Returns:
        Summary as JSON, and the result of each image.
    """
    counts, classes = loaded.held_out
    held_out = HeldOut(counts, classes) if len(classes) else None
    if threshold is None:
        threshold = 0.5 if held_out is None else float(np.median(margin_ambiguity(loaded.learner.scores(counts))))
    statistics = loaded.learner.statistics
    with contextlib.ExitStack() as stack:
        shape = statistics.features, statistics.max_count, statistics.source
        kept = stack.enter_context(DeviceMemory(memory, *shape, owner=edge_id))
        client, exchange = (
            stack.enter_context(CloudClient(host, port, tls_root=tls_ca, max_message_bytes=MAX_STATISTICS_BYTES))
            for _ in range(2)
        )
        breaker = CircuitBreaker()

        def make_agent(predict: Predict, class_ids: Sequence[int]) -> EdgeAgent:
            return EdgeAgent(
                predict,
                margin_ambiguity,
                threshold,
                client,
                class_ids=class_ids,
                codec=codec,
                timeout_s=timeout_s,
                breaker=breaker,
                known_classes=dict(enumerate(loaded.class_names)),
                edge_id=edge_id,
            )

        agent = UpdatingAgent(
            loaded.counts,
            kept,
            make_agent,
            base=statistics,
            held_out=held_out,
            client=exchange,
            edge_id=edge_id,
        )
        before = agent.live
        with agent:
            results = [agent.process(image) for image in images]
        agent.update()
        summary: dict[str, Any] = {
            "images": len(results),
            "answers": dict(Counter(str(result.source) for result in results)),
            "accuracy": None
            if labels is None
            else float(np.mean([result.label == label for result, label in zip(results, labels, strict=True)])),
            "threshold": threshold,
            "held_out_accuracy": {"before": before.accuracy, "after": agent.live.accuracy},
            "classes": {"before": len(before.class_ids), "after": len(agent.live.class_ids)},
            "samples": int(agent.live.statistics.samples.sum()),
            "memory": {"version": kept.version, "pending": kept.pending, "set_aside": kept.aside},
            "updates": vars(agent.counts),
            "last_failure": agent.last_failure,
        }
    return summary, results
