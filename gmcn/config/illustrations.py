"""The figures that are drawn by their name, in one list: whatever has to know them reads it from here."""

from __future__ import annotations

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
