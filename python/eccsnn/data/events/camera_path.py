"""How an image moves before a simulated event camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eccsnn import _core


@dataclass(frozen=True)
class CameraPath:
    """Straight lines between points in time, travelled at constant speed.

    Attributes:
        t_us: µs, whole numbers that grow from 0; at least two.
        x: how far the image has moved to the right at each time, in px of the sensor.
        y: how far downwards.

    Raises:
        ValueError: the lengths differ, there are fewer than two points, or the times do not grow from 0.

    Example:
        >>> CameraPath.line(1000, dx=2.0).at([0, 500]).tolist()
        [[0.0, 0.0], [1.0, 0.0]]
    """

    t_us: Sequence[int]
    x: Sequence[float]
    y: Sequence[float]

    def __post_init__(self) -> None:
        for name in ("t_us", "x", "y"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.t_us) == len(self.x) == len(self.y) >= 2:
            raise ValueError(
                f"the path has {len(self.t_us)} times, {len(self.x)} x and {len(self.y)} y; "
                "expected as many of each, two at least"
            )
        times = np.asarray(self.t_us)
        if not np.issubdtype(times.dtype, np.integer) or times[0] != 0 or (np.diff(times) <= 0).any():
            raise ValueError(f"t_us is {list(self.t_us)[:6]}, expected whole numbers of µs that grow from 0")
        if times[-1] > _core.SIMULATOR_MAX_DURATION_US:
            raise ValueError(
                f"the path ends at {times[-1]} us, expected at most {_core.SIMULATOR_MAX_DURATION_US}; "
                "simulate a long recording in parts"
            )
        if not np.isfinite([self.x, self.y]).all() or np.abs([self.x, self.y]).max() > 10_000:
            raise ValueError("x and y of a path are expected to be finite and at most 10000 px from the start")

    @classmethod
    def line(cls, duration_us: int, *, dx: float = 0.0, dy: float = 0.0) -> CameraPath:
        """One straight line; without `dx` and `dy` the image stands still, which shows the sensor's noise."""
        return cls((0, duration_us), (0.0, dx), (0.0, dy))

    @classmethod
    def closed_loops(cls, *, loops: int = 6, side_px: float, side_us: int) -> CameraPath:
        """CIFAR10-DVS's movement: four diagonal lines that close, repeated without a pause.

        Args:
            loops: how often.
            side_px: what a line moves along x and along y, in px of the sensor.
            side_us: µs that a line takes.

        Source:
            Li et al., "CIFAR10-DVS: an event-stream dataset for object classification" (2017): a repeated closed-loop
            smooth movement of the image on a monitor, diagonal lines, six loops. The shape (a square on its corner),
            its size and its speed are ours; steps of a monitor's refresh are left out.
        """
        if loops < 1:
            raise ValueError(f"loops is {loops}, expected at least 1")
        corner_x, corner_y = np.array([0, 1, 0, -1]) * side_px, np.array([0, 1, 2, 1]) * side_px - side_px
        x, y = [*np.tile(corner_x, loops), corner_x[0]], [*np.tile(corner_y, loops), corner_y[0]]
        return cls([side_us * k for k in range(len(x))], [float(v) for v in x], [float(v) for v in y])

    @classmethod
    def saccades(
        cls,
        *,
        saccade_us: int = 100_000,
        half_width_px: float = 3.5,
        height_px: float = 7.0,
        centred: bool = False,
    ) -> CameraPath:
        """N-MNIST's and N-Caltech101's movement: three saccades along a triangle.

        Args:
            saccade_us: µs of each.
            half_width_px: what the first two move along x; the third moves back by twice as much.
            height_px: what the first moves down and the second up.
            centred: puts the triangle's middle where the image lies, not its first corner: a small sensor then loses
                as little on either side.

        Source:
            Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using saccades" (2015):
            three saccades of 100 ms. The sides in px are those by which tonic's N-MNIST undoes the movement.
        """
        left, top = (-half_width_px, -height_px / 2) if centred else (0.0, 0.0)
        return cls(
            [saccade_us * k for k in range(4)],
            [left, left + half_width_px, left + 2 * half_width_px, left],
            [top, top + height_px, top, top],
        )

    @property
    def duration_us(self) -> int:
        """When the path ends, in µs."""
        return int(self.t_us[-1])

    @property
    def reach_px(self) -> int:
        """The farthest that the image moves along an axis, in whole px, rounded up."""
        return int(np.ceil(np.abs([self.x, self.y]).max()))

    def at(self, t_us: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Where the image is at some times: `[N, 2]` of x and y in px."""
        times = np.asarray(t_us, dtype=np.float64)
        return np.stack([np.interp(times, self.t_us, self.x), np.interp(times, self.t_us, self.y)], axis=-1)

    def times(self, *, max_step_px: float, max_step_us: int) -> npt.NDArray[np.int64]:
        """int64 `[S]`: the path's points, and times between them so that no step is longer than asked for."""
        parts = []
        for k in range(len(self.t_us) - 1):
            begin, end = self.t_us[k], self.t_us[k + 1]
            far = max(abs(self.x[k + 1] - self.x[k]), abs(self.y[k + 1] - self.y[k]))
            steps = max(1, int(np.ceil(far / max_step_px)), -(-(end - begin) // max_step_us))
            parts.append(begin + (end - begin) * np.arange(steps, dtype=np.int64) // steps)
        return np.unique(np.concatenate([*parts, [self.t_us[-1]]]))
