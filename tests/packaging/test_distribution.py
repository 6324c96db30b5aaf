"""From the working tree to an sdist, from that to a wheel, from that into an environment of its own: it works there.

Needs the dev extra (build, scikit-build-core, pybind11, cmake, ninja) and a compiler, and no network; takes minutes.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def run(*command, cwd, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (archive,) = out.glob("eccsnn-*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from the sdist alone, without CUDA to be quick."""
    out = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    (source,) = (path for path in out.iterdir() if path.is_dir())
    launcher = ["-Ccmake.define.CMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    run(
        sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", out,
        "-Ccmake.define.ECCSNN_CUDA=OFF", *launcher, cwd=out,
    )  # fmt: skip
    (found,) = out.glob("eccsnn-*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The Python of a new environment with the wheel; what the wheel depends on comes from this one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site_packages, wheel, cwd=folder)
    (site_packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python", site_packages


def test_sdist_holds_the_sources_and_nothing_built(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for wanted in (
        "CMakeLists.txt",
        "pyproject.toml",
        "LICENSE",
        "cmake/find_torch.py",
        "csrc/core/lif_forward_kernels.cpp",
        "csrc/cuda/lif.cu",
        "csrc/torch/library.cpp",
        "python/eccsnn/ops/lif.py",
    ):
        assert wanted in names
    assert any(name.startswith("configs/") and name.endswith(".yaml") for name in names)
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]
    assert not [name for name in names if name.startswith(("build/", "runs/", ".git/"))]


def test_wheel_holds_what_it_needs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "eccsnn/_ops_cpu.so" in names
    assert "eccsnn/_ops_cuda.so" not in names
    assert [name for name in names if name.startswith("eccsnn/_core.")]
    assert [name for name in names if name.startswith("eccsnn/configs/") and name.endswith(".yaml")]
    assert "eccsnn/py.typed" in names
    assert not [name for name in names if name.endswith((".cpp", ".h", ".cu", ".a"))]


def test_wheel_works_outside_the_source_tree(environment, tmp_path):
    python, site_packages = environment
    program = """
import json, pathlib, torch, eccsnn
from eccsnn.build_info import build_info
from eccsnn.ops import lif
x = torch.full((4, 1), 1.5, requires_grad=True)
spikes, v = lif(x)
spikes.sum().backward()
configs = [p.name for p in (pathlib.Path(eccsnn.__file__).parent / "configs").rglob("*.yaml")]
print(json.dumps({"file": eccsnn.__file__, "spikes": spikes.flatten().tolist(), "grad": x.grad.abs().sum().item(),
                  "configs": configs, "info": build_info()}))
"""
    found = json.loads(run(python, "-c", program, cwd=tmp_path))
    assert Path(found["file"]).is_relative_to(site_packages)
    assert found["spikes"] == [0.0, 1.0, 0.0, 1.0]
    assert found["grad"] > 0
    assert found["configs"]
    assert Path(found["info"]["cpu"]["library"]).is_relative_to(site_packages)
    assert not found["info"]["cuda"]["built"]
    assert "ECCSNN_CUDA=OFF" in found["info"]["cuda"]["how"]


def test_command_line_works_outside_the_source_tree(environment, tmp_path):
    python, _ = environment
    report = json.loads(run(python, "-m", "eccsnn.cli", "info", "--json", cwd=tmp_path))
    assert report["build"]["cpu"]["loaded"]
