"""Differentiable operations on Gaussian mixtures, compiled for the CPU and for CUDA.

Each has a plain-torch twin of the same name and signature in :mod:`gmcn.ops.reference`.

What a shape or an option says is refused with ValueError on every device. What only the values say (a covariance that
is not positive definite, a negative weight to reduce) raises RuntimeError on the CPU; on CUDA, where asking would make
the program wait for the GPU, the results of that mixture become not-a-number.
"""

from gmcn.ops import reference
from gmcn.ops.convolve import convolve, convolve_fit
from gmcn.ops.convolve_reduce_treehem import convolve_reduce_treehem
from gmcn.ops.convolve_relu_fit import convolve_relu_fit
from gmcn.ops.convolve_relu_nodes import convolve_relu_nodes
from gmcn.ops.evaluate import evaluate
from gmcn.ops.integrate import integrate
from gmcn.ops.largest_rows import largest_rows
from gmcn.ops.layer_moments import layer_moments
from gmcn.ops.reduce_em import reduce_em
from gmcn.ops.reduce_treehem import reduce_treehem
from gmcn.ops.refine_em import refine_em
from gmcn.ops.relu_fit import relu_fit
from gmcn.ops.tree_log_prob import tree_log_prob

__all__ = [
    "convolve",
    "convolve_fit",
    "convolve_reduce_treehem",
    "convolve_relu_fit",
    "convolve_relu_nodes",
    "evaluate",
    "integrate",
    "largest_rows",
    "layer_moments",
    "reduce_em",
    "reduce_treehem",
    "reference",
    "refine_em",
    "relu_fit",
    "tree_log_prob",
]
