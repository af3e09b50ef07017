"""The configuration's files, read and checked: against the schema, and every name in them."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gmcn.config.meaning import check_keys, take_texts
from gmcn.config.resolving import (
    DEFAULT_KIND,
    chain,
    dataset,
    fit,
    merge,
    merged,
    network_of_fit,
    variant_entry,
)
from gmcn.config.tables import check_tables
from gmcn.config.targets import check_pair
from gmcn.errors import InputError, brief, foreign, unknown
from gmcn.faults import Fault, sentence
from gmcn.tasks import DEFAULT_TASK, TASKS

SCHEMA = Path(__file__).with_name("config.schema.json")

log = logging.getLogger(__name__)

_DEEPEST = 50  # mappings and lists in each other; ours has 8
_LONGEST = 1_000_000  # characters of a configuration; ours has some 30,000


def load(*paths: str | Path) -> dict[str, Any]:
    """Read YAML files as :func:`together` does, and check the outcome.

    Raises :class:`InputError` for whatever :func:`together` and :func:`check` refuse.
    """
    return check(together(*paths), source=", ".join(map(str, paths)))


def together(*paths: str | Path) -> dict[str, Any]:
    """The merged content of YAML files, unchecked: keys of later files win.

    Files that one of them names under ``include`` lie below all of ``paths`` and below the file that names them, of
    several the last one on top. Their names are relative to the folder of that file.

    Raises :class:`InputError` for a missing or unreadable file, and for files that include each other in a circle.
    """
    layers: dict[Path, dict[str, Any]] = {}  # the lowest first
    own = [_add(Path(path), read(path), layers, ()) for path in paths]
    config: dict[str, Any] = {}
    for layer in (*own, *layers.values(), *own):  # first for the order: what paths name themselves is listed first
        config = merge(config, layer)
    return config


def _add(path: Path, said: dict[str, Any], layers: dict[Path, dict], above: tuple[Path, ...]) -> dict[str, Any]:
    """Add the files that ``path`` includes to ``layers``; return its content without ``include``."""
    names = said.pop("include", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: 'include' is {names!r:.100}, but must be a list of file names, as in [more.yaml]")
    above = (*above, path.resolve())
    for name in names:
        with foreign(f"{path} includes {name!r:.100}, which cannot be a file"):
            file = (above[-1].parent / Path(name).expanduser()).resolve()
        if file in above:
            circle = " -> ".join(str(each) for each in (*above[above.index(file) :], file))
            raise InputError(f"configurations include each other in a circle: {circle}")
        if not file.is_file():
            raise InputError(f"{path} includes {name}, but {file} does not exist")
        if file not in layers:
            layers[file] = _add(file, read(file), layers, above)
    return said


def read(path: str | Path) -> dict[str, Any]:
    """The content of one YAML file. Only its keys are checked: each is text, and none appears twice in one place.

    Raises :class:`InputError` otherwise, and for a missing or unreadable file.
    """
    import yaml

    unreadable = f"the configuration {path} is not readable YAML"
    try:
        # PyYAML raises errors that are not its own for "2024-99-99", "!!bool x" and "[[[[...".
        with foreign(unreadable):
            text = Path(path).read_text(encoding="utf-8")
            # JSON is YAML but for its tabs, which stand between its words alone.
            text = text.replace("\t", " ") if Path(path).suffix == ".json" else text
            found = _parse(text, str(path), _loader(text))
    except FileNotFoundError:
        raise InputError(f"the configuration {path} does not exist; name one with --config") from None
    except yaml.YAMLError as error:
        tabs = "; tabs indent nothing in YAML, use blanks" if "'\\t'" in str(error) else ""
        raise InputError(f"{unreadable}: {brief(error)}{tabs}") from error
    if not isinstance(found, dict):
        raise InputError(f"the configuration {path} must be a mapping of keys to values")
    check_keys(found, str(path))
    return found


def _loader(text: str) -> Any:
    """The loader in C, ten times as fast, for text that both read alike; else PyYAML's own.

    Only the latter says what is wrong, refuses tabs everywhere, and ends in an error where values nest too deep.
    """
    import yaml

    fast = getattr(yaml, "CSafeLoader", None)
    if fast is None or "\t" in text:
        return yaml.SafeLoader
    depth = deepest = 0
    try:
        for event in yaml.parse(text, Loader=fast):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            deepest = max(deepest, depth)
    except yaml.YAMLError:
        return yaml.SafeLoader
    return fast if deepest < _DEEPEST else yaml.SafeLoader


def _parse(text: str, source: str, loader_of: Callable[[str], Any]) -> Any:
    """The value of a YAML text that is not larger with its aliases written out than a person would write."""
    import yaml

    loader = loader_of(text)
    try:
        root = loader.get_single_node()
        nodes, size = [root] if root else [], 0
        while nodes:
            node = nodes.pop()
            if isinstance(node, yaml.MappingNode):
                _check_twice([key for key, _ in node.value if isinstance(key, yaml.ScalarNode)], source)
            children = node.value if isinstance(node.value, list) else ()
            nodes += (child for entry in children for child in (entry if isinstance(entry, tuple) else (entry,)))
            size += 1 if children else 1 + len(node.value)
            if size > _LONGEST:
                raise ValueError(f"with its aliases written out it has more than {_LONGEST:,} characters")
        return loader.construct_document(root) if root else None
    finally:
        loader.dispose()


def _check_twice(keys: Iterable[Any], source: str) -> None:
    """Raise for equal names, of which PyYAML, and so Snakemake's reader, silently takes the last."""
    lines: dict[tuple[str, str], int] = {}
    for key in keys:
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines and key.value != "<<":
            raise InputError(f"{source} says '{key.value[:100]}' twice in one place, in lines {lines[name]} and {line}")
        lines[name] = line


