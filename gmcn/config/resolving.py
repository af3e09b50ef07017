"""The settings of data sets, fits and variants, with all that they inherit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gmcn.errors import InputError, unknown
from gmcn.stages import measures_of
from gmcn.tasks import DEFAULT_TASK

BY_NETWORK = "pointgmm"  # the method of a fit by a network, and the kind of that
BRANCHING = 5  # of a hierarchical fit that does not say its own
DEFAULT_METHOD = "kmeans"  # of a fit that does not say its own
DEFAULT_KIND = "gmcn"  # of a network that does not say its own
# `<variant>-fold2of5` is that variant, judged on one of the folds of its training split.
FOLD = r"-fold([1-9][0-9]*)of([1-9][0-9]*)"
# What a variant must say, itself or through its bases, before anything can be trained with it; `fit: null` is enough.
REQUIRED = ("fit", "seeds", "network", "training")
# What it says besides its settings.
ABOUT = ("base", "datasets", "description")


def dataset(config: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any]:
    """The settings of a data set, which its description is not one of."""
    return _without_description(entry(config["datasets"], "data set", name, where))


def fit(config: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any]:
    """The settings of an input fit; its components are divided by ``shrink``."""
    settings = _without_description(entry(config["fits"], "fit", name, where))
    if "shrink" not in config:
        return settings
    components = _shrunk(config, settings["components"])
    if settings.get("method") == "eckart":  # hierarchical: a power
        branching = settings.get("branching", BRANCHING)
        components = branching ** max(1, int(math.log(components, branching) + 1e-9))
    return {**settings, "components": components}


def network_of_fit(config: Mapping[str, Any], dataset_name: str | None, name: str) -> dict[str, Any] | None:
    """Variant, first seed and task of the network by which a fit makes its mixtures; None of fits without one.

    The network is trained on points, so that no fit waits for itself: :class:`InputError` where it is another one, in
    general (None) or on a data set.
    """
    own = fit(config, name)
    variant, by_network = own.get("variant"), own.get("method") == BY_NETWORK
    if variant is None and not by_network:
        return None
    if variant is None:
        raise InputError(f"fit '{name}' has no variant; name a network `kind: {BY_NETWORK}`")
    if not by_network:
        raise InputError(f"fit '{name}' names a variant, which belongs to `method: {BY_NETWORK}`")
    variant_entry(config, variant, f" in fit '{name}'")
    settings = merge(merged(config, dataset_name, variant), config.get("every_variant", {}))
    if settings.get("fit", "") is not None or kind_of(settings) != BY_NETWORK:
        raise InputError(
            f"fit '{name}' is made by variant '{variant}', which must be a network `kind: {BY_NETWORK}` with "
            "`fit: null`"
        )
    seed = next(iter(settings.get("seeds", ())), None)
    return {"variant": variant, "seed": seed, "task": settings.get("task", DEFAULT_TASK)}


def resolve(config: Mapping[str, Any], dataset_name: str, variant: str) -> dict[str, Any]:
    """The full settings of ``variant`` on a data set.

    Bases come first (the furthest first), then the variant's own keys; within each of them what it says under
    ``datasets`` for this data set follows its general keys; ``every_variant`` comes last. Mappings are merged,
    everything else is replaced; so is a network by one of another kind. Layers are divided by ``shrink``.
    """
    dataset(config, dataset_name)
    resolved = copied(merge(merged(config, dataset_name, variant), config.get("every_variant", {})))
    if kind_of(resolved) == DEFAULT_KIND and "layers" in resolved.get("network", {}):
        resolved["network"]["layers"] = [[_shrunk(config, n) for n in layer] for layer in resolved["network"]["layers"]]
    required = (*REQUIRED, "probe") if "rmse" in measured(resolved) else REQUIRED
    if "outliers" in resolved:
        dataset(config, resolved["outliers"], f" in `outliers` of variant '{variant}'")
    if "votes" in resolved:
        _check_votes(config, dataset_name, variant, resolved)
    missing = [key for key in required if key not in resolved]
    if missing:
        raise InputError(f"variant '{variant}' has no {' and no '.join(missing)}, and neither has any of its bases")
    return resolved


def _check_votes(config: Mapping[str, Any], dataset_name: str, variant: str, resolved: Mapping[str, Any]) -> None:
    """Raise one sentence where no votes can be cast, or all would be the same, before anything is trained."""
    training = resolved.get("training", {})
    method = config["fits"].get(resolved.get("fit"), {}).get("method", DEFAULT_METHOD)
    if resolved.get("task", DEFAULT_TASK) != DEFAULT_TASK:
        raise InputError(f"variant '{variant}' has `votes`, which are for the task {DEFAULT_TASK}; leave them out")
    if resolved.get("fit") is None and not (training.get("views") or training.get("augmentation")):
        raise InputError(
            f"variant '{variant}' has `votes`, but nothing in its training varies an object; set training.views or "
            "training.augmentation, or leave them out"
        )
    if method in (BY_NETWORK, "treehem"):
        raise InputError(
            f"variant '{variant}' has `votes`, which are cast on new fits, but the method {method} makes none; leave "
            "them out, or set another fit"
        )
    # Where there are views, the training says it.
    if (
        resolved.get("fit") is not None
        and not training.get("views")
        and config["datasets"][dataset_name]["kind"] in ("digits", "images")
    ):
        raise InputError(
            f"variant '{variant}' has `votes`, which are cast on new fits of points, but {dataset_name} has images; "
            "leave them out"
        )


def kind_of(settings: Mapping[str, Any]) -> str:
    """The kind of the network in settings such as a variant's."""
    return settings.get("network", {}).get("kind", DEFAULT_KIND)


