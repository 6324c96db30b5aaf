"""Print `folder;version;cuda` of the torch that this interpreter would import, without importing it.

Used by EccsnnTorch.cmake; exits with a one-line reason on stderr when there is none.
"""

import importlib.util
import pathlib
import runpy
import sys

spec = importlib.util.find_spec("torch")
if spec is None or not spec.submodule_search_locations:
    sys.exit("no module named torch")
folder = pathlib.Path(next(iter(spec.submodule_search_locations)))
if not (folder / "version.py").is_file():
    sys.exit(f"{folder} has no version.py: the installation of torch is broken")
version = runpy.run_path(str(folder / "version.py"))
if not (folder / "include" / "torch" / "csrc" / "stable" / "library.h").is_file():
    sys.exit(f"torch {version['__version__']} in {folder} has no stable ABI headers: it is too old")
print(folder.as_posix(), version["__version__"], version.get("cuda") or "none", sep=";")
