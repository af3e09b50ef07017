"""The stages that measure trained networks, besides the evaluation."""

from __future__ import annotations

from gmcn.stages.command import Stage
from gmcn.stages.options import ANALYSIS
from gmcn.stages.sources import CLOUDS, FITTING, NETWORKS, PICTURES

# Their files become part of a result, beside the evaluation.
MEASURES = (
    Stage(
        "probe",
        "measure the fitting errors layer by layer",
        options=ANALYSIS,
        makes="rmse",
        path="runs/{dataset}_{variant}/rmse.json",
        settings=("probe",),
        networks=("gmcn",),  # which have mixtures inside
        sources=("gmcn/results/probing.py", "gmcn/results/rmse.py", *NETWORKS),
        after=("train",),
        lighter="fewer `probe.positions` or `--device cpu`",
    ),
    Stage(
        "dynamics",
        "measure how the mixtures of Gaussian mixture layers move",
        options=ANALYSIS,
        makes="dynamics",
        path="runs/{dataset}_{variant}/dynamics.json",
        settings=("dynamics",),
        networks=("gm-mlp",),  # others may have such a layer at their end: theirs is measured by its name
        sources=(
            "gmcn/results/dynamics_stage.py",
            "gmcn/mixture/*.py",
            "gmcn/results/flow.py",
            "gmcn/pictures/measure_figures.py",
            *NETWORKS,
            *PICTURES,
        ),
        after=("train",),
        lighter="fewer `dynamics.objects` or `--device cpu`",
    ),
    Stage(
        "samples",
        "compare what networks draw with training and test objects",
        options=ANALYSIS,
        makes="samples",
        path="runs/{dataset}_{variant}/samples.json",
        settings=("samples",),
        networks=("gmm", "dcgmm", "pointgmm"),
        sources=(
            *FITTING,  # of clouds for a classifier
            "gmcn/results/cloud_classes.py",
            "gmcn/results/cloud_samples.py",
            "gmcn/results/cloud_sets.py",
            "gmcn/tasks/generation/measures_of_clouds.py",
            *CLOUDS,
            "gmcn/results/sample_quality.py",
            "gmcn/results/sample_settings.py",
            "gmcn/results/samples_stage.py",
            "gmcn/pictures/charts.py",
            *NETWORKS,
        ),
        after=("train",),
        lighter="fewer `samples.count` or `--device cpu`",
    ),
    Stage(
        "footprint",
        "compare the memory in theory and in practice",
        options=ANALYSIS,
        makes="footprint",
        path="runs/{dataset}_{variant}/footprint.json",
        settings=("network", "training", "task"),
        sources=(
            "gmcn/results/allocations.py",
            "gmcn/results/footprint*.py",
            "gmcn/results/measured_memory.py",
            *NETWORKS,
        ),
        after=("train",),
        lighter="`--device cpu`",
    ),
)
