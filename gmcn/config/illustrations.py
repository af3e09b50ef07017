"""The figures that are drawn by their name, in one list: whatever has to know them reads it from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Illustration:
    """A figure: the function that draws it, as ``module:name``, and what this function takes.

    ``shows`` is "nothing", a "network" in 2D, or "objects": a network in 2D and mixtures [S, N] to send through it.
    """

    function: str
    shows: str = "nothing"


_FITS, _NETWORKS = "gmcn.papers.gmcn.fitting_figures", "gmcn.pictures.network_figures"
ILLUSTRATIONS = {
    "figure2": Illustration(f"{_NETWORKS}:activations", shows="objects"),
    "figure3": Illustration(f"{_FITS}:failures"),
    "figure7": Illustration(f"{_FITS}:inputs_and_heuristic"),
    "figure8": Illustration(f"{_FITS}:least_squares"),
    "figure9": Illustration(f"{_NETWORKS}:kernels", shows="network"),
    "treehem": Illustration(f"{_NETWORKS}:treehem", shows="objects"),
}

# Those that compute what they show: the function of each. They are of a data set's points, with numbers in a .json.
_LAYERS = "gmcn.papers.gm_layers"
MEASURED = {
    "gmlayer-sampling": f"{_LAYERS}.sampling:sampling",
    "gmlayer-dynamics": f"{_LAYERS}.dynamics:dynamics",
    "gmlayer-cost": f"{_LAYERS}.cost:cost",
}

PLACES = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}


@dataclass(frozen=True)
class Comparison:
    """A figure of results side by side, with numbers in a .json: the function that draws it, and what this reads.

    That is of each variant the artifact ``needs``, a "model" being that of the first seed, and what rivals found; with
    ``points`` also the objects of the data set. ``datasets`` says which of the data sets of its ``section`` of the
    configuration it shows: the first, the last or all. Figures of ``clouds`` are a page to turn besides.
    """

    function: str
    needs: str
    variants: tuple[str, ...]
    rivals: tuple[str, ...] = ()
    datasets: str = "all"
    section: str = "dcgmm"
    points: bool = False
    clouds: bool = False

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of its files."""
        return (".png", ".html", ".json") if self.clouds else (".png", ".svg", ".json")

    def names(self, datasets: Sequence[str]) -> list[str]:
        """<data set>_<variant, rival, or "points">, in order."""
        shown = (*self.variants, *self.rivals, *(["points"] if self.points else ()))
        return [f"{one}_{name}" for one in datasets[PLACES[self.datasets]] for name in shown]


DATASETS = {"dcgmm": ("mnist", "fashion-mnist"), "pointgmm": ("modelnet40-chair",)}
_DCGMM = "gmcn.papers.dcgmm"
_DIVERSE = ("dcgmm-1l", "dcgmm-2ld", "dcgmm-2lc", "dcgmm-2le")
_DEEP = tuple(f"dcgmm-{name}" for name in ("1l", "2la", "2lb", "2lc", "2ld", "2le", "3la", "3lb"))
_FLAT = (*(f"gmm-{count}" for count in (25, 50, 100, 200, 400)), "mfa-25x4", "mfa-25x10", "mfa-100x10")
_NEAREST = ("outliers-nearest-neighbour",)
COMPARED = {
    "dcgmm-figure2": Comparison(f"{_DCGMM}.samples:centroids", "model", ("dcgmm-2la",), datasets="first"),
    "dcgmm-figure3": Comparison(f"{_DCGMM}.outliers:curves", "evaluation", (*_DEEP, "mfa-100x10"), _NEAREST),
    "dcgmm-figure4": Comparison(f"{_DCGMM}.samples:diversity", "model", _DIVERSE, datasets="first"),
    "dcgmm-figure5": Comparison(f"{_DCGMM}.samples:sharpening", "model", ("dcgmm-2lc",), datasets="first"),
    "dcgmm-figure6": Comparison(f"{_DCGMM}.samples:choices", "model", ("dcgmm-2lc",)),
    "dcgmm-figure7": Comparison(f"{_DCGMM}.samples:diversity", "model", _DIVERSE, datasets="last"),
    "dcgmm-figure8": Comparison(f"{_DCGMM}.samples:sharpening", "model", ("dcgmm-2lc",), datasets="last"),
    "dcgmm-flat": Comparison(f"{_DCGMM}.outliers:sizes", "result", (*_FLAT, *_DEEP), _NEAREST),
    **{
        f"pointgmm-{name}": Comparison(
            f"gmcn.papers.pointgmm.figures:{name}",
            "model",
            ("pointgmm",),
            datasets="first",
            section="pointgmm",
            points=True,
            clouds=True,
        )
        for name in ("levels", "leaves", "interpolations", "samples", "parts")
    },
}
