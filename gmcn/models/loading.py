"""Loads trained networks from the files of the workflow."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from gmcn.artifacts import load_tensors, read_json
from gmcn.device import own_defaults
from gmcn.errors import InputError, foreign, unknown
from gmcn.models import Network, build
from gmcn.stages.paths import name_of

MODEL = name_of("model")
PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


def load(path_or_result: str | os.PathLike, *, seed: int | None = None, device: str | torch.device = "cpu") -> Network:
    """A trained network in evaluation mode.

    ``path_or_result`` is a result (``results/digits_treehem2.json``), a run folder, the folder of one seed, a
    ``model.safetensors``, or the name of a pretrained network (:func:`pretrained_names`); ``seed`` chooses where
    there are several (None: the first). Raises :class:`gmcn.errors.InputError` where there is no such network or
    its file is damaged.
    """
    path = model_path(Path(path_or_result), seed)
    tensors, metadata = load_tensors(path)
    if "network" not in metadata:
        raise InputError(f"{path} holds no network of this project: its metadata lack 'network'")
    if seed is not None and metadata.get("seed", seed) != seed:
        raise InputError(f"{path} has no seed {seed} (known: {metadata['seed']})")
    described = "does not fit the network it describes"
    try:
        # First without memory: what is described may be larger than any.
        with foreign(f"it {described}"), torch.device("meta"):
            empty = build({**metadata["network"], "seed": None})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    wanted, found = ({key: list(t.shape) for key, t in named.items()} for named in (empty.state_dict(), tensors))
    if wanted != found:
        odd = min(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        raise InputError(
            f"{path} {described}: '{odd}' has shape {found.get(odd)}, expected {wanted.get(odd)}; train it again"
        )
    with foreign(f"{path} {described}"), own_defaults():
        model = build(metadata["network"])
        model.load_state_dict(tensors)
    return model.to(device).eval()


def pretrained_names() -> list[str]:
    """The networks that come with the package, for :func:`load` and :func:`gmcn.predict`."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{MODEL}"))


def model_path(path: Path, seed: int | None = None) -> Path:
    """The ``model.safetensors`` that a result, folder, file or name of a pretrained network stands for."""
    if len(path.parts) == 1 and not path.suffix and not path.exists():
        if path.name not in pretrained_names():
            raise unknown("pretrained network", path.name, pretrained_names())
        return PRETRAINED / path.name / MODEL
    if path.suffix == ".json":
        with foreign(f"{path} is no result"):
            models = read_json(path).get("models", {})
            candidates = {int(key): path.parent / entry["path"] for key, entry in models.items()}
    elif path.is_dir() and not (path / MODEL).exists():
        found = ((re.fullmatch(r"seed(\d+)", model.parent.name), model) for model in path.glob(f"seed*/{MODEL}"))
        candidates = {int(seed[1]): model for seed, model in found if seed}
    elif path.is_dir():
        return path / MODEL
    elif path.suffix == ".safetensors" or not path.exists():
        return path
    else:
        raise InputError(
            f"{path} is no network: a network is a result (.json), a run's folder, a model.safetensors or one of "
            f"{', '.join(pretrained_names())}"
        )
    if not candidates:
        raise InputError(f"{path} names no trained network; train one with `gmcn train`")
    chosen = min(candidates) if seed is None else seed
    if chosen not in candidates:
        raise InputError(f"{path} has no seed {seed} (known: {', '.join(map(str, sorted(candidates)))})")
    return candidates[chosen]
