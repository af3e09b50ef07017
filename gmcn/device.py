"""Choosing the device a stage runs on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch

from gmcn.build_info import has_cuda_kernels
from gmcn.errors import InputError, unknown

log = logging.getLogger(__name__)


def select_device(name: str) -> torch.device:
    """``auto`` (the GPU where there is one and kernels for it), ``cpu`` or ``cuda`` as a device."""
    if name not in ("auto", "cpu", "cuda"):
        raise unknown("device", name, ("auto", "cpu", "cuda"))
    missing = "torch sees no GPU here"
    if torch.cuda.is_available():
        missing = None if has_cuda_kernels() else "gmcn was built without CUDA kernels"
        if name == "auto" and missing:
            log.warning("the GPU is not used: %s; build it again where nvcc is, or take --device cpu", missing)
    if name == "cuda" and missing:
        raise InputError(f"--device cuda: {missing}; use --device cpu or auto")
    return torch.device("cpu" if name == "cpu" or missing else "cuda")


# How torch computes products of float32: on a GPU it rounds the factors of convolutions to the 11 bits of TF32 unless
# told otherwise, and those of matrices where the caller wants that.
PRODUCTS = (torch.backends.cudnn.conv, torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)


@contextlib.contextmanager
def own_defaults() -> Iterator[None]:
    """Torch's default device and dtype are the caller's; within, also for other libraries, they are CPU and float32.

    So is what torch may round: within, no product of float32.
    """
    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    precisions = [products.fp32_precision for products in PRODUCTS]
    torch.set_default_dtype(torch.float32)
    for products in PRODUCTS:
        products.fp32_precision = "ieee"
    try:
        # This slows every call of torch: only where there is a default to hide.
        with torch.device("cpu") if device.type != "cpu" else contextlib.nullcontext():
            yield
    finally:
        torch.set_default_dtype(dtype)
        for products, precision in zip(PRODUCTS, precisions, strict=True):
            products.fp32_precision = precision
