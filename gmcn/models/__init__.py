"""Networks on mixtures, images, points and vectors; one file, one network. :func:`build` makes them from settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gmcn.declared import check, options
from gmcn.errors import InputError, brief, unknown
from gmcn.models.dcgmm import DCGMM
from gmcn.models.density import Density
from gmcn.models.generative import Generative
from gmcn.models.gm_mlp import GMMLP
from gmcn.models.gmcn import GMCN
from gmcn.models.gmm import GMM
from gmcn.models.mlp import MLP
from gmcn.models.network import Network
from gmcn.models.pointgmm import PointGMM
from gmcn.models.pointnet import PointNet
from gmcn.models.pointnet2 import PointNet2
from gmcn.models.registration import RegistrationNetwork

__all__ = [
    "DCGMM",
    "DEFAULT_KIND",
    "GMCN",
    "GMM",
    "GMMLP",
    "MLP",
    "NETWORKS",
    "Density",
    "Generative",
    "Network",
    "PointGMM",
    "PointNet",
    "PointNet2",
    "RegistrationNetwork",
    "build",
    "describe",
]

NETWORKS: dict[str, type[Network]] = {
    "gmcn": GMCN,
    "pointnet": PointNet,
    "pointnet2": PointNet2,
    "mlp": MLP,
    "gm-mlp": GMMLP,
    "gmm": GMM,
    "dcgmm": DCGMM,
    "pointgmm": PointGMM,
    "registration": RegistrationNetwork,
}
DEFAULT_KIND = "gmcn"


def build(
    settings: Mapping[str, Any],
    classes: int | None = None,
    dim: int | None = None,
    seed: int | None = None,
    *,
    shape: Sequence[int] | None = None,
    objects: str | None = None,
) -> Network:
    """The network of ``settings["kind"]`` (default: gmcn) with the other settings as its arguments.

    ``classes``, ``dim`` and ``shape`` (of one object) are those of the data, and defaults: values in ``settings`` take
    precedence, and a network takes only those that it uses. ``objects`` is the kind of its inputs.

    Raises :class:`gmcn.errors.InputError` for an unknown kind or key, a missing key, an impossible value.
    """
    arguments = dict(settings)
    kind = arguments.pop("kind", DEFAULT_KIND)
    if kind not in NETWORKS:
        raise unknown("kind of network", kind, NETWORKS)
    network: Any = NETWORKS[kind]
    if objects is not None and objects not in network.takes:
        instead = "set a `fit`" if "mixtures" in network.takes else "set `fit: null`"
        raise InputError(f"the network '{kind}' takes {' or '.join(network.takes)}, and these are {objects}; {instead}")
    given = {"classes": classes, "dim": dim, "seed": seed, "shape": shape}
    for key, value in given.items():
        if value is not None and key in options(network):
            arguments.setdefault(key, value)
    arguments = {key: value for key, value in arguments.items() if network.retired.get(key, ...) != value}
    check(network, arguments, "the network cannot be built")
    try:
        return network(**arguments)
    except TypeError as error:
        raise InputError(f"the network cannot be built: {brief(error)}") from error


def describe(network: Network) -> dict[str, Any]:
    """Settings that :func:`build` makes the same network of, in types that JSON has; without its parameters."""
    kind = next(kind for kind, which in NETWORKS.items() if type(network) is which)
    return {"kind": kind, **network.config}
