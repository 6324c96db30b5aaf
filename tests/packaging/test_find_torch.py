"""How the build finds torch, and what it says where there is none that can be used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
FIND_TORCH = ROOT / "cmake" / "find_torch.py"


@pytest.fixture
def bare_python(tmp_path):
    """An interpreter of its own, with nothing installed; its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    (site_packages,) = (tmp_path / "bare").glob("lib/python*/site-packages")
    return tmp_path / "bare" / "bin" / "python", site_packages


def configure(build, torch_python):
    cmake = shutil.which("cmake")
    assert cmake, "cmake is not on PATH: install the dev extra"
    return subprocess.run(
        [cmake, "-S", ROOT, "-B", build, "-G", "Ninja", f"-DPython_EXECUTABLE={sys.executable}", "-DECCSNN_CUDA=OFF",
         f"-DCMAKE_MAKE_PROGRAM={shutil.which('ninja')}"],
        env={**os.environ, "ECCSNN_TORCH_PYTHON": str(torch_python)},
        capture_output=True,
        text=True,
    )  # fmt: skip


def test_finds_this_torch():
    done = subprocess.run([sys.executable, "-E", FIND_TORCH], capture_output=True, text=True, check=True)
    folder, version, cuda = done.stdout.strip().split(";")
    assert Path(folder) == Path(torch.__file__).parent
    assert version == torch.__version__
    assert cuda == (torch.version.cuda or "none")


def test_is_not_misled_by_an_isolated_build_environment(tmp_path):
    # pip hides the target's packages from the build with PYTHONPATH and a sitecustomize there.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.path = [p for p in sys.path if 'site-packages' not in p]\n"
    )
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-E", FIND_TORCH], env=environment, capture_output=True, text=True, check=True
    )
    assert str(tmp_path) not in done.stdout
    assert torch.__version__ in done.stdout


def test_says_what_to_do_without_torch(bare_python, tmp_path):
    python, _ = bare_python
    done = configure(tmp_path / "build", python)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "needs PyTorch >= 2.11" in said
    assert "no module named torch" in said
    assert "pip install 'torch>=2.11' && pip install ." in said
    assert "--no-build-isolation" in said
    assert "ECCSNN_TORCH_PYTHON" in said


def test_says_what_to_do_with_an_old_torch(bare_python, tmp_path):
    python, site_packages = bare_python
    stable = site_packages / "torch" / "include" / "torch" / "csrc" / "stable"
    stable.mkdir(parents=True)
    (stable / "library.h").write_text("")
    (site_packages / "torch" / "__init__.py").write_text("raise RuntimeError('must not be imported')\n")
    (site_packages / "torch" / "version.py").write_text("__version__ = '2.10.1+cpu'\ncuda = None\n")
    done = configure(tmp_path / "build", python)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "needs PyTorch >= 2.11" in said
    assert "has 2.10.1+cpu" in said
    assert "--upgrade" in said
