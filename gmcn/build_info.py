"""What was built and what this machine offers: ``gmcn.info()``, and the choice of a device."""

from __future__ import annotations

from typing import Any

import torch

from gmcn.errors import InputError


def has_cuda_kernels() -> bool:
    """Whether the compiled operations exist for CUDA devices."""
    import gmcn.ops  # noqa: F401  registers the operations

    return torch._C._dispatch_has_kernel_for_dispatch_key("gmcn::relu_fit", "CUDA")


def choose_device(wanted: str = "auto") -> str:
    """The device for ``auto``, ``cpu`` or ``cuda``; InputError where CUDA was asked for and cannot be had.

    ``auto`` is CUDA where a GPU and kernels for it exist, else the CPU.
    """
    usable = torch.cuda.is_available() and has_cuda_kernels()
    if wanted == "auto":
        return "cuda" if usable else "cpu"
    if wanted.startswith("cuda") and not usable:
        missing = "torch finds no GPU" if not torch.cuda.is_available() else "gmcn was built without CUDA kernels"
        raise InputError(f"device '{wanted}' cannot be used: {missing}; use --device cpu")
    return wanted


def info() -> dict[str, Any]:
    """Versions, kernels built, code path in use, threads and devices."""
    import gmcn
    import gmcn.ops
    from gmcn import _inspect

    return {
        "gmcn": gmcn.__version__,
        "torch": torch.__version__,
        "compiler": _inspect.compiler,
        "cpu_path": _inspect.cpu_path(),
        "cuda_kernels": has_cuda_kernels(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
