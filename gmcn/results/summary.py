"""The stage `summarise`: everything about a result in one JSON, read from the artifacts and computed nowhere else."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gmcn.artifacts import provenance, read_json, read_metadata, sha256, write_json
from gmcn.errors import InputError, foreign
from gmcn.pictures.charts import draw_curves, read_history
from gmcn.results.reading import FORMAT
from gmcn.results.seeds import over_seeds
from gmcn.stages import MEASURES
from gmcn.tracking import NO_RUN, Run

log = logging.getLogger(__name__)

# The stage that makes each part of a result.
STAGES = {"evaluation": "evaluate", **{stage.makes: stage.name for stage in MEASURES}}
# The result says once, of all parts together, where they come from.
ORIGIN = ("dataset", "fit", "inputs", "run_id", "provenance")
Training = tuple[Path, dict[str, Any]]  # a training.json and what it says


@foreign("a file of this result is damaged or of another version of gmcn; make it again")
def summarise(
    *,
    dataset: str,
    variant: str,
    settings: Mapping[str, Any],
    points: str | os.PathLike,
    artifact: str | os.PathLike,
    training: Sequence[str | os.PathLike],
    evaluation: str | os.PathLike,
    output: str | os.PathLike,
    measures: Mapping[str, str | os.PathLike] | None = None,
    run: Run = NO_RUN,
) -> dict[str, Any]:
    """Gather the artifacts of a result into ``output``, draw the learning curves beside ``evaluation``.

    ``artifact`` are the objects that the networks were given: mixtures of ``points``, or these themselves. ``training``
    lists the ``training.json`` of every seed, ``measures`` the other measurements that there are of the networks, by
    the names of their files. Paths in the result are relative to its folder. Raises :class:`gmcn.errors.InputError`
    where an artifact is missing, or where they were made from different objects or networks.
    """
    trainings = sorted(((Path(path), read_json(path)) for path in training), key=lambda pair: pair[1]["seed"])
    if not trainings:
        raise InputError("no training.json was given; train the variant with `gmcn train`")
    parts = {"evaluation": evaluation, **(measures or {})}
    contents = {name: read_json(path) for name, path in parts.items()}
    models = {str(entry["seed"]): path.with_name("model.safetensors") for path, entry in trainings}
    hashes = {seed: sha256(path) for seed, path in models.items()}
    _check_one_origin(sha256(artifact), hashes, trainings, contents)

    folder, tested = Path(output).parent, contents["evaluation"]
    fitted, sampled = read_metadata(artifact), read_metadata(points)
    files = {role: _file(folder, path) for role, path in {"points": points, "input": artifact, **parts}.items()}
    result = {
        "format": FORMAT,
        "task": tested["task"],
        "dataset": dataset,
        "variant": variant,
        "fit": fitted.get("fit"),
        "input": {"kind": tested["inputs"]["kind"], **files["input"]},
        **_measured(tested),
        "measures": {name: _part(name, content) for name, content in contents.items() if name != "evaluation"},
        **_trained(trainings),
        "shapes": {**trainings[0][1]["shapes"], "test": tested["shapes"]},
        "input_fit": fitted.get("quality"),
        "models": {seed: _file(folder, path) for seed, path in models.items()},
        "settings": dict(settings),
        "files": files,
        **_origins(sampled, fitted, trainings, contents, run),
    }
    result["seconds"]["fit"] = (fitted.get("quality") or {}).get("seconds")
    write_json(output, result)
    curves = Path(evaluation).with_name("curves.png")
    draw_curves({str(entry["seed"]): path.with_name("history.csv") for path, entry in trainings}, curves)
    name, value = result["headline"], result["metrics"][result["headline"]]
    spread = "" if value["std"] is None else f" ± {value['std']:.4f}"
    log.info("%s_%s: test %s %.4f%s, %d seeds", dataset, variant, name, value["mean"], spread, len(trainings))
    params = {"data": sampled.get("settings", {}), "input_fit": fitted.get("settings", {}), **settings}
    pictures = sorted([*curves.parent.glob("*.png"), *curves.parent.glob("pictures/*.png")])
    inputs = [("points", points)]
    if result["input"]["kind"] == "mixtures":
        inputs.append(("mixtures", artifact))
    _track(run, result, params, pictures, inputs)
    return result


def _check_one_origin(
    objects: str, hashes: Mapping[str, str], trainings: Sequence[Training], contents: Mapping[str, dict[str, Any]]
) -> None:
    """Every artifact must have been made from these objects, and every number from these networks."""
    origins = {str(path): entry["inputs"]["sha256"] for path, entry in trainings}
    origins |= {f"{part}.json": content["inputs"]["sha256"] for part, content in contents.items()}
    for name, origin in origins.items():
        if origin != objects:
            raise InputError(f"{name} was made from other objects than the ones given; make it again")
    for part, content in contents.items():
        if "seeds" not in content:  # of a step, not of networks
            continue
        measured = {seed: entry["model"]["sha256"] for seed, entry in content["seeds"].items()}
        if measured != dict(hashes):
            raise InputError(
                f"{part}.json is of other networks (seeds {', '.join(measured)}) than the ones trained "
                f"(seeds {', '.join(hashes)}); make it again"
            )


def _file(folder: Path, path: str | os.PathLike) -> dict[str, str]:
    return {"path": os.path.relpath(path, folder), "sha256": sha256(path)}


def _measured(tested: Mapping[str, Any]) -> dict[str, Any]:
    """The task's metrics, and what else of the evaluation is averaged over seeds."""
    mean, deviation, seeds = tested["mean"], tested["std"], tested["seeds"]
    return {
        "metrics": {
            name: {
                "mean": mean[name],
                "std": deviation[name],
                "seeds": {seed: entry[name] for seed, entry in seeds.items()},
            }
            for name in tested["metrics"]
        },
        "headline": tested["headline"],
        "larger_is_better": tested["larger_is_better"],
        "details": {
            name: {"mean": mean[name], "std": deviation[name]} for name in mean if name not in tested["metrics"]
        },
    }


