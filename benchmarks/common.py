"""What all benchmarks share: workloads, timing, and a table with machine, command and commit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils import benchmark

from gmcn import Mixture
from gmcn.artifacts import provenance, write_json, write_text

FOLDER = Path(__file__).resolve().parent / "results"


def arguments(description: str) -> argparse.Namespace:
    """Options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--seconds", type=float, default=2.0, help="time to spend on each cell")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the JSON and the Markdown table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def random_mixture(*shape: int, dim: int = 3, dtype: torch.dtype = torch.float32, seed: int = 0) -> Mixture:
    """A mixture like those inside the network: average variance about one, positions over a few units."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(*shape, generator=generator, dtype=dtype)
    positions = 3 * torch.randn(*shape, dim, generator=generator, dtype=dtype)
    factors = 0.5 * torch.randn(*shape, dim, dim, generator=generator, dtype=dtype)
    return Mixture(weights, positions, factors @ factors.mT + 0.3 * torch.eye(dim, dtype=dtype))


def seconds_of(function: Callable[[], Any], options: argparse.Namespace) -> float:
    """Median seconds of a call, after a warm-up."""
    function()
    timer = benchmark.Timer("function()", globals={"function": function}, num_threads=options.threads)
    return timer.blocked_autorange(min_run_time=options.seconds).median


def report(name: str, title: str, rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Prints the rows as a Markdown table and writes them with their provenance."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]
    made = provenance()
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    made |= {"command": command, "threads": options.threads}
    footer = (
        f"{made['cpu']}, {options.threads} threads, torch {torch.__version__}, `{command}`, commit {made['commit']}"
    )
    text = "\n".join([title, "", *lines, "", footer, ""])
    print(text)
    write_text(options.output / f"{name}.md", text)
    write_json(options.output / f"{name}.json", {"title": title, "rows": rows, "provenance": made})


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
