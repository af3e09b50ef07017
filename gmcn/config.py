"""The workflow's configuration: read, checked against its schema, and resolved per data set and variant."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from gmcn.config_errors import explain
from gmcn.errors import InputError, brief, foreign, unknown

SCHEMA = Path(__file__).resolve().parent.parent / "workflow" / "schemas" / "config.schema.json"

DEFAULT_KIND = "gmcn"  # of a network that does not say its own

_LONGEST = 1_000_000  # characters of a configuration; ours has some 30,000

# What a variant must say, itself or through its bases, before anything can be trained with it.
REQUIRED = ("fit", "seeds", "network", "training", "probe")
# How a training runs, and not what it computes: a change makes nothing run again.
PROCESSES = ("devices", "nodes")
# The paper's figures that are drawn by name, and a picture of how TreeHEM works.
ILLUSTRATIONS = ("figure2", "figure3", "figure7", "figure8", "figure9", "treehem")


def load(*paths: str | Path) -> dict[str, Any]:
    """Read YAML files, later ones overriding keys of earlier ones, and check the outcome.

    Raises :class:`InputError` for a missing or unreadable file and for whatever :func:`check` refuses.
    """
    import yaml

    config: dict[str, Any] = {}
    for path in paths:
        unreadable = f"the configuration {path} is not readable YAML"
        try:
            # PyYAML raises errors that are not its own for "2024-99-99", "!!bool x" and "[[[[...".
            with foreign(unreadable):
                read = _parse(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"the configuration {path} does not exist; name one with --config") from None
        except yaml.YAMLError as error:
            raise InputError(f"{unreadable}: {brief(error)}") from error
        if not isinstance(read, dict):
            raise InputError(f"the configuration {path} must be a mapping of keys to values")
        config = merge(config, read)
    return check(config, source=", ".join(map(str, paths)))


def _parse(text: str) -> Any:
    """The value of a YAML text that is not larger with its aliases written out than a person would write."""
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        nodes, size = [root] if root else [], 0
        while nodes:
            node = nodes.pop()
            children = node.value if isinstance(node.value, list) else ()
            nodes += (child for entry in children for child in (entry if isinstance(entry, tuple) else (entry,)))
            size += 1 if children else 1 + len(node.value)
            if size > _LONGEST:
                raise ValueError(f"with its aliases written out it has more than {_LONGEST:,} characters")
        return loader.construct_document(root) if root else None
    finally:
        loader.dispose()


def check(config: dict[str, Any], source: str = "config.yaml") -> dict[str, Any]:
    """Return ``config`` if it fits the schema and every name in it exists; raise one sentence otherwise."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        raise InputError(
            f"checking {source} needs jsonschema: pip install 'gmcn[workflow]', or pass --settings"
        ) from None
    if not SCHEMA.is_file():
        raise InputError(f"{SCHEMA} is missing; run from a checkout of the project, or pass --settings")
    # Through JSON, because Snakemake hands over its own mapping types.
    with foreign(f"{source} holds something that is neither text nor number nor list nor mapping"):
        plain = json.loads(json.dumps(config, allow_nan=False))
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    errors = sorted(validator.iter_errors(plain), key=lambda e: list(map(str, e.path)))
    if errors:
        raise explain(errors[0], source)
    for name, variant in plain["variants"].items():
        fits = [variant.get("fit")] + [override.get("fit") for override in variant.get("datasets", {}).values()]
        for fit_name in filter(None, fits):
            fit(plain, fit_name, where=f" in {source} at variants.{name}")
        for dataset_name in variant.get("datasets", {}):
            dataset(plain, dataset_name, where=f" in {source} at variants.{name}.datasets")
        _chain(plain, name)
    _check_networks(plain, validator, source)
    for target in plain.get("targets", []):
        _check_pair(plain, target, target, "variant")
    if (illustrated := plain.get("illustrations", {}).get("result")) is not None:
        _check_pair(plain, illustrated, illustrated, "variant")
    from gmcn.config_tables import check_tables  # which needs this module

    check_tables(plain, source)
    for dataset_name, figure in plain.get("figures", {}).items():
        if dataset_name != "default":
            dataset(plain, dataset_name, where=f" in {source} at figures")
        for fit_name in figure.get("fits", []):
            fit(plain, fit_name, where=f" in {source} at figures.{dataset_name}")
    return config


