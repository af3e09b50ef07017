"""Takes libraries that were built elsewhere, where they load: python benchmarks/gpu_library.py FOLDER [cuda|cpu].

They are tried where they are, then copied beside the package. The status is 1, with a sentence, where one is missing or
does not load here, and nothing is copied.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

import torch

PACKAGE = Path(__file__).resolve().parent.parent / "gmcn"


def usable(folder: Path, device: str) -> list[Path]:
    """The libraries in ``folder`` for this Python and torch. Raises OSError or ImportError where one does not do."""
    names = ["_kernels.*so", f"_inspect{sysconfig.get_config_var('EXT_SUFFIX')}"]
    names += ["_kernels_cuda.*so"] if device == "cuda" else []
    paths = [next(iter(folder.glob(name)), folder / name) for name in names]
    for path in paths:
        if not path.is_file():
            raise ImportError(f"{path} does not exist")
        if path.name.startswith("_inspect"):
            spec = importlib.util.spec_from_file_location("gmcn._inspect", path)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        else:
            torch.ops.load_library(str(path))
    if device == "cuda" and not torch._C._dispatch_has_kernel_for_dispatch_key("gmcn::relu_fit", "CUDA"):
        raise ImportError(f"{paths[-1]} has no CUDA kernels")
    return paths


def main(folder: str, device: str = "cuda") -> str | None:
    try:
        paths = usable(Path(folder).resolve(), device)
    except (OSError, ImportError) as error:
        return f"the libraries in {folder} do not do here: {error}"
    for path in paths:
        if path.parent != PACKAGE:
            shutil.copy2(path, PACKAGE)
    print(f"taken: {', '.join(path.name for path in paths)}")
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
