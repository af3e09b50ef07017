"""The settings of an input fit, and the presets of each method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from gmcn.declared import OPTIONAL, Seed, at_least, at_most

# Mixtures that are there already are reduced: TreeHEM is their only fit.
REDUCTION = "treehem"
# A network that was trained on the same points makes them.
NETWORK = "pointgmm"
# The presets of a method; each can be overridden by name. "fps" is what the authors' code runs under the name
# of k-means: farthest points, every point to its nearest one, and the moments of those cells.
_CONVERGED = {"em_steps": 1000, "tolerance": 1e-4}
METHODS = {
    "kmeans": {"init": "kmeans++", "iterations": 100, "em_steps": 1, "tolerance": 0.0},
    "kmeans_em": {"init": "kmeans++", "iterations": 100, **_CONVERGED},
    "random_em": {"init": "random", "iterations": 0, **_CONVERGED},
    "eckart": {"branching": 5, "partition_threshold": 0.1, **_CONVERGED},
    "fps": {"init": "farthest", "iterations": 0, "em_steps": 0, "tolerance": 0.0},
    "points": {"init": "random"},
}

FLOOR = 1e-4  # of covariances, in units of the longest side squared


@dataclass(frozen=True)
class FitSettings:
    """One way to fit input mixtures."""

    components: Annotated[int, at_least(1), at_most(65_536), "Gaussians per shape or image (N)."]
    method: Annotated[
        Literal["kmeans", "kmeans_em", "random_em", "eckart", "fps", "points", "treehem", "pointgmm"],
        "kmeans: Lloyd's algorithm, then one EM step; kmeans_em, random_em: EM until it converges; eckart: "
        "hierarchical EM; fps: farthest points and one hard assignment; points: some of the points themselves, as "
        "Gaussians of the floor's size; treehem: for ready mixtures, their reduction; pointgmm: a level of the tree "
        "that a network makes, moved to the points.",
    ] = "kmeans"
    init: Annotated[
        Literal["kmeans++", "farthest", "random"],
        "First centres: of k-means, or of EM by itself (random); for `points` which ones, random or farthest.",
    ] = OPTIONAL
    iterations: Annotated[int, at_least(0), "At most so many Lloyd iterations."] = OPTIONAL
    em_steps: Annotated[
        int,
        at_least(0),
        "At most so many steps of expectation maximisation; pointgmm: exactly so many, with the network's mixture as "
        "what is known before, and 10 by default.",
    ] = OPTIONAL
    tolerance: Annotated[
        float,
        at_least(0),
        "EM ends after a step that found the mean log-likelihood per point less than this above the step before; 0: "
        "after all steps.",
    ] = OPTIONAL
    branching: Annotated[int, at_least(2), "eckart: Gaussians per node; the components are a power of it."] = OPTIONAL
    partition_threshold: Annotated[
        float, at_least(0), "eckart: least responsibility by which a point belongs to a child; below 1 / branching."
    ] = OPTIONAL
    variant: Annotated[
        str,
        "pointgmm: the variant, a network `kind: pointgmm` with `fit: null`, whose first seed makes the mixtures. It "
        "is trained on the training split of the same data set; `components` are those of one of its levels.",
    ] = OPTIONAL
    # Of smaller floors the rounding in float64 is more; from 1e-12 on, flat shapes have a density.
    covariance_floor: Annotated[
        float, at_least(1e-12), "Added to every variance, in units of the squared longest side of the shape."
    ] = FLOOR
    seed: Seed = 0
