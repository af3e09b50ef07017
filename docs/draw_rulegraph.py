"""Draws the rules of the workflow into docs/concepts.md, as Mermaid: `make rulegraph`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import networkx

PAGE = Path(__file__).parent / "concepts.md"
# A folder that does not exist: what is drawn must not depend on the results that are there.
RESULTS = "rulegraph"
TARGETS = ("modelnet10_small.json", "tables/all", "figures/all", "figures/modelnet10_fits.html")


def rulegraph() -> str:
    """The rules behind everything that can be asked for, in one order, without arrows that follow from others."""
    targets = [f"{RESULTS}/{target}" for target in TARGETS]
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js", "--config", f"results={RESULTS}", "--"]
    drawn = subprocess.run(
        [*command, *targets], cwd=PAGE.parent.parent, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    # Of the few fits by a network, which wait for its training, the arrow back is left out: the rest is no circle.
    arrows = [(names[start], names[end]) for start, end in re.findall(r"(id\d+) --> (id\d+)", drawn)]
    arrows.remove(("train", "fit"))
    graph = networkx.transitive_reduction(networkx.DiGraph(arrows))
    order = list(networkx.lexicographical_topological_sort(graph))
    lines = [f"    {start} --> {end}" for start in order for end in sorted(graph[start], key=order.index)]
    return "\n".join(["```mermaid", "flowchart TB", *lines, "```"])


def drawn_into(page: str) -> str:
    """The page's text with its one Mermaid block drawn anew."""
    text, count = re.subn(r"```mermaid\n.*?```", lambda _: rulegraph(), page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{PAGE} must have one block ```mermaid to draw into, it has {count}")
    return text


if __name__ == "__main__":
    PAGE.write_text(drawn_into(PAGE.read_text()))
