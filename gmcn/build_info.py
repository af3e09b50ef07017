"""``gmcn.info()``: the parts that were built, and the machine."""

from __future__ import annotations

from typing import Any

import torch


def has_cuda_kernels() -> bool:
    """True if the compiled operations were built for CUDA devices."""
    import gmcn.ops  # noqa: F401  registers the operations

    return torch._C._dispatch_has_kernel_for_dispatch_key("gmcn::relu_fit", "CUDA")


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
