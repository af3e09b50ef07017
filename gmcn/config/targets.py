"""Checks that a target of the user has a name that the configuration knows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from gmcn.config.illustrations import COMPARED, ILLUSTRATIONS, MEASURED
from gmcn.config.resolving import dataset, entry, figure_of, measured_dataset, variant_entry
from gmcn.config.sections import RIVALS
from gmcn.config.stages import compared
from gmcn.errors import InputError
from gmcn.stages.paths import folder_of


def check_target(config: Mapping[str, Any], target: str) -> None:
    """Raise one sentence when ``target`` is a path below the results that names something unknown."""
    path, results = (PurePosixPath(os.path.abspath(name)) for name in (target, config.get("results", "results")))
    if not path.is_relative_to(results) or path == results:
        return
    folder, *rest = path.relative_to(results).parts
    if not rest:
        if path.suffix == ".json":
            check_pair(config, path.stem, target, "variant")
        return
    name, stem = rest[0], PurePosixPath(rest[0]).stem
    if folder == folder_of("run"):
        check_pair(config, name, target, "variant")
    elif folder == folder_of("mixtures"):
        check_pair(config, stem, target, "fit")
    elif folder == folder_of("rival"):
        check_pair(config, stem, target, "rival")
    elif folder == folder_of("points"):
        dataset(config, stem)
    elif folder == folder_of("downloads"):
        dataset(config, name)
    elif folder == folder_of("table") and name != "all":
        entry(config.get("tables", {}), "table", stem, "")
    elif folder == folder_of("figure") and name == "all":
        if "illustrations" not in config:
            raise InputError("the configuration has no network for the paper's figures: add illustrations.result")
    elif folder == folder_of("figure"):
        _check_figure(config, target)


def check_pair(config: Mapping[str, Any], stem: str, target: str, kind: str) -> None:
    dataset_name, separator, name = stem.partition("_")
    if not separator:
        raise InputError(f"'{target}' names no {kind}: results are called <data set>_<{kind}>, as in digits_...")
    dataset(config, dataset_name)
    if kind == "variant":
        variant_entry(config, name)
    else:
        entry(RIVALS if kind == "rival" else config["fits"], kind, name, "")


def _check_figure(config: Mapping[str, Any], target: str) -> None:
    path = PurePosixPath(target)
    if path.stem in ILLUSTRATIONS and path.suffix in (".png", ".svg"):
        if ILLUSTRATIONS[path.stem].shows != "nothing" and "illustrations" not in config:
            raise InputError(f"the configuration has no network for {path.stem}: add illustrations.result")
        return
    if path.stem in MEASURED and path.suffix in (".png", ".svg", ".json"):
        dataset(config, measured_dataset(config), " in gm_layers.dataset")
        return
    if path.stem in COMPARED and path.suffix in COMPARED[path.stem].suffixes:
        compared(config, COMPARED[path.stem])
        return
    dataset_name, separator, what = path.stem.partition("_")
    if not separator or what != "fits" or path.suffix not in (".png", ".svg", ".html"):
        raise InputError(
            f"'{target}' is no figure: they are called <data set>_fits.png, .svg and .html, and "
            f"{', '.join([*ILLUSTRATIONS, *MEASURED, *COMPARED])} (.png, .svg; of clouds .png, .html)"
        )
    figure_of(config, dataset_name)
