"""Says what this machine lacks for `make demo` and `make test`, before anything is downloaded."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

APT = "on Debian or Ubuntu: sudo apt-get install g++ python3-venv python3-dev make"


def compiles_cxx20(compiler: str) -> bool:
    """Whether the compiler accepts a C++20 program."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text("#include <span>\n#include <bit>\nint main() { return std::popcount(0u); }\n")
        done = subprocess.run([compiler, "-std=c++20", "-fsyntax-only", str(source)], capture_output=True, check=False)
        return done.returncode == 0


def main() -> int:
    """Prints what is missing; 0 when nothing is."""
    problems = []
    if sys.version_info < (3, 11):
        problems.append(
            f"Python is {sys.version.split()[0]}, expected 3.11 or newer; name another one: make demo PYTHON=python3.12"
        )
    try:
        import ensurepip  # noqa: F401 (what `python -m venv` needs)
        import venv  # noqa: F401
    except ImportError:
        problems.append(f"Python cannot make virtual environments; {APT}")
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        problems.append(f"no C++ compiler; {APT}")
    elif not compiles_cxx20(compiler):
        problems.append(f"{compiler} does not compile C++20; install g++ 11 or newer, or clang 14 or newer")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
