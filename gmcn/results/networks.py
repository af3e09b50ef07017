"""The trained networks of a variant, one per seed, and the facts that they share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gmcn.artifacts import read_metadata, sha256
from gmcn.data.objects import ObjectSet
from gmcn.errors import InputError
from gmcn.models import Network
from gmcn.models.loading import load


@dataclass(frozen=True)
class TrainedNetwork:
    """A network of one seed, with what its file says about it."""

    seed: int
    model: Network
    metadata: dict[str, Any]
    source: dict[str, Any]


def load_networks(
    models: Sequence[str | os.PathLike], data: ObjectSet, device: torch.device | str
) -> list[TrainedNetwork]:
    """The networks in files, in the order of their seeds; they must be made for objects such as those of ``data``."""
    if not models:
        raise InputError("no trained network was given; train one with `gmcn train`")
    networks = []
    for path in models:
        metadata = read_metadata(path)
        model = load(path, device=device)
        known = {key: model.config[key] for key in ("dim", "shape") if key in model.config}
        given = {key: data.traits[key] for key in known}
        if metadata["class_names"] != data.class_names or known != given or data.kind not in model.takes:
            raise InputError(
                f"{path} is a network for {_said(model.takes, known, metadata['class_names'])}, but these are "
                f"{_said([data.kind], given, data.class_names)}, or other classes; train it on them"
            )
        source = {"path": str(path), "sha256": sha256(path), "run_id": metadata.get("run_id")}
        networks.append(TrainedNetwork(metadata["seed"], model, metadata, source))
    seeds = [network.seed for network in networks]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"several networks of one seed were given (seeds {', '.join(map(str, seeds))})")
    return sorted(networks, key=lambda network: network.seed)


def _said(kinds: Sequence[str], traits: Mapping[str, Any], classes: Sequence[str]) -> str:
    named = [f"{len(classes)} classes", *(f"{name} {value}" for name, value in traits.items())]
    return f"{' or '.join(kinds)} ({', '.join(named)})"
