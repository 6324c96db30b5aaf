import errno
import os
import stat

import pytest
import torch
from torch import nn

from eccsnn.errors import CheckpointError
from eccsnn.training import checkpoint

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "empty": torch.zeros(0, 4),
}


def test_round_trip_keeps_tensors_and_meta(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save_checkpoint(path, TENSORS, {"epoch": 3, "best": 0.1})
    tensors, meta = checkpoint.load_checkpoint(path)
    assert meta == {"epoch": 3, "best": 0.1}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


@pytest.mark.parametrize("keep", [0, 4, 8, 40, 0.5, 0.9, -1])
def test_truncated_file_is_a_clear_error(tmp_path, keep):
    path = tmp_path / "x.safetensors"
    checkpoint.save_checkpoint(path, TENSORS)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))] if isinstance(keep, float) else data[:keep])
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        checkpoint.load_checkpoint(path)


def test_altered_bytes_are_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save_checkpoint(path, TENSORS)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load_checkpoint(path)


def test_altered_meta_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save_checkpoint(path, TENSORS, {"tasks": [[0, 1]]})
    data = path.read_bytes()
    assert data.count(b"[[0, 1]]") == 1
    path.write_bytes(data.replace(b"[[0, 1]]", b"[[1, 0]]"))
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load_checkpoint(path)


def test_a_model_with_nan_is_not_loaded(tmp_path):
    from eccsnn.models import build_model

    model = build_model("spiking_vgg9", tasks=[[0, 1]], width=0.125, timesteps=1, image_size=16)
    next(model.parameters()).data[0] = float("nan")
    checkpoint.save_model(tmp_path / "m", model)
    with pytest.raises(CheckpointError, match=r"m: stem.conv.weight holds NaN"):
        checkpoint.load_model(tmp_path / "m")


def test_missing_and_foreign_files(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load_checkpoint(tmp_path / "none.safetensors")
    save_file({"a": torch.ones(1)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(CheckpointError, match="format None"):
        checkpoint.load_checkpoint(tmp_path / "other.safetensors")


def test_others_can_read_what_was_written(tmp_path):
    checkpoint.save_checkpoint(tmp_path / "x", TENSORS)
    plain = tmp_path / "plain"
    plain.write_text("")
    assert (tmp_path / "x").stat().st_mode == plain.stat().st_mode


def test_the_file_is_flushed_and_then_its_name(tmp_path, monkeypatch):
    path, flushed, flush = tmp_path / "x", [], os.fsync

    def seen(handle):
        flushed.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", seen)
    checkpoint.write_atomically(path, b"data")
    assert flushed == [(False, False), (True, True)]
    handles = len(os.listdir("/proc/self/fd"))

    def no_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", no_folders)
    checkpoint.write_atomically(path, b"other")
    assert path.read_bytes() == b"other"
    assert len(os.listdir("/proc/self/fd")) == handles


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    checkpoint.save_checkpoint(path, TENSORS, {"epoch": 1})

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoint.save_checkpoint(path, TENSORS, {"epoch": 2})
    monkeypatch.undo()
    assert checkpoint.load_checkpoint(path)[1] == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_optimizer_state_round_trip(tmp_path, name):
    from eccsnn.training.loop import make_optimizer

    def build():
        torch.manual_seed(0)
        net = nn.Linear(3, 2)
        return net, make_optimizer(list(net.parameters()), name, 0.1, 1e-3, 0.9)

    def step(net, opt):
        opt.zero_grad()
        net(torch.ones(4, 3)).pow(2).sum().backward()
        opt.step()

    net, opt = build()
    step(net, opt)
    tensors, meta = checkpoint.pack_optimizer(opt)
    checkpoint.save_checkpoint(tmp_path / "o", tensors, meta)
    weights = {k: v.clone() for k, v in net.state_dict().items()}
    step(net, opt)

    other, other_opt = build()
    other.load_state_dict(weights)
    checkpoint.unpack_optimizer(other_opt, *checkpoint.load_checkpoint(tmp_path / "o"))
    step(other, other_opt)
    for key, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


def test_model_of_other_shape_is_a_clear_error():
    with pytest.raises(CheckpointError, match="do not fit the model Linear"):
        checkpoint.load_weights(nn.Linear(2, 2), {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}, "x")
