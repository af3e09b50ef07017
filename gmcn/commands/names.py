"""The command `names`: lists and describes all names of the configuration and the package."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gmcn import tasks
from gmcn.commands.context import Context
from gmcn.config.resolving import ABOUT, DEFAULT_METHOD

_ENDLESS = 10_000  # characters of a line that nothing has to fit into


def names(context: Context) -> None:
    from gmcn.artifacts import read_json
    from gmcn.models.loading import PRETRAINED, pretrained_names

    tables = []
    # An installed package has no configuration beside it, but its pretrained networks.
    if context.options.config or Path("config.yaml").is_file():
        config = context.config
        datasets = [(name, own["kind"], own.get("description", "")) for name, own in config["datasets"].items()]
        tables.append(_table(("data set", "kind", "what it is"), datasets))
        fits = [
            (name, own.get("method", DEFAULT_METHOD), f"{own['components']:,}", own.get("description", ""))
            for name, own in config["fits"].items()
        ]
        tables.append(_table(("fit", "method", "components", "what it is"), fits))
        variants = [(name, described(own)) for name, own in config["variants"].items()]
        tables.append(_table(("variant", "what it is"), variants))
    networks = []
    for name in pretrained_names():
        card = read_json(PRETRAINED / name / "model.json")
        headline = tasks.measures(card.get("task", tasks.DEFAULT_TASK)).headline
        measured = f"{headline.title} {card['metrics'][headline.name]:.3f}"
        networks.append((name, card["data"]["dataset"], measured))
    tables.append(_table(("pretrained network", "data set", "what was measured"), networks))
    # Not by rich: an error of print tells the command line that the reader has gone.
    print("\n\n".join(tables))


def described(variant: Mapping[str, Any]) -> str:
    """The description of a variant; without one, its base and the keys that it changes."""
    if "description" in variant:
        return variant["description"]
    changes = list(_changes({key: value for key, value in variant.items() if key not in ABOUT}))
    if "datasets" in variant:
        changes.append(f"settings of its own on {', '.join(variant['datasets'])}")
    if "base" not in variant:
        return ", ".join(changes)
    return f"{variant['base']} with {', '.join(changes)}" if changes else f"the same as {variant['base']}"


def _changes(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every setting as ``section.key value``, in YAML's words."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _changes(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} {value if isinstance(value, str) else json.dumps(value)}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, coloured and as wide as a terminal; elsewhere plain, with a line for each row."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, no_wrap=title != titles[-1], justify="right" if title == "components" else "left")
    for name, *cells in rows or [["none"]]:
        table.add_row(Text(name, style="cyan"), *map(Text, cells))
    console = terminal if terminal.is_terminal else Console(width=_ENDLESS)
    with console.capture() as shown:
        console.print(table)
    return "\n".join(line.rstrip() for line in shown.get().splitlines())
