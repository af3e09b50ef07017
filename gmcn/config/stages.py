"""The part of the configuration that each stage gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gmcn.addresses import plain
from gmcn.config.illustrations import COMPARED, DATASETS, Comparison
from gmcn.config.resolving import copied, dataset, entry, figure_of, fit, resolve
from gmcn.config.tables import table_of
from gmcn.launching import HOW, PROCESSES
from gmcn.stages import STAGES
from gmcn.tasks import DEFAULT_TASK

# Stages of no data set, by the section of the configuration that they are given.
SECTIONS = {
    "least-squares": "least_squares",
    "draw-figure": "illustrations",
    "draw-layers": "gm_layers",
}


def stage_settings(config: Mapping[str, Any], stage: str, dataset_name: str, name: str | None) -> dict[str, Any]:
    """The settings that ``stage`` reads, and no others: a change of any other key must not run it again.

    ``name`` is a file for ``download`` (None: all of them), the fit for ``fit``, the table for ``table``, the figure
    for ``draw-results``, and the variant after that; these two and those of :data:`SECTIONS` are of no data set.
    """
    if stage == "download":
        own = dataset(config, dataset_name)
        files = {file["name"]: file for file in own.get("files", [])}
        wanted = list(files.values()) if name is None else [entry(files, f"file of {dataset_name}", name, "")]
        return copied({"kind": own["kind"], "files": wanted})
    if stage == "sample":
        own = copied(dataset(config, dataset_name))
        if "files" in own:  # their content is an input; another address for it changes nothing
            own["files"] = [{"name": file["name"]} for file in own["files"]]
        return own
    if stage == "fit":
        dataset(config, dataset_name)
        return copied(fit(config, str(name)))
    if stage == "draw-fits":
        return copied(figure_of(config, dataset_name))
    if stage == "draw-results":
        return copied(config.get(COMPARED[str(name)].section, {}))
    if stage in SECTIONS:
        return copied(config.get(SECTIONS[stage], {}))
    if stage == "table":
        return table_of(config, str(name))
    resolved = resolve(config, dataset_name, str(name))
    if resolved.get("task") == DEFAULT_TASK:  # said or not, it is the same
        del resolved["task"]
    if stage in ("probe", "dynamics", "samples"):
        return resolved.get(stage, {})
    if stage == "summarise":
        return resolved
    given = {key: resolved[key] for key in STAGES[stage].settings if key in resolved}
    if "training" in given:
        given["training"] = {key: value for key, value in given["training"].items() if key not in HOW}
    return given


def compared(config: Mapping[str, Any], figure: Comparison) -> dict[str, tuple[str, dict[str, Any]]]:
    """What a figure of results reads: by name, <data set>_<variant or rival>, the artifact and its path's fields."""
    section = figure.section
    datasets = config.get(section, {}).get("datasets", DATASETS[section])
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in figure.names(datasets):
        dataset_name, what = name.split("_")
        dataset(config, dataset_name, f" in {section}.datasets")
        if what == "points":
            found[name] = "points", {"dataset": dataset_name}
        elif what in figure.rivals:
            found[name] = "rival", {"dataset": dataset_name, "rival": what}
        else:
            seed = resolve(config, dataset_name, what)["seeds"][0]
            found[name] = figure.needs, {"dataset": dataset_name, "variant": what, "seed": seed}
    return found


def secret_addresses(config: Mapping[str, Any]) -> dict[str, str]:
    """By ``<data set>/<file>``, the published addresses that have a user, password or query."""
    files = {
        f"{name}/{file['name']}": file for name, own in config["datasets"].items() for file in own.get("files", [])
    }
    return {key: file["url"] for key, file in files.items() if file["url"] and plain(file["url"]) != file["url"]}


def processes_of(config: Mapping[str, Any], dataset_name: str, variant: str) -> dict[str, int]:
    """The devices (per node) and nodes that train a variant on a data set."""
    return {key: how_of(config, dataset_name, variant).get(key, 1) for key in PROCESSES}


def how_of(config: Mapping[str, Any], dataset_name: str, variant: str) -> dict[str, Any]:
    """How a variant is trained on a data set, as far as the configuration says it."""
    training = resolve(config, dataset_name, variant)["training"]
    return {key: training[key] for key in HOW if key in training}
