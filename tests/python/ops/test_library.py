"""Loading of the compiled op libraries, and what is said where that does not work."""

import pytest
import torch

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


def test_build_info_says_what_runs():
    report = build_info()
    assert report["core"]["built_against_torch"]
    assert report["cpu"]["loaded"]
    assert report["cpu"]["threads"] == torch.get_num_threads()
    assert report["cpu"]["isa_reason"]
    assert isinstance(report["cuda"]["built"], bool)
    assert report["cuda"]["how"]
    assert report["cuda"]["reason"]
