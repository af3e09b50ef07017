"""The stages of the workflow and the other commands, in one list that needs no torch.

The command line, the rules, the status of a workflow and the tests read this list: the stages, their options and
settings, and the files whose edit runs them again. A new stage is its function, its rule and its entry here.
"""

from __future__ import annotations

from gmcn.stages.command import Command, Stage
from gmcn.stages.measures import MEASURES
from gmcn.stages.options import ANALYSIS, DATASET, DEVICE, FIT, INPUT, NAME, POINTS, VARIANT, Option
from gmcn.stages.others import OTHERS
from gmcn.stages.sources import (
    CHAIRS,
    CLOUDS,
    DEEP_MIXTURES,
    DOWNLOAD,
    FITTING,
    INPUTS,
    LEAST_SQUARES,
    MIXTURES,
    NETWORKS,
    PICTURES,
    POSES,
    TREES,
)

__all__ = ["HOUSEKEEPING", "MEASURES", "OTHERS", "STAGES", "Command", "Option", "Stage", "measures_of"]

STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "download",
            "fetch and verify a data set's published files",
            options=(DATASET, Option("--file", "only this one of the data set's files")),
            makes="download",
            path="datasets/{dataset}/{file}",
            job="{dataset}/{file}",
        ),
        Stage(
            "sample",
            "turn a data set into points or images",
            options=(DATASET, Option("--downloads", "the data set's downloaded files", metavar="FOLDER")),
            makes="points",
            path="points/{dataset}.safetensors",
            job="{dataset}",
            sources=(
                *(
                    f"gmcn/data/{name}.py"
                    for name in ("containers", "conversion", "kinds", "parallel", "samples", "sampling")
                ),
                "gmcn/data/{kind}.py",
            ),
            # With a star for the kind, these are no readers.
            without=(*DOWNLOAD, *INPUTS, "gmcn/data/__init__.py", "gmcn/data/preparation.py"),
            after=("download",),
            lighter="fewer `points` of the data set or a smaller --threads",
        ),
        Stage(
            "fit",
            "fit a mixture of Gaussians to every shape or image",
            options=(
                DATASET,
                FIT,
                POINTS,
                Option("--model", "the network of a fit by one (default: the first of its variant)", metavar="FILE"),
            ),
            makes="mixtures",
            path="mixtures/{dataset}_{fit}.safetensors",
            job="{dataset}_{fit}",
            sources=(*FITTING, *MIXTURES),
            of_tasks={  # of a fit by a network
                "generation": (
                    "gmcn/fitting/gmm/adaptation.py",
                    "gmcn/fitting/gmm/by_network.py",
                    "gmcn/mixture/*.py",
                )
            },
            after=("sample",),
            lighter="fewer `components` of the fit or a smaller --threads",
        ),
        Stage(
            "rival",
            "answer the test split by what is no network of ours",
            options=(DATASET, POINTS, Option("--rival", "name of a rival, as in a table's rows", required=True)),
            makes="rival",
            path="rivals/{dataset}_{rival}.json",
            job="{dataset}_{rival}",
            sources=(
                "gmcn/data/augmentation.py",
                "gmcn/data/folds.py",  # the vectors of clouds
                "gmcn/data/objects.py",
                "gmcn/data/views.py",
                *FITTING,  # of a mixture for each cloud
                *MIXTURES,
                "gmcn/results/cloud_sets.py",
                "gmcn/tasks/generation/measures_of_*.py",
                "gmcn/results/density_references.py",
                "gmcn/results/generation_references.py",
                "gmcn/results/kernels.py",
                "gmcn/results/outliers.py",
                *POSES,
                "gmcn/results/reading.py",
                "gmcn/results/registration_references.py",
                "gmcn/results/rivals.py",
                "gmcn/results/sample_quality.py",
                "gmcn/results/seeds.py",
                "gmcn/results/shape_em.py",
                "gmcn/tasks/classification/measures_of_answers.py",
                "gmcn/tasks/density/measures*.py",
                "gmcn/tasks/registration/measures_of_*.py",
                "gmcn/pictures/charts.py",
            ),
            after=("sample",),
        ),
        Stage(
            "train",
            "train a variant's network (all its seeds, or one)",
            options=(
                DATASET,
                VARIANT,
                INPUT,
                POINTS,
                DEVICE,
                Option(
                    "--devices", "processes on each node, one per device (default: the configuration's)", type="count"
                ),
                Option("--nodes", "nodes that train together, under srun (default: the configuration's)", type="count"),
                Option("--checkpoint-minutes", "minutes between checkpoints within an epoch", type="number"),
                Option("--seed", "one seed (default: all of the variant, one after the other)", type="integer"),
            ),
            makes="seed",
            path="runs/{dataset}_{variant}/seed{seed}",
            job="{dataset}_{variant}_seed{seed}",
            settings=("network", "training", "task"),
            sources=(  # the kernels among them: what they compute is what is learnt
                "csrc/**/*.h",
                "csrc/**/*.cpp",
                "csrc/**/*.cu",
                "csrc/**/*.cuh",
                *INPUTS,
                *MIXTURES,
                "gmcn/models/network.py",
                "gmcn/models/{network}.py",
                "gmcn/nn/*.py",
                "gmcn/ops/**/*.py",
                "gmcn/optim/*.py",
                "gmcn/ranks.py",
                "gmcn/tasks/task.py",
                "gmcn/tasks/{task}/objective.py",
                "gmcn/training/*.py",
            ),
            of_tasks={"registration": ("gmcn/ops/poses.py", "gmcn/registration/rotations.py")},
            # The table of networks, what only reads and says, the search of poses, and what networks of one kind need.
            without=(
                "csrc/inspect.cpp",
                "csrc/vector_rate.h",
                "csrc/poses/*",
                "gmcn/ops/poses.py",
                "gmcn/ops/reference/poses.py",
                *DEEP_MIXTURES,
                *TREES,
                "gmcn/models/__init__.py",
                "gmcn/models/loading.py",
                "gmcn/nn/merging.py",
                "gmcn/training/errors.py",
            ),
            after=("fit",),
            lighter="a smaller `training.batch_size`",
        ),
        Stage(
            "evaluate",
            "measure on the test split what the task measures",
            options=(*ANALYSIS, POINTS),
            makes="evaluation",
            path="runs/{dataset}_{variant}/evaluation.json",
            settings=("task", "outliers", "votes"),
            variations=("evaluate_task",),  # with the pictures of other tasks than classification
            sources=(
                "gmcn/results/evaluation.py",
                *NETWORKS,
                "gmcn/tasks/{task}/measures*.py",
                "gmcn/pictures/charts.py",
            ),
            of_tasks={
                "classification": (*PICTURES, "gmcn/pictures/mistakes.py"),
                "generation": (*CHAIRS, "gmcn/fitting/gmm/adaptation.py", *CLOUDS),
                "registration": (*POSES, "gmcn/registration/belief.py", *FITTING, *MIXTURES, *CLOUDS),
            },
            after=("train",),
            lighter="`--device cpu`",
        ),
        *MEASURES,
        Stage(
            "summarise",
            "gather everything about a result in one JSON",
            options=(
                DATASET,
                VARIANT,
                INPUT,
                POINTS,
                Option("--training", "training.json of every seed", nargs="+", metavar="FILE"),
                *(
                    Option(f"--{part}", f"the variant's {part}.json", metavar="FILE")
                    for part in ("evaluation", *(stage.makes for stage in MEASURES))
                ),
            ),
            makes="result",
            path="{dataset}_{variant}.json",
            sources=(
                "gmcn/results/summary.py",
                "gmcn/results/reading.py",
                "gmcn/results/seeds.py",
                "gmcn/pictures/charts.py",
            ),
            after=("train", "evaluate", *(stage.name for stage in MEASURES)),
        ),
        Stage(
            "table",
            "set results beside published values",
            options=(
                NAME,
                Option(
                    "--inputs", "what there is to show (default: looked for in the results)", nargs="*", metavar="FILE"
                ),
                Option("--maker", "how a missing result is made, for its row", default="snakemake --cores all"),
            ),
            makes="table",
            path="tables/{table}",
            job="{table}",
            sources=(
                "gmcn/config/resolving.py",
                "gmcn/config/sections.py",
                "gmcn/config/tables.py",
                "gmcn/data/folds.py",
                "gmcn/data/objects.py",
                "gmcn/results/folds.py",
                "gmcn/results/table*.py",
                "gmcn/results/metrics.py",
                "gmcn/results/reading.py",
                "gmcn/tasks/{task}/measures*.py",
                "gmcn/results/footprint_theory.py",
            ),
            after=("summarise", "rival", "least-squares"),
        ),
        Stage(
            "least-squares",
            "measure the alternatives to the dense fit (the paper's table 7)",
            options=(DEVICE,),
            makes="least-squares",
            path="measurements/least-squares.json",
            calls="gmcn.papers.gmcn.least_squares:measure",
            job="least-squares",
            sources=(
                "csrc/common/*.h",
                "csrc/evaluate/*",
                "csrc/paths/*.cpp",
                "csrc/relu_fit/*",
                *MIXTURES,
                "gmcn/ops/**/*.py",
                *LEAST_SQUARES,
            ),
        ),
        Stage(
            "draw-fits",
            "draw the fits of some objects side by side",
            options=(
                DATASET,
                POINTS,
                Option("--mixtures", "mixtures artifacts, one per fit of the figure", nargs="+", metavar="FILE"),
            ),
            makes="fits",
            path="figures/{dataset}_fits",
            job="{dataset}_fits",
            sources=(
                *PICTURES,
                "gmcn/ops/**/*.py",
                "gmcn/pictures/fit_figures.py",
                "gmcn/pictures/interactive.py",
            ),
            after=("sample", "fit"),
        ),
        Stage(
            "draw-figure",
            "draw one of the paper's figures with our results",
            options=(
                NAME,
                Option("--model", "the trained network that it shows", metavar="FILE"),
                Option("--mixtures", "what that network was trained on", metavar="FILE"),
            ),
            makes="figure",
            path="figures/{figure}",
            job="{figure}",
            sources=(
                *PICTURES,
                "gmcn/config/illustrations.py",
                "gmcn/pictures/network_figures.py",
                "gmcn/papers/gmcn/*.py",
                *LEAST_SQUARES,
                # Of the figures that show no network.
                "csrc/common/*.h",
                "csrc/evaluate/*",
                "csrc/paths/*.cpp",
                "csrc/relu_fit/*",
                *MIXTURES,
                "gmcn/ops/**/*.py",
            ),
            after=("train",),
        ),
        Stage(
            "draw-layers",
            "draw how Gaussian mixture layers behave, from trainings of its own",
            options=(
                NAME,
                POINTS,
                Option("--kernels", "results of infinite networks to show beside them", nargs="*", metavar="FILE"),
            ),
            makes="measured-figure",
            path="figures/{figure}",
            job="{figure}",
            sources=(
                *PICTURES,
                "gmcn/config/illustrations.py",
                "gmcn/data/objects.py",
                "gmcn/fitting/__init__.py",
                "gmcn/mixture/*.py",
                "gmcn/models/mlp.py",
                "gmcn/models/network.py",
                "gmcn/models/point_sets.py",
                "gmcn/nn/__init__.py",
                "gmcn/nn/activations.py",
                "gmcn/nn/gaussian_mixture_layer.py",
                "gmcn/nn/mean_answer.py",
                *(f"gmcn/ops/{name}.py" for name in ("__init__", "autograd", "checks", "layer_moments", "library")),
                "gmcn/ops/reference/layer_moments.py",
                "gmcn/optim/*.py",
                "gmcn/papers/gm_layers/*.py",
                "gmcn/precision.py",
                "gmcn/results/allocations.py",
            ),
            after=("sample",),
        ),
        Stage(
            "draw-results",
            "draw results side by side, as the figures of a paper",
            options=(
                NAME,
                Option(
                    "--inputs",
                    "what it shows, each <data set>_<variant, rival or points>=<file> (default: those in the results)",
                    nargs="+",
                    metavar="NAME=FILE",
                ),
            ),
            makes="compared-figure",
            path="figures/{figure}",
            job="{figure}",
            variations=("draw_clouds",),  # with a page to turn
            sources=(
                "gmcn/config/illustrations.py",
                *CLOUDS,
                "gmcn/papers/comparisons.py",
                "gmcn/papers/dcgmm/*.py",
                "gmcn/papers/pointgmm/*.py",
                *CHAIRS,
                "gmcn/results/reading.py",
                "gmcn/tasks/generation/*.py",
            ),
            after=("sample", "train", "evaluate", "summarise", "rival"),
        ),
    )
}
# Modules whose edit runs no stage again: they read, write and print, and compute no number.
HOUSEKEEPING = (
    "gmcn.addresses",
    "gmcn.artifacts",
    "gmcn.console",
    "gmcn.data.preparation",
    "gmcn.declared",
    "gmcn.device",
    "gmcn.errors",
    "gmcn.faults",
    "gmcn.folders",
    "gmcn.launching",
    "gmcn.models",
    "gmcn.models.loading",
    "gmcn.progress",
    "gmcn.tasks",
    "gmcn.tasks.metric",
    "gmcn.training.errors",
    "gmcn.stages",
    "gmcn.stages.paths",
    "gmcn.tracking",
)


def measures_of(kind: str) -> list[str]:
    """The measurements for a kind of network besides the evaluation, by the names of their artifacts."""
    return [stage.makes for stage in MEASURES if stage.networks is None or kind in stage.networks]
