"""Class-incremental scenarios "B-u, Inc-v": u base classes, then v new classes with every task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eccsnn.data.seeding import permutation
from eccsnn.data.types import ImageSet, check_class_ids
from eccsnn.errors import ConfigError

_PATTERN = re.compile(r"\s*B-?(\d+)[-,\s]+Inc-?(\d+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Scenario:
    """Which classes are learnt when.

    Attributes:
        name: `"B5-Inc1"`.
        tasks: the class ids of each task, in the order in which they are learnt; every class is in exactly one task.
    """

    name: str
    tasks: tuple[tuple[int, ...], ...]

    @property
    def class_order(self) -> tuple[int, ...]:
        """All class ids in the order in which they are learnt."""
        return tuple(class_id for task in self.tasks for class_id in task)

    def classes_learned(self, tasks_learned: int) -> tuple[int, ...]:
        """The class ids of the first `tasks_learned` tasks.

        Raises:
            ValueError: `tasks_learned` is not in `0..len(tasks)`.
        """
        if not 0 <= tasks_learned <= len(self.tasks):
            raise ValueError(f"tasks_learned is {tasks_learned}, expected 0..{len(self.tasks)}")
        return tuple(class_id for task in self.tasks[:tasks_learned] for class_id in task)


def build_scenario(name: str, num_classes: int, seed: int | None = None) -> Scenario:
    """Builds the scenario `"B<u>-Inc<v>"`.

    The first task has `u` classes and every later one `v`. When `v` does not divide what remains, the last task is
    the shorter one. `u == num_classes` gives a single task.

    Args:
        name: for instance `"B5-Inc1"`; `"B-5, Inc-1"` is understood too.
        num_classes: number of classes of the data set.
        seed: None keeps the natural order `0, 1, 2, ...`; an integer >= 0 shuffles the classes.

    Raises:
        ConfigError: `name` is not of that form, `u` or `v` is 0, or `u` exceeds `num_classes`.

    Example:
        >>> build_scenario("B5-Inc2", 10).tasks
        ((0, 1, 2, 3, 4), (5, 6), (7, 8), (9,))
    """
    if num_classes < 1:
        raise ConfigError(f"num_classes is {num_classes}, expected at least 1")
    base, step = parse_scenario(name, num_classes)
    order = range(num_classes) if seed is None else permutation(num_classes, "class order", seed).tolist()
    starts = [0, *range(base, num_classes, step)]
    tasks = tuple(tuple(order[a:b]) for a, b in zip(starts, [*starts[1:], num_classes], strict=True))
    return Scenario(name=f"B{base}-Inc{step}", tasks=tasks)


def parse_scenario(name: str, num_classes: int | None = None) -> tuple[int, int]:
    """The numbers (u, v) of a scenario, see `build_scenario`, which takes the same names.

    Args:
        name: such as `"B5-Inc1"`.
        num_classes: number of classes of the data set; None: not known yet, so that any u will do.

    Raises:
        ConfigError: as `build_scenario`.
    """
    match = _PATTERN.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ConfigError(
            f"scenario {name!r} is not understood; expected 'B<u>-Inc<v>', for instance 'B5-Inc1': "
            "5 classes in the first task, then 1 in each later task"
        )
    base, step = int(match[1]), int(match[2])
    if base == 0:
        raise ConfigError(
            f"scenario {name!r} has no base classes; "
            f"write B{max(step, 1)}-Inc{max(step, 1)} to give every task the same size"
        )
    if step == 0:
        single = f"B{'<all>' if num_classes is None else num_classes}-Inc1"
        raise ConfigError(f"scenario {name!r} adds 0 classes a task; write Inc1 or more (one task only: {single})")
    if num_classes is not None and base > num_classes:
        raise ConfigError(f"scenario {name!r} starts with {base} classes, but the data set has {num_classes}")
    return base, step


def restrict(image_set: ImageSet, classes: Sequence[int]) -> ImageSet:
    """The images of the given classes, in their order in the set; labels stay the global class ids. Copies no pixels.

    A class may be absent (a small validation part need not hold every class), but not all of them.

    Raises:
        ValueError: a class id is negative or given twice, or none of the classes occurs in a set that is not empty.
    """
    ids = check_class_ids(classes)
    chosen = np.flatnonzero(np.isin(image_set.labels, ids))
    if len(image_set) and ids and not len(chosen):
        raise ValueError(f"none of the classes {list(ids)} occurs in this set, which has {list(image_set.classes)}")
    return image_set.take(chosen)
