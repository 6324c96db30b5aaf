import pytest
import torch
from torch import nn

from eccsnn.nn import over_time


def test_every_timestep_goes_through_the_module():
    conv, x = nn.Conv2d(3, 4, 3, stride=2), torch.randn(5, 2, 3, 9, 7)
    expected = torch.stack([conv(x_t) for x_t in x])
    torch.testing.assert_close(over_time(conv, x), expected)


@pytest.mark.parametrize("shape", [(5, 0, 3), (0, 4, 3)])
def test_empty_time_or_batch_is_kept(shape):
    assert over_time(nn.Linear(3, 6), torch.zeros(shape)).shape == (*shape[:2], 6)


def test_channels_last_memory_is_not_copied():
    x = torch.randn(2, 3, 5, 5, 4).permute(0, 1, 4, 2, 3)  # C innermost
    seen = []
    over_time(lambda y: seen.append(y) or y, x)
    assert seen[0].data_ptr() == x.data_ptr()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_a_tensor_without_time_is_refused():
    with pytest.raises(ValueError, match=r"shape \[3\], expected \[T, N"):
        over_time(nn.Identity(), torch.zeros(3))
