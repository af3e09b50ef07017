"""Source files that several stages have in common, as patterns below the project."""

from __future__ import annotations

# Densities, which share the package with the signed mixtures, are sources of the networks that are densities.
MIXTURES = ("gmcn/mixture/__init__.py", "gmcn/mixture/affine.py", "gmcn/mixture/mixture.py", "gmcn/precision.py")
DOWNLOAD = ("gmcn/data/download.py", "gmcn/data/transfer.py")
INPUTS = (  # of trainings, from what `fit` has made
    "gmcn/data/augmentation.py",
    "gmcn/data/folds.py",
    "gmcn/data/objects.py",
    "gmcn/data/views.py",
)
FITTING = (
    "csrc/common/*.h",
    "csrc/fit/*.h",
    "csrc/fit/*.cpp",
    "csrc/reduce_treehem/*.h",  # which reduces splats
    "csrc/reduce_treehem/*.cpp",
    "gmcn/fitting/*.py",
    "gmcn/ops/autograd.py",
    "gmcn/ops/checks.py",
    "gmcn/ops/library.py",
    "gmcn/ops/reduce_treehem.py",
)
POSES = (  # searched over mixtures
    "csrc/poses/*",
    "gmcn/mixture/*.py",
    "gmcn/ops/poses.py",
    *(f"gmcn/registration/{name}.py" for name in ("__init__", "levels", "modes", "pairs", "rotations", "search")),
)
# Of networks of one kind alone: deep mixtures; codes of clouds, and trees of mixtures.
DEEP_MIXTURES = tuple(
    f"gmcn/nn/{name}.py" for name in ("annealing", "background", "folding", "gmm_layer", "gmm_objective", "gmm_stack")
)
TREES = tuple(f"gmcn/nn/{name}.py" for name in ("point_encoder", "tree_decoder", "tree_likelihood"))
NETWORKS = ("gmcn/results/networks.py", "gmcn/results/origin.py", "gmcn/results/seeds.py")
LEAST_SQUARES = ("gmcn/papers/gmcn/least_squares.py", "gmcn/results/rmse.py", "gmcn/results/seeds.py")
PICTURES = (
    "gmcn/pictures/drawing.py",
    "gmcn/pictures/rendering.py",
    "gmcn/pictures/shapes.py",
    "gmcn/pictures/still.py",
    "gmcn/pictures/thinning.py",
)
CHAIRS = ("gmcn/data/meshes.py", "gmcn/data/primitives.py")  # synthetic ones
# Of clouds, still and to turn.
CLOUDS = (*PICTURES, "gmcn/pictures/clouds.py", "gmcn/pictures/interactive.py")
