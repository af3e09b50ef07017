"""Plain-torch twins of the operations: slow, obviously right, differentiable by autograd, in float32 or float64.

Same names, signatures and results as :mod:`gmcn.ops`. They are there to check the compiled kernels and to be read;
they do not check their arguments.
"""

from gmcn.ops.reference.convolve import convolve
from gmcn.ops.reference.convolve_fit import convolve_fit
from gmcn.ops.reference.convolve_reduce_treehem import convolve_reduce_treehem
from gmcn.ops.reference.convolve_relu_fit import convolve_relu_fit
from gmcn.ops.reference.convolve_relu_nodes import convolve_relu_nodes
from gmcn.ops.reference.evaluate import evaluate, integrate
from gmcn.ops.reference.largest_rows import largest_rows
from gmcn.ops.reference.layer_moments import layer_moments
from gmcn.ops.reference.reduce_em import reduce_em
from gmcn.ops.reference.reduce_treehem import reduce_treehem
from gmcn.ops.reference.refine_em import refine_em
from gmcn.ops.reference.relu_fit import relu_fit
from gmcn.ops.reference.tree_log_prob import tree_log_prob

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
    "refine_em",
    "relu_fit",
    "tree_log_prob",
]
