"""Loading of the compiled op libraries, and what is said where that does not work."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from eccsnn import ops
from eccsnn.build_info import build_info
from eccsnn.errors import BuildError
from eccsnn.ops import _library, lif


@pytest.fixture(autouse=True)
def forget():
    """Lets a test load anew; the libraries themselves stay loaded."""
    yield
    _library.load_cpu.cache_clear()
    _library.load_cuda.cache_clear()


def test_cpu_library_is_loaded():
    library = _library.load_cpu()
    assert library.loaded
    assert library.path.endswith("_ops_cpu.so")
    assert torch.ops.eccsnn.isa() == build_info()["cpu"]["isa"]


def test_cuda_library_loads_without_a_gpu_where_it_was_built():
    report = build_info()["cuda"]
    library = _library.load_cuda()
    if not report["built"]:
        assert not library.loaded
        assert library.reason == "not built"
        return
    assert library.path.endswith("_ops_cuda.so")
    assert library.loaded == (torch.version.cuda is not None)
    if library.loaded:
        for op in ("lif_forward", "lif_inference", "lif_backward"):
            assert torch._C._dispatch_has_kernel_for_dispatch_key(f"eccsnn::{op}", "CUDA")


def test_missing_cpu_library(monkeypatch):
    _library.load_cpu.cache_clear()
    monkeypatch.setattr(_library, "_find", lambda module: None)
    with pytest.raises(BuildError, match=r"_ops_cpu.so\) was not built.*pip install"):
        _library.load_cpu()
    report = build_info()["cpu"]
    assert not report["loaded"]
    assert "was not built" in report["reason"]


def test_library_that_does_not_load(monkeypatch, tmp_path):
    _library.load_cpu.cache_clear()
    broken = tmp_path / "_ops_cpu.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(_library, "_find", lambda module: str(broken))
    with pytest.raises(BuildError, match=f"does not load under torch {torch.__version__.split('+')[0]}"):
        _library.load_cpu()


def test_torch_without_cuda(monkeypatch):
    _library.load_cuda.cache_clear()
    monkeypatch.setattr(_library, "_find", lambda module: "/somewhere/_ops_cuda.so")
    monkeypatch.setattr(torch.version, "cuda", None)
    library = _library.load_cuda()
    assert not library.loaded
    assert "without CUDA" in library.reason


def test_cuda_tensor_without_cuda_library(monkeypatch):
    monkeypatch.setattr(_library, "_cuda", _library.Library("cuda", None, False, "not built"))

    class OnCuda:
        is_cuda = True
        device = "cuda:0"

    with pytest.raises(BuildError, match=r"on cuda:0, but .* is not loaded: not built. Move the tensor"):
        _library.require_kernels_for(OnCuda())
    lif(torch.zeros(1, 1))


@pytest.mark.parametrize(
    "call",
    [
        lambda: lif(torch.zeros(1, 1, device="cuda")),
        lambda: ops.spike_count_pool(torch.zeros(1, 1, 1, 1, 1, device="cuda"), 1),
        lambda: ops.pack_spikes(torch.zeros(1, 1, 1, device="cuda")),
        lambda: ops.unpack_spikes(torch.zeros(1, 1, 1, dtype=torch.uint8, device="cuda"), 1),
        lambda: ops.logit_distillation(*[torch.zeros(1, 1, device="cuda")] * 2, None, 1.0),
    ],
    ids=["lif", "spike_count_pool", "pack_spikes", "unpack_spikes", "logit_distillation"],
)
def test_every_op_says_that_the_cuda_library_is_missing(monkeypatch, call):
    monkeypatch.setattr(_library, "_cuda", _library.Library("cuda", None, False, "not built"))
    with FakeTensorMode(), pytest.raises(BuildError, match="not loaded: not built"):
        call()


def test_a_broken_cuda_library_is_not_said_to_be_another_fault(monkeypatch):
    def broken():
        raise BuildError("the CUDA op library does not load")

    monkeypatch.setattr(_library, "load_cuda", broken)
    report = build_info()
    assert report["cuda"]["reason"] == report["cpu"]["reason"] == "the CUDA op library does not load"
    assert not report["cuda"]["loaded"]


def test_build_info_says_what_runs():
    report = build_info()
    assert report["core"]["built_against_torch"]
    assert report["cpu"]["loaded"]
    assert report["cpu"]["threads"] == torch.get_num_threads()
    assert report["cpu"]["isa_reason"]
    assert isinstance(report["cuda"]["built"], bool)
    assert report["cuda"]["how"]
    assert report["cuda"]["reason"]
