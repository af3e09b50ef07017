"""The stages of the workflow and the other commands, in one list that needs no torch.

The command line, the status of a workflow and its documentation read from here what stages there are.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage: a command, and a rule of the same name.

    ``makes`` says of what it makes something: of a "dataset" of the configuration, of something "named" by itself
    (a table, a figure), or "once". ``lighter`` says how it needs less memory.
    """

    name: str
    summary: str
    lighter: str | None = None
    makes: str = "dataset"


STAGES = {
    stage.name: stage
    for stage in (
        Stage("download", "fetch and verify a data set's published files"),
        Stage(
            "sample", "turn a data set into points or images", "fewer `points` of the data set or a smaller --threads"
        ),
        Stage(
            "fit",
            "fit a mixture of Gaussians to every shape or image",
            "fewer `components` of the fit or a smaller --threads",
        ),
        Stage("train", "train a variant's network (all its seeds, or one)", "a smaller `training.batch_size`"),
        Stage("evaluate", "measure accuracy on the test split", "`--device cpu`"),
        Stage("probe", "measure the fitting errors layer by layer", "fewer `probe.positions` or `--device cpu`"),
        Stage("footprint", "compare the memory in theory and in practice", "`--device cpu`"),
        Stage("summarise", "gather everything about a result in one JSON"),
        Stage("table", "set results beside published values", makes="named"),
        Stage("least-squares", "measure the alternatives to the dense fit (the paper's table 7)", makes="once"),
        Stage("draw-fits", "draw the fits of some objects side by side"),
        Stage("draw-figure", "draw one of the paper's figures with our results", makes="named"),
    )
}
OTHERS = {
    "predict": "classify meshes, clouds, images or mixtures with a trained network",
    "export": "make a pretrained network of a result",
    "show": "look at a cloud, a mesh, an image or a mixture",
    "names": "list the data sets, fits and variants of the configuration, and pretrained networks",
    "status": "show what of a target exists, runs and is missing",
    "info": "show versions, compiled kernels and devices",
    "store": "create the MLflow store and send what could not be logged (each workflow does so first)",
}
