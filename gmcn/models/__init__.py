"""Networks that classify Gaussian mixtures; one file, one network. :func:`build` makes them from settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gmcn.declared import check
from gmcn.errors import InputError, brief, unknown
from gmcn.models.gmcn import GMCN
from gmcn.models.network import Network
from gmcn.models.pointnet import PointNet
from gmcn.models.pointnet2 import PointNet2

__all__ = ["DEFAULT_KIND", "GMCN", "NETWORKS", "Network", "PointNet", "PointNet2", "build", "describe"]

NETWORKS: dict[str, type[Network]] = {"gmcn": GMCN, "pointnet": PointNet, "pointnet2": PointNet2}
DEFAULT_KIND = "gmcn"


def build(
    settings: Mapping[str, Any], classes: int | None = None, dim: int | None = None, seed: int | None = None
) -> Network:
    """The network of ``settings["kind"]`` (default: gmcn) with the other settings as its arguments.

    ``classes``, ``dim`` and ``seed`` are those of the settings where these have them, as what :func:`describe` gave
    does. Raises :class:`gmcn.errors.InputError` for an unknown kind or key, a missing key, an impossible value.
    """
    given = {"classes": classes, "dim": dim, "seed": seed}
    arguments = {**{key: value for key, value in given.items() if value is not None}, **settings}
    kind = arguments.pop("kind", DEFAULT_KIND)
    if kind not in NETWORKS:
        raise unknown("kind of network", kind, NETWORKS)
    network = NETWORKS[kind]
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
