"""Differentiable operations on Gaussian mixtures (temporary: the compiled ones are being built)."""

from gmcn.ops.reference import (  # noqa: F401
    convolve,
    convolve_fit,
    evaluate,
    integrate,
    reduce_em,
    reduce_treehem,
    relu_fit,
)
