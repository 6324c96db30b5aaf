"""Latency arithmetic, and the description of the edge's part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from split_net import edge_split

from eccsnn.services.early_exit import pipeline_ms

MS = st.floats(0, 100)


def test_a_slow_edge_and_a_slow_cloud() -> None:
    assert pipeline_ms([10, 10], [3, 3], lock_step=False) == 23  # the cloud's first step hides
    assert pipeline_ms([3, 3], [10, 10], lock_step=False) == 23  # the edge's second step hides
    assert pipeline_ms([10, 10], [3, 3], lock_step=True) == 26
    assert pipeline_ms([], [], lock_step=True) == 0


@given(st.lists(st.tuples(MS, MS), max_size=6))
def test_overlap_never_costs(times: list[tuple[float, float]]) -> None:
    edge, cloud = [e for e, _ in times], [c for _, c in times]
    lock_step = pipeline_ms(edge, cloud, lock_step=True)
    assert lock_step == pytest.approx(sum(edge) + sum(cloud))
    overlapped = pipeline_ms(edge, cloud, lock_step=False)
    assert max(sum(edge), sum(cloud)) <= overlapped + 1e-9 <= lock_step + 2e-9


def test_each_timestep_needs_both_times() -> None:
    with pytest.raises(ValueError, match="shorter"):
        pipeline_ms([1, 2], [1], lock_step=True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"timesteps": 0}, "timesteps is 0"),
        ({"exit_head": True, "class_ids": ()}, "class_ids is empty"),
        ({"local": lambda image: image, "class_ids": ()}, "class_ids is empty"),
    ],
)
def test_edges_are_checked(changes, text) -> None:
    with pytest.raises(ValueError, match=text):
        edge_split(**changes)