def _part(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a measurement that goes into the result."""
    if name == "rmse":
        return {
            "layers": content["mean"]["layers"],
            "std": content["std"]["layers"],
            "shapes": content["shapes"],
            "positions": content["settings"]["positions"],
        }
    if name == "dynamics":
        return {"layers": content["mean"]["layers"], "std": content["std"]["layers"], "settings": content["settings"]}
    if name == "samples":
        # Of clouds there are no bins, and no other sets beside.
        kept = {key: content[key] for key in ("test", "missing", "mean", "std") if key in content}
        said = {key: _without_bins(numbers) for key, numbers in kept.items()}
        return {**said, **{key: content[key] for key in ("bins", "objects", "settings") if key in content}}
    if name == "footprint":
        return {key: content[key] for key in ("dim", "theory", "paper", "measured", "ratio") if key in content}
    return {key: value for key, value in content.items() if key not in ORIGIN}


def _without_bins(numbers: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if numbers is None else {name: value for name, value in numbers.items() if name != "bins"}


def _trained(trainings: Sequence[Training]) -> dict[str, Any]:
    """The facts about the trainings themselves."""
    by_seed = {str(entry["seed"]): (path, entry) for path, entry in trainings}
    first = trainings[0][1]
    seconds = {seed: entry["seconds"] for seed, (_, entry) in by_seed.items()}
    mean, deviation = over_seeds(list(seconds.values()))
    columns = [name for name in first["metrics"] if name.startswith("validation_")]
    histories = {seed: read_history(path.with_name("history.csv")) for seed, (path, _) in by_seed.items()}
    return {
        "history": {
            seed: {name: [row.get(name) for row in history] for name in columns} for seed, history in histories.items()
        },
        "validation": {
            seed: {name.removeprefix("validation_"): entry["metrics"][name] for name in columns}
            for seed, (_, entry) in by_seed.items()
        },
        "parameters": first["parameters"],
        **({"kernel_parameters": first["kernel_parameters"]} if "kernel_parameters" in first else {}),
        "seconds": {"training": {"mean": mean, "std": deviation, "seeds": seconds}},
        "training": {
            seed: {key: entry[key] for key in ("epochs", "steps", "resumed", "peak_memory", "device")}
            for seed, (_, entry) in by_seed.items()
        },
    }


def _origins(
    sampled: Mapping[str, Any],
    fitted: Mapping[str, Any],
    trainings: Sequence[Training],
    contents: Mapping[str, dict[str, Any]],
    run: Run,
) -> dict[str, Any]:
    """The tracking run and the code of every stage."""

    def of(key: str, own: Any) -> dict[str, Any]:
        return {
            "sample": sampled.get(key),
            "fit": fitted.get(key) if "fit" in fitted else None,
            "train": {str(entry["seed"]): entry[key] for _, entry in trainings},
            **{STAGES.get(part, part): content[key] for part, content in contents.items()},
            "summarise": own,
        }

    return {"runs": of("run_id", run.id), "provenance": of("provenance", provenance())}


def _track(
    run: Run,
    result: Mapping[str, Any],
    params: Mapping[str, Any],
    pictures: Sequence[Path],
    inputs: Sequence[tuple[str, str | os.PathLike]],
) -> None:
    """The numbers by which results are compared, and all settings that led to them, for the result's own run."""
    metrics, headline = result["metrics"], result["headline"]
    numbers = {headline: metrics[headline]["mean"], f"{headline}_std": metrics[headline]["std"]}
    numbers |= {name: value["mean"] for name, value in metrics.items() if name != headline}
    if "footprint" in result["measures"]:
        numbers["memory_mib"] = result["measures"]["footprint"]["measured"]["bytes"] / 2**20
    numbers |= {"parameters": result["parameters"], "training_seconds": result["seconds"]["training"]["mean"]}
    own = {key: value for key, value in result["runs"].items() if key not in ("sample", "fit")}  # others are shared
    runs = [*own.pop("train").values(), *own.values()]
    run.log_result(numbers, params, runs, pictures, inputs, larger_is_better=result["larger_is_better"])