def check(config: Mapping[str, Any], source: str = "config.yaml") -> dict[str, Any]:
    """A copy of ``config`` if it fits the schema and every name in it exists; raise one sentence otherwise.

    Text is taken for what it stands for where the schema wants a number, true or false. Without jsonschema, which a
    node that only trains may lack, only the names are checked, with a warning.
    """
    check_keys(config, source)
    if isinstance(config, Mapping) and "include" in config:
        raise InputError(f"{source}: 'include' is read from files: name the file with --configfile or --config instead")
    # Through JSON, because Snakemake hands over its own mapping types.
    with foreign(f"{source} holds something that is neither text nor number nor list nor mapping"):
        plain = json.loads(json.dumps(config, allow_nan=False))
    results = plain.get("results") if isinstance(plain, dict) else None
    if results and isinstance(results, str):
        # Snakemake would take what is between braces for a wildcard, and results/ for another folder than results.
        if re.search(r"[{}]", results):
            raise InputError(f"'results' is '{results}' in {source}, but must have no braces")
        plain["results"] = os.path.normpath(os.path.expanduser(results))
    validator = _validator()
    if validator is None:
        log.warning("%s is not checked against its schema: pip install jsonschema", source)
        with foreign(f"{source} is no configuration"):
            _check_names(plain, source)
        return plain
    while take_texts(errors := list(validator.iter_errors(plain)), lambda error: [(plain, error.absolute_path)]):
        pass
    if errors:
        raise _explained(min(errors, key=lambda e: list(map(str, e.path))), source)
    _check_names(plain, source)
    _check_networks(plain, validator, source)
    return plain


@functools.cache
def _validator() -> Any:
    """The validator of the schema; None without jsonschema."""
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend
    except ImportError:
        return None
    # 2.0 is an integer for JSON Schema, but not for Python.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return extend(Draft202012Validator, type_checker=types)(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _check_names(plain: Mapping[str, Any], source: str) -> None:
    """Every name that is referred to must exist."""
    for name, variant in plain["variants"].items():
        fits = [variant.get("fit")] + [override.get("fit") for override in variant.get("datasets", {}).values()]
        for fit_name in filter(None, fits):
            fit(plain, fit_name, where=f" in {source} at variants.{name}")
        for dataset_name in variant.get("datasets", {}):
            dataset(plain, dataset_name, where=f" in {source} at variants.{name}.datasets")
        chain(plain, name)
        if (task := variant.get("task", DEFAULT_TASK)) not in TASKS:
            raise InputError(f"{unknown('task', task, TASKS)} in {source} at variants.{name}")
    for name in plain["fits"]:
        network_of_fit(plain, None, name)
    for target in (*plain.get("targets", []), *plain.get("queue", [])):
        check_pair(plain, target, target, "variant")
    if (illustrated := plain.get("illustrations", {}).get("result")) is not None:
        check_pair(plain, illustrated, illustrated, "variant")
    check_tables(plain, source)
    for dataset_name, figure in plain.get("figures", {}).items():
        if dataset_name != "default":
            dataset(plain, dataset_name, where=f" in {source} at figures")
        for fit_name in figure.get("fits", []):
            fit(plain, fit_name, where=f" in {source} at figures.{dataset_name}")


def _check_networks(config: Mapping[str, Any], validator: Any, source: str) -> None:
    """Every variant's network must have the keys of its kind, which may be that of a base."""
    variants = config["variants"]
    overridden = {name for variant in variants.values() for name in variant.get("datasets", {})}
    for dataset_name in (None, *sorted(overridden)):
        while take_texts(errors := _network_errors(config, validator, dataset_name), lambda e: _layers(config, e)):
            pass
        if errors:  # that of a base before those of its heirs
            raise _explained(min(errors, key=lambda e: len(chain(config, e.path[1]))), source)


def _network_errors(config: Mapping[str, Any], validator: Any, dataset_name: str | None) -> list[Any]:
    """What is wrong with networks in general (None), or with those that a data set changes.

    Networks of several variants are checked once, as that of the variant with the fewest bases.
    """
    first: dict[str, tuple[int, str]] = {}
    for name in config["variants"]:
        bases = chain(config, name)
        changed = any(dataset_name in variant_entry(config, base).get("datasets", {}) for base in bases)
        if dataset_name is not None and not changed:
            continue
        settings = merge(merged(config, dataset_name, name), config.get("every_variant", {}))
        network = settings.get("network", {})
        text = json.dumps({"kind": DEFAULT_KIND, **network}, sort_keys=True)
        if text not in first or len(bases) < first[text][0]:
            first[text] = len(bases), name
    whole = {name: {"network": json.loads(text)} for text, (_, name) in first.items()}
    required = {key: config[key] for key in validator.schema["required"]}
    return list(validator.iter_errors({**required, "variants": whole}))


def _layers(config: Mapping[str, Any], error: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Where a key of a variant's network may come from: itself, its data sets, its bases, or ``every_variant``."""
    _, name, *path = error.absolute_path
    for own in (variant_entry(config, base) for base in chain(config, name)):
        for layer in (own, *own.get("datasets", {}).values()):
            yield layer, path
    yield config.get("every_variant", {}), path


def _explained(error: Any, source: str) -> InputError:
    """The sentence for a ``jsonschema.ValidationError``."""
    keyword = "propertyNames" if "propertyNames" in error.absolute_schema_path else error.validator
    return InputError(f"{source}: {sentence(Fault(error.absolute_path, keyword, error.schema, error.instance))}")