def dataset(config: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any]:
    """The settings of a data set."""
    return _entry(config["datasets"], "data set", name, where)


def fit(config: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any]:
    """The settings of an input fit; its components are divided by ``shrink``."""
    settings = _entry(config["fits"], "fit", name, where)
    if "shrink" not in config:
        return settings
    components = _shrunk(config, settings["components"])
    if "branching" in settings:  # hierarchical: a power of it
        components = settings["branching"] ** max(1, int(math.log(components, settings["branching"]) + 1e-9))
    return {**settings, "components": components}


def resolve(config: Mapping[str, Any], dataset_name: str, variant: str) -> dict[str, Any]:
    """The full settings of ``variant`` on a data set.

    Bases come first (the furthest first), then the variant's own keys; within each of them what it says under
    ``datasets`` for this data set follows its general keys; ``every_variant`` comes last. Mappings are merged,
    everything else is replaced; so is a network by one of another kind. Layers are divided by ``shrink``.
    """
    dataset(config, dataset_name)
    resolved = merge(_merged(config, dataset_name, variant), config.get("every_variant", {}))
    if "layers" in resolved.get("network", {}):
        resolved["network"]["layers"] = [[_shrunk(config, n) for n in layer] for layer in resolved["network"]["layers"]]
    missing = [key for key in REQUIRED if key not in resolved]
    if missing:
        raise InputError(f"variant '{variant}' does not say {' and '.join(missing)}, and neither does any base of it")
    return resolved


def figure_of(config: Mapping[str, Any], dataset_name: str) -> dict[str, Any]:
    """What the figure of a data set's fits shows: its own entry on top of the default one."""
    dataset(config, dataset_name)
    figures = config.get("figures", {})
    figure = merge(figures.get("default", {}), figures.get(dataset_name, {}))
    if "fits" not in figure:
        raise InputError(f"the configuration says no fits for a figure of {dataset_name}: add figures.{dataset_name}")
    return figure


def stage_settings(config: Mapping[str, Any], stage: str, dataset_name: str, name: str | None) -> dict[str, Any]:
    """What ``stage`` is given, and no more: a key that it does not read must not make it run again.

    ``name`` is a file for ``download`` (None: all of them), the fit for ``fit``, the table for ``table``, and the
    variant after that; ``least-squares``, ``table`` and ``draw-figure`` are of no data set.
    """
    if stage == "download":
        own = dataset(config, dataset_name)
        files = {entry["name"]: entry for entry in own.get("files", [])}
        wanted = list(files.values()) if name is None else [_entry(files, f"file of {dataset_name}", name, "")]
        return copy.deepcopy({"kind": own["kind"], "files": wanted})
    if stage == "sample":
        own = copy.deepcopy(dataset(config, dataset_name))
        if "files" in own:  # their content is an input; another address for it changes nothing
            own["files"] = [{"name": entry["name"]} for entry in own["files"]]
        return own
    if stage == "fit":
        dataset(config, dataset_name)
        return copy.deepcopy(fit(config, str(name)))
    if stage == "draw-fits":
        return figure_of(config, dataset_name)
    if stage in ("least-squares", "draw-figure"):
        return dict(config.get("least_squares" if stage == "least-squares" else "illustrations", {}))
    if stage == "table":
        from gmcn.config_tables import table_of

        return table_of(config, str(name))
    resolved = resolve(config, dataset_name, str(name))
    keys = {
        "train": ("network", "training"),
        "evaluate": (),
        "probe": ("probe",),
        "footprint": ("network", "training"),
        "summarise": tuple(resolved),
    }[stage]
    if stage in ("train", "footprint"):
        resolved["training"] = {key: value for key, value in resolved["training"].items() if key not in PROCESSES}
    return resolved["probe"] if stage == "probe" else {key: resolved[key] for key in keys}


def processes_of(config: Mapping[str, Any], dataset_name: str, variant: str) -> dict[str, int]:
    """The devices (per node) and nodes that train a variant on a data set."""
    training = resolve(config, dataset_name, variant)["training"]
    return {key: training.get(key, 1) for key in PROCESSES}


