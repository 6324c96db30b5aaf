"""pack_spikes and unpack_spikes on CUDA against the CPU, byte for byte."""

import pytest
import torch

from eccsnn.ops import _library, pack_spikes, unpack_spikes

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and _library.load_cuda().loaded), reason="needs a CUDA GPU and the CUDA op library"
)

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8]


def random_spikes(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.3).to(dtype)


def layouts(spikes: torch.Tensor) -> list[torch.Tensor]:
    return [spikes, spikes.movedim(2, -1).contiguous().movedim(-1, 2), spikes[:1].expand(4, *spikes.shape[1:])]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 2, 9), (3, 2, 70, 5, 6), (2, 0, 8, 4, 4), (4, 8, 64, 32, 32)])
def test_agrees_with_cpu(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    for spikes in layouts(random_spikes(shape, dtype)):
        packed = pack_spikes(spikes)
        on_device = spikes.cuda() if spikes.stride(0) else spikes[:1].cuda().expand_as(spikes)
        assert torch.equal(pack_spikes(on_device).cpu(), packed)
        assert torch.equal(pack_spikes(on_device, check=False).cpu(), packed)
        assert torch.equal(unpack_spikes(packed.cuda(), shape[2], dtype).cpu(), spikes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_first_value_that_is_no_spike_is_named(dtype: torch.dtype) -> None:
    spikes = random_spikes((2, 3, 90, 4, 5), dtype)
    spikes[1, 2, 88, 3, 0] = float("nan")
    spikes[1, 2, 0, 3, 1] = 7.0  # a later pixel
    for device_spikes in layouts(spikes)[:2]:
        with pytest.raises(RuntimeError, match=r"spikes\[1, 2, 88, 3, 0\] is -?nan, expected 0 or 1"):
            pack_spikes(device_spikes.cuda())
        assert torch.equal(
            pack_spikes(device_spikes.cuda(), check=False).cpu(), pack_spikes((device_spikes != 0).float())
        )


def test_opcheck() -> None:
    spikes = random_spikes((3, 2, 9, 4, 5)).cuda()
    torch.library.opcheck(torch.ops.eccsnn.pack_spikes.default, (spikes, True))
    torch.library.opcheck(torch.ops.eccsnn.unpack_spikes.default, (pack_spikes(spikes), 9, torch.bfloat16))
