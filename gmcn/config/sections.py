"""Sections of the configuration that no class of another room reads: tables, figures, tracking.

:mod:`gmcn.schema` joins them with the declarations of data sets, fits, networks and trainings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from gmcn.declared import (
    DISTINCT,
    FILLED,
    OPTIONAL,
    SEEDS,
    WRITTEN,
    Choice,
    at_least,
    at_most_items,
    matching,
    one_of,
    together,
)
from gmcn.tasks import DEFAULT_TASK


class Rival(NamedTuple):
    """What tables of results may have as a row besides variants."""

    label: str
    task: str = DEFAULT_TASK


RIVALS = {
    "nearest-neighbour": Rival("nearest neighbour"),
    "size-neighbours": Rival("size alone, 15 nearest neighbours"),
    "logistic": Rival("logistic regression"),
    "nngp": Rival("infinite two-layer perceptron, read-out trained (NNGP)"),
    "ntk": Rival("infinite two-layer perceptron, linearised (NTK)"),
    "outliers-nearest-neighbour": Rival("distance to the nearest neighbour", "density"),
    "outliers-ppca": Rival("probabilistic principal components", "density"),
    "outliers-sklearn": Rival("scikit-learn's mixture, 25 diagonal", "density"),
    "clusters-kmeans": Rival("k-means, 25 clusters", "density"),
    "test-set": Rival("the test objects themselves", "density"),
    "generation-training": Rival("training objects", "generation"),
    "generation-em": Rival("EM of each object", "generation"),
    "completion-nearest": Rival("nearest training object", "generation"),
    "registration-search": Rival("mixtures, without training", "registration"),
    "registration-gicp": Rival("GICP (small_gicp)", "registration"),
    "registration-icp": Rival("ICP (Open3D)", "registration"),
    "registration-icp-turns": Rival("ICP from 12 turns", "registration"),
    "registration-ransac": Rival("FPFH, RANSAC, ICP", "registration"),
    "registration-fgr": Rival("FPFH, fast global registration, ICP", "registration"),
}

Name = Annotated[
    str,
    matching("^[A-Za-z0-9][A-Za-z0-9.-]*$"),
    "letters, digits, dots and hyphens only; an underscore separates data set and variant in file names.",
]
ResultName = Annotated[str, matching("^[^_]+_[^_]+$")]
Label = Annotated[
    str, WRITTEN, "What stands at the beginning of the row; without it the layout of the network, or the rival."
]
Footnotes = Annotated[list[Annotated[str, WRITTEN, "A footnote."]], "Footnotes."]
Title = Annotated[str, WRITTEN, "What stands above the table."]
Value = Annotated[float | str, "The published value."]

Metric = Annotated[
    str,
    "A metric of the rows' tasks (of classification accuracy, class_accuracy, loss, calibration_error; of density "
    "log_likelihood, auc, auc_others, dunn, davies_bouldin, nmi, purity; of generation log_likelihood, adapted, "
    "chamfer, completion, missing, parts, cells; of registration under_10, median, any_mode, weight, length, alone, "
    "alone_median, milliseconds, wholes, small_parts, within_30, noise), worst-<metric> (that of the worst seed), dead "
    "(components of densities), js, ndb, repeats (of their samples), jsd, copies and nna_, coverage_ or mmd_ with "
    "chamfer or emd behind (of clouds that are samples), class_samples, class_between, class_blends, class_test (what "
    "another network takes for the class: samples, interpolations, mixed points of two objects, test objects), "
    "validation<E> (%, after epoch E), rmse<L>-all, -relu or -reduction (standardised, layer L), voted, "
    "voted_class_accuracy (by votes on variations of each object), kernels, parameters, gib (peak memory), minutes "
    "(training), fit_likelihood and fit_seconds (of the input fit).",
]
MemoryMetric = Annotated[
    str,
    matching("^(kernel-gaussians|data-gaussians|gaussians|mib2d|mib3d)$"),
    "kernel-gaussians, data-gaussians, gaussians, mib2d, mib3d (MiB in 2D and 3D).",
]
SolverMetric = Annotated[str, matching("^(seconds|rmse|standardised-rmse)$"), "seconds, rmse, standardised-rmse."]
# A mean over folds: over the classes or all objects, the metric, and whether it is the difference from the first row.
FOLD = r"fold_(class_)?(accuracy|loss)(_difference)?"
FoldMetric = Annotated[
    str,
    matching(f"^({FOLD}|training_seconds|parameters|verdict)$"),
    "fold_accuracy and fold_loss, with class_ after fold_ averaged over classes, with _difference behind from the "
    "first row; training_seconds, parameters, verdict.",
]
PUBLISHED = "Published values by metric, as they are printed: a number, or a word such as n/a."
COLUMNS = "The metrics, in their order."
ROWS = "The rows, in their order."


@dataclass(frozen=True)
class ResultRow:
    """One row: a variant, or a rival of all variants, on a data set, and what was published about it."""

    RULES: ClassVar = one_of("variant", "rival")

    variant: Annotated[str, "Name of the variant."] = OPTIONAL
    rival: Annotated[
        Literal[*RIVALS],
        "What is no network of ours, trained on the sampled objects (docs/choosing.md): the nearest neighbour, "
        "objects that are as large (size-neighbours), logistic regression, or the kernel of an infinitely wide "
        "two-layer perceptron. Those called outliers-... are rivals of densities, trained on the first half of the "
        "classes; clusters-kmeans and test-set (which has the columns of samples) are of all classes. Those called "
        "generation-... and completion-nearest are rivals of networks that generate clouds, those called "
        "registration-... of networks that register them.",
    ] = OPTIONAL
    label: Label = OPTIONAL
    dataset: Annotated[str, "Name of the data set, where it is not the table's."] = OPTIONAL
    paper: Annotated[dict[Metric, Value], PUBLISHED] = OPTIONAL


@dataclass(frozen=True)
class FootprintRow:
    """One row of tables 5 and 6."""

    RULES: ClassVar = together("dataset", "variant")

    label: Label
    layer: Annotated[
        Literal[1, 2, 3, 4, 5, "total", "measured"],
        "A layer of the paper's network from 1, total, or measured: what a training step of a variant took.",
    ]
    dataset: Annotated[str, "measured: name of the data set."] = OPTIONAL
    variant: Annotated[str, "measured: name of the variant."] = OPTIONAL
    paper: Annotated[dict[MemoryMetric, Value], PUBLISHED] = OPTIONAL


@dataclass(frozen=True)
class SolverRow:
    """One row of table 7."""

    label: Label
    solver: Annotated[Literal["pinv", "lstsq", "heuristic"], "How the weights are found."]
    positions: Annotated[
        Literal["centres", "both", "random"],
        "Where target and fit agree: at the centres, at as many random positions besides (both), or at four times as "
        "many random ones.",
    ]
    paper: Annotated[dict[SolverMetric, Value], PUBLISHED] = OPTIONAL


@dataclass(frozen=True)
class ResultTable:
    """A table of the results of trained variants."""

    title: Title
    columns: Annotated[list[Metric], FILLED, DISTINCT, COLUMNS]
    rows: Annotated[list[ResultRow], FILLED, ROWS]
    dataset: Annotated[str, "The data set of rows that name none."] = OPTIONAL
    notes: Footnotes = OPTIONAL


@dataclass(frozen=True)
class FootprintTable:
    """A table of memory footprints (appendix A), computed."""

    title: Title
    fused: Annotated[
        bool, "Whether convolution and fitting are one step (table 5), or convolutions are stored (table 6)."
    ]
    columns: Annotated[list[MemoryMetric], FILLED, DISTINCT, COLUMNS]
    rows: Annotated[list[FootprintRow], FILLED, ROWS]
    notes: Footnotes = OPTIONAL


@dataclass(frozen=True)
class SolverTable:
    """A table of least squares (appendix B), measured."""

    title: Title
    columns: Annotated[list[SolverMetric], FILLED, DISTINCT, COLUMNS]
    rows: Annotated[list[SolverRow], FILLED, ROWS]
    notes: Footnotes = OPTIONAL


@dataclass(frozen=True)
class FoldRow:
    """One row of a comparison over folds; differences are from the first."""

    variant: Annotated[str, "Name of the variant."]
    label: Annotated[str, WRITTEN, "What stands at the beginning of the row; without it the variant's name."] = OPTIONAL


@dataclass(frozen=True)
class FoldTable:
    """A table that compares variants over the folds of a training split."""

    title: Title
    dataset: Annotated[str, "The data set."]
    columns: Annotated[list[FoldMetric], FILLED, DISTINCT, "The metrics, in their order; the first one decides."]
    rows: Annotated[list[FoldRow], FILLED, ROWS]
    folds: Annotated[int, at_least(2), "How many folds there are; 5 where this is not said."] = OPTIONAL
    seeds: Annotated[
        list[Annotated[int, *SEEDS, "A seed."]],
        FILLED,
        DISTINCT,
        "Seeds of the trainings, [0] where this is not said; what an object was worth is averaged over them.",
    ] = OPTIONAL
    notes: Footnotes = OPTIONAL


Table = Annotated[
    Any,
    Choice(
        "kind",
        "results (of trained variants; the default), footprint (appendix A, computed), least-squares (appendix B, "
        "measured) or folds (variants compared over folds of the training split).",
        {"results": ResultTable, "footprint": FootprintTable, "least-squares": SolverTable, "folds": FoldTable},
        default="results",
    ),
    "One table. kind says where our values come from.",
]


@dataclass(frozen=True)
class Tracking:
    """Logging of every stage to MLflow; the store is MLFLOW_TRACKING_URI or a SQLite file in results."""

    enabled: Annotated[bool, "Whether stages log to MLflow at all."] = True


@dataclass(frozen=True)
class Illustrations:
    """The result and the objects in the paper's figures that show a trained network."""

    result: Annotated[ResultName, "A result in 2D by its name, <data set>_<variant>; the network of its first seed."]
    objects: Annotated[
        list[Annotated[int, at_least(0), "A test object's place."]],
        FILLED,
        "Which test objects figure 2 shows, counted from 0.",
    ] = OPTIONAL


@dataclass(frozen=True)
class Figure:
    """Which fits of which objects are drawn side by side."""

    fits: Annotated[list[Annotated[str, "Name of a fit."]], FILLED, DISTINCT, "Names of fits, in their order."] = (
        OPTIONAL
    )
    shapes: Annotated[
        list[Annotated[str | int, at_least(0), "An object's name, or its place in the data set from 0."]],
        FILLED,
        at_most_items(32),
        "The objects; if it is left out, the first test object, and of images the first of every class.",
    ] = OPTIONAL
    up: Annotated[Literal["x", "y", "z"], "The axis of clouds that points upwards (z)."] = OPTIONAL