def measured(settings: Mapping[str, Any]) -> list[str]:
    """The measurements of a variant's networks besides the evaluation, by the names of their artifacts."""
    return measures_of(kind_of(settings))


def figure_of(config: Mapping[str, Any], dataset_name: str) -> dict[str, Any]:
    """The settings of the figure of a data set's fits: its own entry on top of the default one."""
    dataset(config, dataset_name)
    figures = config.get("figures", {})
    figure = merge(figures.get("default", {}), figures.get(dataset_name, {}))
    if "fits" not in figure:
        raise InputError(f"the configuration has no fits for a figure of {dataset_name}: add figures.{dataset_name}")
    return figure


def measured_dataset(config: Mapping[str, Any]) -> str:
    """The name of the data set of the figures of Gaussian mixture layers."""
    return config.get("gm_layers", {}).get("dataset", "mnist")


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the keys of ``override`` on top; only mappings are merged. What only one has is shared with it."""
    both = dict(base)
    for key, value in override.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merge(both[key], value) if nested else value
    return both


def copied(value: Any) -> Any:
    """A deep copy of mappings and lists as YAML has them, many times as fast as :func:`copy.deepcopy`."""
    if isinstance(value, Mapping):
        return {key: copied(one) for key, one in value.items()}
    return [copied(one) for one in value] if isinstance(value, list) else value


def merged(config: Mapping[str, Any], dataset_name: str | None, variant: str) -> dict[str, Any]:
    """The settings of a variant and its bases, in general (None) or on a data set; not to be changed."""
    settings: dict[str, Any] = {}
    for name in chain(config, variant):
        says = variant_entry(config, name)
        own = {key: value for key, value in says.items() if key not in ABOUT}
        for layer in (own, says.get("datasets", {}).get(dataset_name, {})):
            if "kind" in layer.get("network", {}) and kind_of(settings) != kind_of(layer):
                settings.pop("network", None)  # no key of one kind means anything to another
            settings = merge(settings, layer)
    return settings


def task_of(config: Mapping[str, Any], variant: str) -> str:
    """The task of a variant; it is the same on every data set."""
    return merged(config, None, variant).get("task", DEFAULT_TASK)


def chain(config: Mapping[str, Any], variant: str) -> list[str]:
    """The names of the variant's bases, the furthest first, and its own last."""
    names: list[str] = []
    name: str | None = variant
    while name is not None:
        if name in names:
            raise InputError(f"variants are based on each other in a circle: {' -> '.join([*names, name])}")
        where = f" as the base of variant '{names[-1]}'" if names else ""
        names.append(name)
        name = variant_entry(config, name, where).get("base")
    return names[::-1]


def variant_entry(config: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any]:
    """A variant's own entry, without its bases. A variant on a fold has only the fold, and the variant as its base."""
    if name in config["variants"] or not (match := re.fullmatch(f"(.+){FOLD}", name)):
        return entry(config["variants"], "variant", name, where)
    base, fold, folds = match.groups()
    entry(config["variants"], "variant", base, where)
    if not int(fold) <= int(folds) >= 2:
        raise InputError(f"'{name}' names fold {fold} of {folds}, which does not exist{where}")
    return {"base": base, "training": {"fold": f"{fold} of {folds}"}}


def entry(section: Mapping[str, Any], kind: str, name: str, where: str) -> dict[str, Any]:
    """The entry of a section under a name; an :class:`InputError` that ends with ``where`` if there is none."""
    if name not in section:
        sentence = unknown(kind, name, section)
        raise InputError(f"{sentence}{where}")
    return section[name]


def _without_description(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "description"}


def _shrunk(config: Mapping[str, Any], number: int) -> int:
    return max(1, number // config.get("shrink", 1))
