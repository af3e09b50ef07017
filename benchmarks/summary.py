"""Compares the kernels on the CPU with their bars: run it after the benchmarks (`make bench` does).

The bars are those of docs/performance.md. They are for cores with AVX-512; with AVX2 evaluate has to reach half.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import FOLDER, table

from gmcn.artifacts import read_json, write_json, write_text

EVALUATE = "gmcn.ops.evaluate"
RIVALS = {"torch, fused attention (SDPA)": 10, "torch.compile, quadratic features": 7, "KeOps": 150}
STEPS = {4: 15, 2: 10.5, 1: 8}  # by nodes per Gaussian
SLOPES = {"relu_fit": 2.05, "reduce_treehem": 1.1, "convolve_fit": 1.1, "convolve_relu_nodes": 1.1}


@dataclass(frozen=True)
class Bar:
    """Words, the benchmark whose JSON holds the value, the value in it, and its bound."""

    words: str
    source: str
    value: Callable[[dict[str, Any]], float | None]
    at_least: float | None = None
    at_most: float | None = None


def row_of(result: dict[str, Any], **conditions: Any) -> dict[str, Any]:
    """The row of a table whose columns have these values; empty where there is none."""
    rows = (row for row in result["rows"] if all(row[column] == value for column, value in conditions.items()))
    return next(rows, {})


def cell(column: str, **conditions: Any) -> Callable[[dict[str, Any]], float | None]:
    return lambda result: row_of(result, **conditions).get(column)


def against(rival: str, column: str, **conditions: Any) -> Callable[[dict[str, Any]], float | None]:
    """Our value of a column over a rival's."""

    def quotient(result: dict[str, Any]) -> float | None:
        ours, theirs = (row_of(result, way=way, **conditions).get(column) for way in (EVALUATE, rival))
        return ours / theirs if ours and theirs else None

    return quotient


def against_exact(column: str, **conditions: Any) -> Callable[[dict[str, Any]], float | None]:
    """A step's value of a column over that of the exact step beside it, of the rows that have the column."""

    def quotient(result: dict[str, Any]) -> float | None:
        rows = {"rows": [row for row in result["rows"] if row.get(column)]}
        ours, exact = (row_of(rows, **own).get(column) for own in (conditions, conditions | {"fit_at": "exact"}))
        return ours / exact if ours and exact else None

    return quotient


def bars(path: str) -> Iterator[Bar]:
    """All bars for a machine with this code path."""
    part = 1.0 if path == "avx512" else 0.5
    for size in ("32 x 640", "2 x 2560"):
        which = {"B x N": size}
        for words, least in (("forward", 5.5), ("forward + backward", 1.4)):
            value = cell(f"{words}, per core", way=EVALUATE, **which)
            yield Bar(f"evaluate, {size}, {words}: G pairs/s per core", "evaluate", value, at_least=part * least)
        error = against("torch, broadcasting", "error", **which)
        yield Bar(f"evaluate, {size}: error over that of naive float32", "evaluate", error, at_most=2)
    for rival, least in RIVALS.items():
        ratio = against(rival, "forward + backward, G pairs/s", **{"B x N": "32 x 640"})
        yield Bar(f"evaluate, 32 x 640, forward + backward: times {rival}", "evaluate", ratio, at_least=least)
    for way in ("gmcn.ops.relu_fit", "gmcn.ops.relu_fit, offset 0.1"):
        for words in ("forward", "forward + backward"):
            value = cell(f"{words}, of evaluate", way=way)
            yield Bar(f"{way.removeprefix('gmcn.ops.')}, {words}: times evaluate", "relu_fit", value, at_most=1.15)
    for words, most in (("forward", 6.0), ("forward + backward", 20.0)):
        value = cell(f"{words}, ms", way="gmcn.ops.reduce_treehem", N=2560)
        yield Bar(f"reduce_treehem, 32 x 2,560 to 32, {words}: ms", "reduce_treehem", value, at_most=most)
    em = {"task": "EM, 20 iterations", "way": "gmcn.fitting"}
    yield Bar("EM on clouds: times scikit-learn", "fit", cell("times scikit-learn", **em), at_least=20)
    yield Bar("EM on clouds: difference in log-likelihood", "fit", cell("difference", **em), at_most=0.001)
    exact = {"batch": 4, "fit_at": "exact"}
    yield Bar("training step, batch 4: seconds", "train_step", cell("seconds", **exact), at_most=2.5)
    yield Bar("training step, batch 4: peak over minimum", "train_step", cell("ratio", **exact), at_most=1.5)
    for ratio, most in STEPS.items():
        value = cell("ms/shape", batch=21, fit_at=ratio, threads=2)
        yield Bar(f"training step, batch 21, r = {ratio}, 2 threads: ms per shape", "train_step", value, at_most=most)
        memory = against_exact("resident, MiB", batch=21, fit_at=ratio)
        yield Bar(f"training step, batch 21, r = {ratio}: peak memory over exact", "train_step", memory, at_most=1)
    for threads in (1, 2):
        value = cell("times the perceptron", way="gmcn.nn.GaussianMixtureLayer", threads=threads)
        words = f"step of a mixture layer, threads: {threads}, times a perceptron of equal multiply-adds"
        yield Bar(words, "gm_layer", value, at_most=1.5)
    for task in ("digits", "paper"):
        ours = {"network": task, "way": "gmcn"}
        value = cell("times OpenMP's", beside=0, **ours)
        yield Bar(f"step of {task}, quiet: times as OpenMP has it", "shared", value, at_most=1.03)
        for count in (1, 2):
            value = cell("times one thread", beside=count, **ours)
            yield Bar(f"step of {task}, beside {count} busy: times one thread", "shared", value, at_most=1.3)
    for name, most in SLOPES.items():
        for words in ("forward", "forward + backward"):
            value = cell(f"{words}, ms", operation=name, N="slope")
            yield Bar(f"{name}, {words}: slope from 256 to 16,384", "scaling", value, at_most=most)


def judged(folder: Path) -> list[dict[str, Any]]:
    """One row per bar; it says so if the number was not measured on a CPU at full size."""
    results: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        result = read_json(path)
        made = result.get("provenance", {})
        if made.get("device") == "cpu" and not made.get("smoke"):
            results[path.stem] = result
    path = next((result["provenance"]["cpu_path"] for result in results.values()), "avx512")
    rows = []
    for bar in bars(path):
        result = results.get(bar.source)
        value = None if result is None else bar.value(result)
        bound = f"at least {bar.at_least:g}" if bar.at_least is not None else f"at most {bar.at_most:g}"
        if value is None:
            verdict = "not measured"
        else:
            good = value >= bar.at_least if bar.at_least is not None else value <= bar.at_most
            verdict = "met" if good else "NOT MET"
        made = {} if result is None else result["provenance"]
        row = {"what": bar.words, "bar": bound, "measured": value, "verdict": verdict}
        rows.append(row | {"threads": made.get("threads"), "commit": (made.get("commit") or "")[:12]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the benchmarks' results")
    folder = parser.parse_args().output
    rows = judged(folder)
    text = "The bars on the CPU, and the measurements\n\n" + table(tuple(rows[0]), rows) + "\n"
    print(text)
    write_text(folder / "summary.md", text)
    write_json(folder / "summary.json", {"rows": rows})


if __name__ == "__main__":
    main()
