"""Shared by all benchmarks: options, workloads, and a table with machine, command and commit."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gmcn import Mixture, _inspect
from gmcn.artifacts import provenance, write_json, write_text

FOLDER = Path(__file__).resolve().parent / "results"


def arguments(description: str, *more: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Options of every benchmark, and ``more`` of one."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--seconds", type=float, default=2.0, help="time to spend on each cell")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds after which a way is given up")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the JSON and the Markdown table")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes and no rival that compiles: does it run?")
    for flag, settings in more:
        parser.add_argument(flag, **settings)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    if options.smoke:
        options.seconds = 0.01
    torch.set_num_threads(options.threads)
    return options


def random_mixture(*shape: int, dim: int = 3, device: str = "cpu", seed: int = 0, positive: bool = False) -> Mixture:
    """A mixture like those inside the network: average variance about one, positions over a few units."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(*shape, generator=generator)
    positions = 3 * torch.randn(*shape, dim, generator=generator)
    factors = 0.5 * torch.randn(*shape, dim, dim, generator=generator)
    covariances = factors @ factors.mT + 0.3 * torch.eye(dim)
    return Mixture(weights.abs() if positive else weights, positions, covariances).to(device)


def progress(words: str) -> None:
    """Print the current measurement for people who wait."""
    print(f"... {words}", file=sys.stderr, flush=True)


def title_of(document: str) -> str:
    """The paragraph of a benchmark's docstring that says what the task is."""
    return document.split("\n\n")[1].replace("\n", " ").strip()


def machine_of(options: argparse.Namespace) -> str:
    """The processor that a benchmark ran on, in words."""
    made = provenance()
    return made["gpu"] if options.device == "cuda" else f"{made['cpu']}, {_inspect.cpu_path()}"


def save(name: str, document: str, rows: Sequence[dict[str, Any]], options: argparse.Namespace, **more: Any) -> str:
    """Writes the rows as a Markdown table and, with ``more``, as JSON, with their provenance; returns the Markdown.

    Called after each row, so that what was measured is there whatever comes next.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    made = provenance()
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    made |= {"command": command, "threads": options.threads, "device": options.device}
    made |= {"cpu_path": _inspect.cpu_path(), "smoke": options.smoke}
    footer = (
        f"{machine_of(options)}, {options.threads} threads, torch {torch.__version__}, `{command}`, "
        f"commit {made['commit']}"
    )
    rows = [plain(row) for row in rows]
    text = "\n".join([title_of(document), "", table(columns, rows), "", footer, ""])
    write_text(options.output / f"{name}.md", text)
    write_json(options.output / f"{name}.json", {"title": title_of(document), "rows": rows, **more, "provenance": made})
    return text


def report(name: str, document: str, rows: Sequence[dict[str, Any]], options: argparse.Namespace, **more: Any) -> None:
    """:func:`save`, and print. Ends the program with an error where one of our own ways has failed."""
    print(save(name, document, rows, options, **more), flush=True)
    ours = [row for row in rows if str(row.get("way", "gmcn")).startswith("gmcn")]
    if any(str(row.get("remark")).startswith("failed") for row in ours):
        sys.exit(f"{name}: one of our own operations failed, see the remarks")


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row with words for what is no number, which JSON has not."""
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
