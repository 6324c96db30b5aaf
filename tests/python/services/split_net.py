"""A small split network whose answers are known: spikes drawn by image and timestep, and a cloud with a membrane."""

from collections.abc import Sequence

import numpy as np

from eccsnn.offload.exits import confidence
from eccsnn.services.early_exit import EdgeSplit, EdgeStep
from eccsnn.services.split import SplitModel
from eccsnn.transport.packed_spikes import pack_spikes

SHAPE = (6, 4, 4)
CLASSES = (10, 11, 12, 13)
HEAD_CLASSES = (20, 21)
TIMESTEPS = 5


def spikes_of(value: int, timestep: int) -> np.ndarray:
    """Spikes uint8 `[6, 4, 4]` of the image with this first value."""
    return (np.random.default_rng((value, timestep)).random(SHAPE) < 0.3).astype(np.uint8)


def head_logits(value: int, timestep: int) -> np.ndarray:
    """Logits of the edge's exit head: surer with every timestep for odd values, never sure for even ones."""
    return np.array([0.0, (1.0 + timestep) * (value % 2)], dtype=np.float32)


def cloud_step(spikes: np.ndarray, states: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """A leaky sum of the first four channels; the state before is what makes order and loss matter."""
    after = [0.5 * state + row[:4].sum(axis=(1, 2)) for row, state in zip(spikes, states, strict=True)]
    return np.stack(after), after


def split_model(**changes) -> SplitModel:
    """What the cloud serves."""
    arguments = {"split_point": "pool1", "shape": SHAPE, "timesteps": TIMESTEPS, "step": cloud_step}
    return SplitModel(**(arguments | {"start": lambda: np.zeros(4)} | changes))


def edge_split(computed: list[tuple[int, int]] | None = None, **changes) -> EdgeSplit:
    """The edge's part; appends (first value, timestep) to `computed`."""

    def start(image: np.ndarray):
        value = int(image[0, 0, 0])

        def step(timestep: int) -> EdgeStep:
            if computed is not None:
                computed.append((value, timestep))
            logits = head_logits(value, timestep) if changes.get("exit_head") else None
            return EdgeStep(pack_spikes(spikes_of(value, timestep)), logits)

        return step

    arguments = {"split_point": "pool1", "timesteps": TIMESTEPS, "class_ids": HEAD_CLASSES}
    return EdgeSplit(start, **(arguments | changes))


def predict(batch: np.ndarray) -> np.ndarray:
    """What the cloud answers to images: the class at (first value) modulo 4."""
    return np.eye(len(CLASSES))[batch[:, 0, 0, 0] % len(CLASSES)]


def cloud() -> dict:
    """Arguments of `run_cloud`, for a process of its own."""
    return {"predict": predict, "class_ids": CLASSES, "model_id": "m", "splits": [split_model()]}


def image_of(value: int) -> np.ndarray:
    """The image with this first value."""
    pixels = np.full((3, 8, 8), 128, dtype=np.uint8)
    pixels[0, 0, 0] = value
    return pixels


def running_logits(value: int) -> list[np.ndarray]:
    """What the cloud says after each timestep, f32 `[4]` each."""
    state, total, answers = np.zeros(4), np.zeros(4), []
    for timestep in range(TIMESTEPS):
        logits, (state,) = cloud_step(spikes_of(value, timestep)[None], [state])
        total = total + logits[0]
        answers.append((total / (timestep + 1)).astype(np.float32))
    return answers


def expected(value: int, threshold: float) -> tuple[int, int]:
    """Label and timesteps with early exit at a threshold."""
    answers = running_logits(value)
    sure = [t for t, logits in enumerate(answers) if confidence(logits) >= np.float32(threshold)]
    stop = sure[0] if sure else TIMESTEPS - 1
    return CLASSES[int(answers[stop].argmax())], stop + 1
