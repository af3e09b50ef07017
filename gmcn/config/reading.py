"""The configuration's files, read and checked: against the schema, and every name in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gmcn.config.errors import explain
from gmcn.config.resolving import DEFAULT_KIND, chain, dataset, fit, merge, merged
from gmcn.config.tables import check_tables
from gmcn.config.targets import check_pair
from gmcn.errors import InputError, brief, foreign

SCHEMA = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "config.schema.json"

_LONGEST = 1_000_000  # characters of a configuration; ours has some 30,000


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
        chain(plain, name)
    _check_networks(plain, validator, source)
    for target in plain.get("targets", []):
        check_pair(plain, target, target, "variant")
    if (illustrated := plain.get("illustrations", {}).get("result")) is not None:
        check_pair(plain, illustrated, illustrated, "variant")
    check_tables(plain, source)
    for dataset_name, figure in plain.get("figures", {}).items():
        if dataset_name != "default":
            dataset(plain, dataset_name, where=f" in {source} at figures")
        for fit_name in figure.get("fits", []):
            fit(plain, fit_name, where=f" in {source} at figures.{dataset_name}")
    return config


def _check_networks(config: Mapping[str, Any], validator: Any, source: str) -> None:
    """Every variant's network must have the keys of its kind, which may be that of a base."""
    variants = config["variants"]
    overridden = {name for variant in variants.values() for name in variant.get("datasets", {})}
    for dataset_name in (None, *sorted(overridden)):
        networks = {name: merged(config, dataset_name, name).get("network", {}) for name in variants}
        whole = {name: {"network": {"kind": DEFAULT_KIND, **network}} for name, network in networks.items()}
        errors = list(validator.iter_errors({**config, "variants": whole}))
        if errors:  # that of a base before those of its heirs
            raise explain(min(errors, key=lambda e: len(chain(config, e.path[1]))), source)
