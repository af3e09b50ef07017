"""The stage `summarise`: everything about a result in one JSON, read from the artifacts and computed nowhere else."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gmcn.artifacts import provenance, read_json, read_metadata, sha256, write_json
from gmcn.errors import InputError, foreign
from gmcn.pictures.charts import draw_curves, read_column
from gmcn.results.seeds import over_seeds

log = logging.getLogger(__name__)


@foreign("a file of this result is damaged or of another version of gmcn; make it again")
def summarise(
    *,
    dataset: str,
    variant: str,
    settings: Mapping[str, Any],
    points: str | os.PathLike,
    mixtures: str | os.PathLike,
    training: Sequence[str | os.PathLike],
    evaluation: str | os.PathLike,
    rmse: str | os.PathLike,
    footprint: str | os.PathLike,
    output: str | os.PathLike,
    run: Any = None,
) -> dict[str, Any]:
    """Gather the artifacts of a result into ``output``, draw the learning curves beside ``evaluation``.

    ``training`` lists the ``training.json`` of every seed. Paths in the result are relative to its folder. Raises
    :class:`gmcn.errors.InputError` where an artifact is missing, or where they were made from different mixtures
    or networks.
    """
    trainings = sorted(((Path(path), read_json(path)) for path in training), key=lambda pair: pair[1]["seed"])
    if not trainings:
        raise InputError("no training.json was given; train the variant with `gmcn train`")
    parts = {"evaluation": evaluation, "rmse": rmse, "footprint": footprint}
    contents = {name: read_json(path) for name, path in parts.items()}
    fitted, sampled = read_metadata(mixtures), read_metadata(points)
    models = {str(entry["seed"]): path.with_name("model.safetensors") for path, entry in trainings}
    hashes = {seed: sha256(path) for seed, path in models.items()}
    mixtures_hash = sha256(mixtures)
    _check_one_origin(mixtures_hash, hashes, trainings, contents)

    folder = Path(output).parent
    tested, probed = contents["evaluation"], contents["rmse"]
    seconds = {str(entry["seed"]): entry["seconds"] for _, entry in trainings}
    mean_seconds, deviation_seconds = over_seeds(list(seconds.values()))
    result = {
        "dataset": dataset,
        "variant": variant,
        "fit": fitted.get("fit"),
        "accuracy": {
            "mean": tested["mean"]["accuracy"],
            "std": tested["std"]["accuracy"],
            "seeds": {seed: entry["accuracy"] for seed, entry in tested["seeds"].items()},
        },
        "loss": {"mean": tested["mean"]["loss"], "std": tested["std"]["loss"]},
        "per_class": {"mean": tested["mean"]["per_class"], "std": tested["std"]["per_class"]},
        "history": {
            str(entry["seed"]): {
                "validation_accuracy": read_column(path.with_name("history.csv"), "validation_accuracy")
            }
            for path, entry in trainings
        },
        "validation_accuracy": {str(e["seed"]): e["metrics"]["validation_accuracy"] for _, e in trainings},
        "rmse": {
            "layers": probed["mean"]["layers"],
            "std": probed["std"]["layers"],
            "shapes": probed["shapes"],
            "positions": probed["settings"]["positions"],
            "reason": probed["reason"],
        },
        "footprint": {key: contents["footprint"][key] for key in ("theory", "paper", "measured", "ratio", "reason")},
        "parameters": trainings[0][1]["parameters"],
        "kernel_parameters": trainings[0][1]["kernel_parameters"],
        "shapes": {**trainings[0][1]["shapes"], "test": tested["shapes"]},
        "input_fit": fitted.get("quality"),
        "seconds": {
            "fit": (fitted.get("quality") or {}).get("seconds"),
            "training": {"mean": mean_seconds, "std": deviation_seconds, "seeds": seconds},
        },
        "training": {
            str(entry["seed"]): {key: entry[key] for key in ("epochs", "steps", "resumed", "peak_memory", "device")}
            for _, entry in trainings
        },
        "models": {
            seed: {"path": os.path.relpath(path, folder), "sha256": hashes[seed]} for seed, path in models.items()
        },
        "settings": dict(settings),
        "runs": {
            "sample": sampled.get("run_id"),
            "fit": fitted.get("run_id"),
            "train": {str(entry["seed"]): entry["run_id"] for _, entry in trainings},
            **{stage: contents[part]["run_id"] for part, stage in STAGES.items()},
            "summarise": getattr(run, "id", None),
        },
        "files": _files(folder, {"points": points, "mixtures": mixtures, **parts}),
        "provenance": {
            "sample": sampled.get("provenance"),
            "fit": fitted.get("provenance"),
            "train": {str(entry["seed"]): entry["provenance"] for _, entry in trainings},
            **{stage: contents[part]["provenance"] for part, stage in STAGES.items()},
            "summarise": provenance(),
        },
    }
    write_json(output, result)
    histories = {str(entry["seed"]): path.with_name("history.csv") for path, entry in trainings}
    curves = Path(evaluation).with_name("curves.png")
    draw_curves(histories, curves)
    accuracy, deviation = result["accuracy"]["mean"], result["accuracy"]["std"]
    spread = "" if deviation is None else f" ± {deviation:.4f}"
    log.info("%s_%s: test accuracy %.4f%s, %d seeds", dataset, variant, accuracy, spread, len(trainings))
    if run is not None:
        params = {"data": sampled.get("settings", {}), "input_fit": fitted.get("settings", {}), **settings}
        pictures = [curves, Path(evaluation).with_name("confusion.png")]
        _track(run, result, params, pictures, [("points", points), ("mixtures", mixtures)])
    return result


STAGES = {"evaluation": "evaluate", "rmse": "probe", "footprint": "footprint"}


def _check_one_origin(
    mixtures_hash: str,
    hashes: Mapping[str, str],
    trainings: Sequence[tuple[Path, dict[str, Any]]],
    contents: Mapping[str, dict[str, Any]],
) -> None:
    """Every artifact must have been made from these mixtures, and every number from these networks."""
    origins = {str(path): entry["inputs"]["sha256"] for path, entry in trainings}
    origins |= {f"{part}.json": content["inputs"]["sha256"] for part, content in contents.items()}
    for name, origin in origins.items():
        if origin != mixtures_hash:
            raise InputError(f"{name} was made from other mixtures than the ones given; make it again")
    for part in ("evaluation", "rmse"):
        measured = {seed: entry["model"]["sha256"] for seed, entry in contents[part]["seeds"].items()}
        if measured != dict(hashes):
            raise InputError(
                f"{part}.json is of other networks (seeds {', '.join(measured)}) than the ones trained "
                f"(seeds {', '.join(hashes)}); make it again"
            )


def _files(folder: Path, paths: Mapping[str, str | os.PathLike]) -> dict[str, dict[str, str]]:
    return {role: {"path": os.path.relpath(path, folder), "sha256": sha256(path)} for role, path in paths.items()}


def _track(
    run: Any,
    result: Mapping[str, Any],
    params: Mapping[str, Any],
    pictures: Sequence[Path],
    inputs: Sequence[tuple[str, str | os.PathLike]],
) -> None:
    """The numbers by which results are compared, and all settings that led to them, for the result's own run."""
    numbers = {
        "accuracy": result["accuracy"]["mean"],
        "accuracy_std": result["accuracy"]["std"],
        "parameters": result["parameters"],
        "memory_mib": result["footprint"]["measured"]["bytes"] / 2**20,
        "training_seconds": result["seconds"]["training"]["mean"],
    }
    own = {key: value for key, value in result["runs"].items() if key not in ("sample", "fit")}  # others are shared
    run.log_result(numbers, params, [*own.pop("train").values(), *own.values()], pictures, inputs)
