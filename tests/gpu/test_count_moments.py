"""count_moments on CUDA: the same integers as on the CPU."""

import pytest
import torch

from eccsnn.incremental.count_moments import count_moments
from eccsnn.incremental.statistics import CountStatistics

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@cuda
@pytest.mark.parametrize(
    ("max_count", "dtype"),
    [(1, torch.uint8), (4, torch.uint8), (127, torch.int16), (255, torch.uint8), (32767, torch.int16)],
)
@pytest.mark.parametrize(("samples", "features"), [(0, 5), (1, 1), (63, 65), (1000, 200)])
def test_agrees_with_the_cpu(max_count: int, dtype: torch.dtype, samples: int, features: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, max_count + 1, (samples, features), generator=generator).to(dtype)
    classes = torch.randint(0, 7, (samples,), generator=generator)
    for ours, truth in zip(
        count_moments(rows.cuda(), classes, 7, max_count), count_moments(rows, classes, 7, max_count), strict=True
    ):
        assert torch.equal(ours, truth)


@cuda
def test_statistics_of_device_tensors_are_those_of_the_cpu() -> None:
    rows, labels = torch.randint(0, 5, (300, 70), dtype=torch.uint8), torch.randint(0, 9, (300,))
    on_gpu, on_cpu = CountStatistics(70, 4), CountStatistics(70, 4)
    on_gpu.add(rows.cuda(), labels)
    on_cpu.add(rows, labels)
    assert on_gpu == on_cpu