def check_target(config: Mapping[str, Any], target: str) -> None:
    """Raise one sentence when ``target`` is a path below the results that names something unknown."""
    path, results = PurePosixPath(target), PurePosixPath(config.get("results", "results"))
    if not path.is_relative_to(results) or path == results:
        return
    folder, *rest = path.relative_to(results).parts
    if not rest and path.suffix == ".json":
        _check_pair(config, path.stem, target, "variant")
    elif folder == "runs" and rest:
        _check_pair(config, rest[0], target, "variant")
    elif folder == "mixtures" and rest:
        _check_pair(config, PurePosixPath(rest[0]).stem, target, "fit")
    elif folder == "points" and rest:
        dataset(config, PurePosixPath(rest[0]).stem)
    elif folder == "datasets" and rest:
        dataset(config, rest[0])
    elif folder == "tables" and rest and rest[0] != "all":
        _entry(config.get("tables", {}), "table", PurePosixPath(rest[0]).stem, "")
    elif folder == "figures" and rest and rest[0] != "all":
        _check_figure(config, path)


def _shrunk(config: Mapping[str, Any], number: int) -> int:
    return max(1, number // config.get("shrink", 1))


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of ``base`` with the keys of ``override`` on top; only mappings are merged."""
    merged = copy.deepcopy(dict(base))
    for key, value in override.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def _merged(config: Mapping[str, Any], dataset_name: str | None, variant: str) -> dict[str, Any]:
    """What a variant and its bases say, in general (None) or on a data set."""
    merged: dict[str, Any] = {}
    for name in _chain(config, variant):
        own = {key: value for key, value in config["variants"][name].items() if key not in ("base", "datasets")}
        for layer in (own, config["variants"][name].get("datasets", {}).get(dataset_name, {})):
            kinds = [part.get("network", {}).get("kind", DEFAULT_KIND) for part in (merged, layer)]
            if "kind" in layer.get("network", {}) and kinds[0] != kinds[1]:
                merged.pop("network", None)  # no key of one kind means anything to another
            merged = merge(merged, layer)
    return merged


def _check_networks(config: Mapping[str, Any], validator: Any, source: str) -> None:
    """Every variant's network must have the keys of its kind, which may be that of a base."""
    variants = config["variants"]
    overridden = {name for variant in variants.values() for name in variant.get("datasets", {})}
    for dataset_name in (None, *sorted(overridden)):
        networks = {name: _merged(config, dataset_name, name).get("network", {}) for name in variants}
        whole = {name: {"network": {"kind": DEFAULT_KIND, **network}} for name, network in networks.items()}
        errors = list(validator.iter_errors({**config, "variants": whole}))
        if errors:  # that of a base before those of its heirs
            raise explain(min(errors, key=lambda e: len(_chain(config, e.path[1]))), source)


def _check_figure(config: Mapping[str, Any], path: PurePosixPath) -> None:
    if path.stem in ILLUSTRATIONS and path.suffix in (".png", ".svg"):
        if "illustrations" not in config:
            raise InputError(f"the configuration says no network for {path.stem}: add illustrations.result")
        return
    dataset_name, separator, what = path.stem.partition("_")
    if not separator or what != "fits" or path.suffix not in (".png", ".svg", ".html"):
        raise InputError(
            f"'{path}' is no figure: they are called <data set>_fits.png, .svg and .html, and "
            f"{', '.join(ILLUSTRATIONS)} (.png, .svg)"
        )
    figure_of(config, dataset_name)


def _check_pair(config: Mapping[str, Any], stem: str, target: str, kind: str) -> None:
    dataset_name, separator, name = stem.partition("_")
    if not separator:
        raise InputError(f"'{target}' names no {kind}: results are called <data set>_<{kind}>, as in digits_...")
    dataset(config, dataset_name)
    _entry(config["variants" if kind == "variant" else "fits"], kind, name, "")


def _chain(config: Mapping[str, Any], variant: str) -> list[str]:
    """The names of the variant's bases, the furthest first, and its own last."""
    names: list[str] = []
    name: str | None = variant
    while name is not None:
        if name in names:
            raise InputError(f"variants are based on each other in a circle: {' -> '.join([*names, name])}")
        where = f" as the base of variant '{names[-1]}'" if names else ""
        names.append(name)
        name = _entry(config["variants"], "variant", name, where).get("base")
    return names[::-1]


def _entry(section: Mapping[str, Any], kind: str, name: str, where: str) -> dict[str, Any]:
    if name not in section:
        sentence = unknown(kind, name, section)
        raise InputError(f"{sentence}{where}")
    return section[name]
