"""The command `export`: a result's network becomes a pretrained one, a small file that needs nothing beside it."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from gmcn import tasks
from gmcn.artifacts import load_tensors, provenance, save_tensors, sha256, write_json
from gmcn.data.meshes import SAMPLINGS
from gmcn.data.preparation import describe_inputs
from gmcn.errors import InputError, foreign, unknown
from gmcn.models.loading import MODEL, load, model_path
from gmcn.results.reading import read_result
from gmcn.tasks.metric import Metric

# A repository is cloned whole: networks of this kind have some 10,000 to 200,000 numbers.
MAX_BYTES = 4_000_000
_PARTS = ("dataset", "variant", "metrics", "models", "settings", "files", "provenance", "training", "shapes")


@foreign("a file of this result is damaged or of another version of gmcn; make it again")
def export(
    result: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    seed: int | None = None,
    sampling: str | None = None,
) -> dict[str, Any]:
    """Write ``model.safetensors`` and ``model.json`` of a result's network to ``folder``; returns the latter.

    The network is that of ``seed``, by default the one that did best on the validation split, never on the test set.
    ``sampling`` says how the clouds of a data set were drawn from meshes, where its settings do not, so that
    meshes are sampled in the same way.

    Raises :class:`gmcn.errors.InputError` for anything but a finished result whose artifacts are as they were
    measured, and for a network of more than 4 MB: then nothing is written.
    """
    result, folder = Path(result), Path(folder)
    summary = read_result(result) if result.suffix == ".json" else {}
    missing = [part for part in _PARTS if part not in summary]
    if missing:
        raise InputError(
            f"{result} is no finished result: it lacks {', '.join(missing)}; make one with `snakemake --cores all "
            "results/<data set>_<variant>.json`"
        )
    if sampling is not None and sampling not in SAMPLINGS:
        raise unknown("sampling", sampling, SAMPLINGS)
    if seed is None:
        seed = _best(summary)
    source = model_path(result, seed)
    tensors, metadata = load_tensors(source)
    chosen = str(metadata["seed"])
    _check_same(source, summary["models"][chosen]["sha256"])
    inputs = _inputs(result, summary, metadata)
    if sampling is not None:
        inputs["data"].setdefault("sampling", sampling)
    kept = {key: metadata[key] for key in ("network", "class_names", "dataset", "fit", "seed", "settings")}
    kept["task"] = summary["task"]
    if "trained" in metadata:  # what the task says of the trained network, for its answers
        kept["trained"] = metadata["trained"]
    origin = {key: metadata["provenance"][key] for key in ("commit", "versions", "cpu", "gpu", "time")}
    kept |= {"inputs": inputs, "provenance": origin}
    size = sum(tensor.nbytes for tensor in tensors.values()) + len(json.dumps(kept))
    if size > MAX_BYTES:
        raise InputError(f"the network of {result} takes {size:,} bytes; a pretrained one may have {MAX_BYTES:,}")
    save_tensors(folder / MODEL, tensors, kept)
    load(folder)
    card = _card(folder, summary, metadata, inputs, ["--sampling", sampling] if sampling else [])
    write_json(folder / "model.json", card)
    return card


def _inputs(result: Path, summary: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """How inputs are prepared: as the network says, or, of older networks, as the result's artifacts do."""
    inputs = metadata["inputs"]
    if "data" not in inputs:
        paths = [result.parent / summary["files"][part]["path"] for part in ("input", "points")]
        for part, path in zip(("input", "points"), paths, strict=True):
            _check_same(path, summary["files"][part]["sha256"])
        inputs = describe_inputs(*paths)
    return {key: inputs[key] for key in ("kind", "sha256", "data", "fit") if key in inputs}


def _best(summary: dict[str, Any]) -> int | None:
    """The seed that did best on the validation split, by the task's headline or else the loss; None without one."""
    validated = {int(seed): entry for seed, entry in summary.get("validation", {}).items()}
    for metric in (tasks.measures(summary["task"]).headline, Metric("loss", "loss")):
        values = {seed: entry[metric.name] for seed, entry in validated.items() if entry.get(metric.name) is not None}
        if values and values.keys() == validated.keys():
            return (max if metric.larger_is_better else min)(values, key=values.__getitem__)
    return None


def _check_same(path: Path, known: str) -> None:
    if not path.is_file():
        raise InputError(f"{path} does not exist: the result is not finished, or was moved without its files")
    if sha256(path) != known:
        raise InputError(f"{path} is not what the result was measured with; make the result again")


def _card(
    folder: Path, summary: dict[str, Any], metadata: dict[str, Any], inputs: dict[str, Any], options: list[str]
) -> dict[str, Any]:
    seed, origin = str(metadata["seed"]), metadata["provenance"]
    stem = f"{summary['dataset']}_{summary['variant']}"
    training = summary["training"][seed]
    seconds = summary.get("seconds", {}).get("training", {}).get("seeds", {}).get(seed)
    return {
        "name": folder.name,
        "task": summary["task"],
        "commands": [
            f"snakemake --cores all results/{stem}.json",
            shlex.join(
                ["gmcn", "export", f"results/{stem}.json", f"pretrained/{folder.name}", "--seed", seed, *options]
            ),
        ],
        "commit": origin["commit"],
        "date": origin["time"],
        "seed": metadata["seed"],
        "metrics": {
            **{name: (value.get("seeds") or {}).get(seed) for name, value in summary["metrics"].items()},
            **{f"{name}_over_seeds": value for name, value in summary["metrics"].items()},
            **{f"validation_{name}": value for name, value in summary.get("validation", {}).get(seed, {}).items()},
        },
        "data": {
            "dataset": summary["dataset"],
            "class_names": metadata["class_names"],
            "shapes": summary["shapes"],
            "inputs": inputs,
        },
        "network": metadata["network"],
        "training": {**summary["settings"].get("training", {}), "seconds": seconds, "epochs": training["epochs"]},
        "parameters": summary.get("parameters"),
        "hardware": {
            **{key: origin.get(key) for key in ("cpu", "cores", "gpu")},
            "device": training["device"],
        },
        "versions": origin["versions"],
        "bytes": (folder / MODEL).stat().st_size,
        "sha256": sha256(folder / MODEL),
        "exported": provenance()["time"],
    }
