"""The classes that describe a command and a stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gmcn.stages.options import COMMON, OF_STAGES, Option
from gmcn.stages.sources import DEEP_MIXTURES, TREES


@dataclass(frozen=True)
class Command:
    """A command: ``options`` are its own, besides those of every command."""

    name: str
    summary: str
    options: tuple[Option, ...] = ()

    @property
    def identifier(self) -> str:
        """Its name in Python and in Snakemake: of its function in :mod:`gmcn.commands`, and of its rule."""
        return self.name.replace("-", "_")

    @property
    def all_options(self) -> tuple[Option, ...]:
        return (*self.options, *COMMON)


_MESHES = ("meshes", "obj", "off", "ply", "ply_header", "ply_lists", "polygons", "stl", "text")


def _models(*names: str) -> tuple[str, ...]:
    return tuple(f"gmcn/models/{name}.py" for name in names)


# Of networks that are fitted by EM, from the clusters of k-means.
_EM = (
    *("__init__", "descent", "estimator", "expectation", "families", "fit", "low_rank", "points", "report", "settings"),
    *("shares", "starts"),
)
_DENSITIES = (*(f"gmcn/fitting/gmm/{name}.py" for name in _EM), "gmcn/fitting/reference.py", "gmcn/mixture/*.py")
# By the field of a pattern and what stands there: further files that it needs.
SHARED = {
    "network": {
        "gmcn": _models("heads"),
        "pointnet": _models("heads", "point_sets"),
        "pointnet2": _models("point_sets"),
        "gm-mlp": _models("gm_mlp", "mlp"),
        "gmm": (*_models("density", "generative", "mlp"), *_DENSITIES),
        "dcgmm": (*_models("dcgmm_fitting", "density", "generative", "mlp"), *DEEP_MIXTURES, *_DENSITIES),
        "pointgmm": (*_models("generative"), *TREES, *_DENSITIES),
        "registration": (*TREES, "gmcn/mixture/*.py"),
    },
    "kind": {
        kind: tuple(f"gmcn/data/{name}.py" for name in names)
        for kind, names in {
            "solids": ("primitives", *_MESHES),
            "images": ("idx", "image_folders", "npz", "pictures"),
            "clouds": ("npz", "xyz", *_MESHES),
            "meshes": _MESHES,
            "splats": ("ply", "ply_header", "ply_lists", "polygons", "text"),
        }.items()
    },
}


@dataclass(frozen=True)
class Stage(Command):
    """A stage of the workflow: a command, and a rule of the same name.

    ``makes`` is the name of the artifact that it writes, or of the most important one, and ``path`` where this lies
    below the results: tables and figures lack a suffix, since each is written in several formats. ``job`` is what its
    log is called. ``calls``, ``module:function``, is what computes it where the command has nothing else to do
    (:func:`gmcn.commands.stages.calling`); other stages have a command of their own. ``settings`` are the
    keys of a variant that it is given. A stage with ``networks`` concerns only variants with a network of these kinds.
    ``variations`` are rules that call it too, for other outputs.

    ``sources`` are patterns of the files whose edit can change what the stage makes, without those of ``without``;
    ``{task}`` in them is the variant's task, ``{network}`` the kind of its network, ``{kind}`` that of the data set.
    ``of_tasks`` are further ones by task, as :data:`SHARED` has them by network and kind; ``without`` takes nothing
    from these. The sources of the stages ``after`` which it comes are not repeated, since their outputs are its inputs.
    ``lighter`` says how it needs less memory.
    """

    makes: str = ""
    path: str = ""
    calls: str | None = None
    job: str = "{dataset}_{variant}"
    settings: tuple[str, ...] = ()
    networks: tuple[str, ...] | None = None
    variations: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    of_tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    lighter: str | None = None

    @property
    def all_options(self) -> tuple[Option, ...]:
        return (*self.options, *OF_STAGES, *COMMON)

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that call it."""
        return (self.identifier, *self.variations)

    def files(self, root: Path, **fields: str) -> list[Path]:
        """The files of ``sources`` below the checkout ``root``, in order; a field that is not given stands for all."""
        chosen = {"task": "*", "network": "*", "kind": "*"} | fields
        further: list[str] = []
        for name, shared in SHARED.items():
            if any(f"{{{name}}}" in pattern for pattern in self.sources):
                further += (own for value, owns in shared.items() if chosen[name] in ("*", value) for own in owns)
        further += (own for task, owns in self.of_tasks.items() if chosen["task"] in ("*", task) for own in owns)

        def found(patterns: Iterable[str]) -> set[Path]:
            return {file for pattern in patterns for file in root.glob(pattern)}

        general = found(pattern.format(**chosen) for pattern in self.sources)
        return sorted(general - found(self.without) | found(further))
