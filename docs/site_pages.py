"""Adds pages to docs/*.md: README.md as the start page, the API, and files of the project that pages link to."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import gmcn

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mixture", "ops", "ops.reference", "nn", "optim", "registration", "models", "fitting", "data")
PACKAGES += ("training", "results", "inference")
MODULES = ("gmcn", *(f"gmcn.{package}" for package in PACKAGES), "gmcn.tracking", "gmcn.errors")
LINKED = (
    "CITATION.cff",
    "CONTRIBUTING.md",
    "config.yaml",
    "examples/README.md",
    "workflow/papers/gmcn.yaml",
    "workflow/papers/mixtures.yaml",
    "workflow/schemas/config.schema.json",
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Pages that the navigation does not name come after those that it does, then the API."""
    named = {path for entry in config.nav for path in entry.values()}
    others = sorted(path.name for path in Path(config.docs_dir).glob("*.md") if path.name not in named)
    config.nav = [*config.nav, *others, {"API": [{name: page(name)} for name in MODULES]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what does not lie in docs/."""
    for name, source in {"index.md": "README.md", **{name: name for name in LINKED}}.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text().replace("](docs/", "](")))
    for name in MODULES:
        files.append(File.generated(config, page(name), content=reference(name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links out of docs/ lead to the project's files that were added."""
    return markdown.replace("](../", "](")


def page(name: str) -> str:
    return f"api/{name}.md"


def reference(name: str) -> str:
    """A module's page: what it says of itself, then every public name."""
    module = importlib.import_module(name)
    modules, parts = [], [f"::: {name}\n    options: {{heading_level: 1, heading: {name}, members: false}}"]
    for public in module.__all__:
        value, path = getattr(module, public), f"{name}.{public}"
        if name == "gmcn.mixture" and public in gmcn.__all__:
            modules.append(f"- [{path}][gmcn.{public}]")  # one anchor for one class
        elif inspect.ismodule(value):
            modules.append(f"- [{path}]({path}.md): {value.__doc__.splitlines()[0]}")
        elif inspect.isclass(value) or inspect.isfunction(value):
            # Lazy names are found where they are defined only. The anchor is for references by the public name.
            options = f"heading: {path}, toc_label: {public}, inherited_members: {hidden(value)}"
            home = f"::: {value.__module__}.{public}\n    options: {{{options}}}"
            parts.append(f"[](){{#{path}}}\n\n{home}")
        else:
            parts.append(f"## {path} {{ data-toc-label={public} }}\n\n{listed(value)}")
    return "\n\n".join([parts[0], *modules, *parts[1:]])


def hidden(value: type | object) -> list[str]:
    """What a class takes from those of its bases in the same package that are not public themselves."""
    package = value.__module__.rpartition(".")[0]
    bases = [base for base in getattr(value, "__mro__", ())[1:] if base.__module__.startswith(f"{package}.")]
    names = [
        name for base in bases if base.__name__ not in importlib.import_module(package).__all__ for name in vars(base)
    ]
    return sorted({name for name in names if not name.startswith("_") and name not in vars(value)})


def listed(value: object) -> str:
    """A constant's value in a line, of a mapping its keys."""
    values = sorted(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return ", ".join(f"`{each}`" for each in values)
