"""The stages of the workflow and the other commands, in one list that needs no torch.

The command line, the rules, the status of a workflow and the tests read from here what stages there are, and which
files make them run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """One stage: a command, and a rule of the same name.

    ``sources`` are patterns of the files whose edit can change what the stage makes, without those of ``without``;
    what the stages ``after`` which it comes are made of is not repeated, since their outputs are its inputs. ``makes``
    says of what it makes something: of a "dataset" of the configuration, of something "named" by itself (a table, a
    figure), or "once". ``lighter`` says how it needs less memory.
    """

    name: str
    summary: str
    sources: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    lighter: str | None = None
    makes: str = "dataset"

    def files(self, root: Path) -> list[Path]:
        """The files of ``sources`` below the checkout ``root``, in order."""
        excluded = {root / name for name in self.without}
        return sorted({file for pattern in self.sources for file in root.glob(pattern)} - excluded)


# Densities, which share the package with the signed mixtures, train nothing yet.
_MIXTURES = ("gmcn/mixture/__init__.py", "gmcn/mixture/affine.py", "gmcn/mixture/mixture.py", "gmcn/precision.py")
_DOWNLOAD = ("gmcn/data/download.py", "gmcn/data/transfer.py")
_INPUTS = (  # of trainings, from what `fit` has made
    "gmcn/data/augmentation.py",
    "gmcn/data/folds.py",
    "gmcn/data/objects.py",
)
_NETWORKS = ("gmcn/results/networks.py", "gmcn/results/origin.py", "gmcn/results/seeds.py")
_LEAST_SQUARES = ("gmcn/papers/gmcn/least_squares.py", "gmcn/results/rmse.py", "gmcn/results/seeds.py")
_PICTURES = (
    "gmcn/pictures/drawing.py",
    "gmcn/pictures/rendering.py",
    "gmcn/pictures/shapes.py",
    "gmcn/pictures/still.py",
    "gmcn/pictures/thinning.py",
)

STAGES = {
    stage.name: stage
    for stage in (
        Stage("download", "fetch and verify a data set's published files"),
        Stage(
            "sample",
            "turn a data set into points or images",
            sources=("gmcn/data/*.py",),
            without=(*_DOWNLOAD, *_INPUTS, "gmcn/data/preparation.py"),
            after=("download",),
            lighter="fewer `points` of the data set or a smaller --threads",
        ),
        Stage(
            "fit",
            "fit a mixture of Gaussians to every shape or image",
            sources=(
                "csrc/common/*.h",
                "csrc/fit/*.h",
                "csrc/fit/*.cpp",
                "csrc/reduce_treehem/*.h",  # which reduces splats
                "csrc/reduce_treehem/*.cpp",
                "gmcn/fitting/*.py",
                *_MIXTURES,
                "gmcn/ops/autograd.py",
                "gmcn/ops/checks.py",
                "gmcn/ops/library.py",
                "gmcn/ops/reduce_treehem.py",
            ),
            after=("sample",),
            lighter="fewer `components` of the fit or a smaller --threads",
        ),
        Stage(
            "train",
            "train a variant's network (all its seeds, or one)",
            sources=(  # the kernels among them: what they compute is what is learnt
                "csrc/**/*.h",
                "csrc/**/*.cpp",
                "csrc/**/*.cu",
                "csrc/**/*.cuh",
                *_INPUTS,
                *_MIXTURES,
                "gmcn/models/*.py",
                "gmcn/nn/*.py",
                "gmcn/ops/**/*.py",
                "gmcn/ranks.py",
                "gmcn/tasks/*.py",
                "gmcn/tasks/classification/objective.py",
                "gmcn/training/*.py",
            ),
            without=("gmcn/models/loading.py",),
            after=("fit",),
            lighter="a smaller `training.batch_size`",
        ),
        Stage(
            "evaluate",
            "measure accuracy on the test split",
            sources=(
                "gmcn/results/evaluation.py",
                *_NETWORKS,
                "gmcn/tasks/classification/measures.py",
                "gmcn/pictures/charts.py",
            ),
            after=("train",),
            lighter="`--device cpu`",
        ),
        Stage(
            "probe",
            "measure the fitting errors layer by layer",
            sources=("gmcn/results/probing.py", "gmcn/results/rmse.py", *_NETWORKS),
            after=("train",),
            lighter="fewer `probe.positions` or `--device cpu`",
        ),
        Stage(
            "footprint",
            "compare the memory in theory and in practice",
            sources=("gmcn/results/footprint*.py", "gmcn/results/measured_memory.py", *_NETWORKS),
            after=("train",),
            lighter="`--device cpu`",
        ),
        Stage(
            "summarise",
            "gather everything about a result in one JSON",
            sources=(
                "gmcn/results/summary.py",
                "gmcn/results/reading.py",
                "gmcn/results/seeds.py",
                "gmcn/pictures/charts.py",
            ),
            after=("train", "evaluate", "probe", "footprint"),
        ),
        Stage(
            "table",
            "set results beside published values",
            sources=(
                "gmcn/config/resolving.py",
                "gmcn/config/tables.py",
                "gmcn/data/folds.py",
                "gmcn/data/objects.py",
                "gmcn/results/folds.py",
                "gmcn/results/table*.py",
                "gmcn/results/metrics.py",
                "gmcn/results/reading.py",
                "gmcn/tasks/*/measures.py",
                "gmcn/results/footprint_theory.py",
            ),
            after=("summarise", "least-squares"),
            makes="named",
        ),
        Stage(
            "least-squares",
            "measure the alternatives to the dense fit (the paper's table 7)",
            sources=(
                "csrc/common/*.h",
                "csrc/evaluate/*",
                "csrc/paths/*.cpp",
                "csrc/relu_fit/*",
                *_MIXTURES,
                "gmcn/ops/**/*.py",
                *_LEAST_SQUARES,
            ),
            makes="once",
        ),
        Stage(
            "draw-fits",
            "draw the fits of some objects side by side",
            sources=(
                *_PICTURES,
                "gmcn/ops/**/*.py",
                "gmcn/pictures/fit_figures.py",
                "gmcn/pictures/interactive.py",
            ),
            after=("sample", "fit"),
        ),
        Stage(
            "draw-figure",
            "draw one of the paper's figures with our results",
            sources=(
                *_PICTURES,
                "gmcn/config/illustrations.py",
                "gmcn/pictures/network_figures.py",
                "gmcn/papers/gmcn/*.py",
                *_LEAST_SQUARES,
            ),
            after=("train",),
            makes="named",
        ),
    )
}
# What a stage may use without being made again for its sake: it reads, writes and says, and computes no number.
HOUSEKEEPING = (
    "gmcn.addresses",
    "gmcn.artifacts",
    "gmcn.console",
    "gmcn.data.preparation",
    "gmcn.device",
    "gmcn.errors",
    "gmcn.folders",
    "gmcn.launching",
    "gmcn.models.loading",
    "gmcn.progress",
    "gmcn.tracking",
)
OTHERS = {
    "predict": "classify meshes, clouds, images or mixtures with a trained network",
    "export": "make a pretrained network of a result",
    "show": "look at a cloud, a mesh, an image or a mixture",
    "names": "list the data sets, fits and variants of the configuration, and pretrained networks",
    "status": "show what of a target exists, runs and is missing",
    "info": "show versions, compiled kernels and devices",
    "store": "create the MLflow store and send what could not be logged (each workflow does so first)",
}
