"""The two files that tell of a gpu_check, written anew whenever something more is known: report.md and report.json."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from gmcn.artifacts import write_text

TRAINING_SHAPES = 3991  # of ModelNet10
VALIDATION = 0.1  # of these are kept for validation by the variant treehem2
EPOCHS, BATCH = 60, 21
LATER = 420.0  # seconds of training in a second call
_PLAIN = re.compile(r"^(tests/\S+?::.+?) (PASSED|FAILED|SKIPPED|ERROR|XFAIL)\b", re.MULTILINE)
_PARALLEL = re.compile(r"^\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|SKIPPED|ERROR|XFAIL) (tests/.+?) *$", re.MULTILINE)
GOOD = ("good", "other merges")  # verdicts of the exercise


def write(output: Path, results: Path, machine: dict[str, Any], steps: list[dict[str, Any]], log: str) -> None:
    """All that the steps have left so far in ``results`` (JSON and Markdown by benchmark) and in the log."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    outcomes = test_outcomes(log)
    exercise = found.get("exercise", {}).get("rows", [])
    epochs = epoch_rows(found.get("train_step", {}).get("rows", []))
    text = ["# gpu-check", _facts(machine), table(steps)]
    text += _exercised(exercise)
    if epochs:
        text += ["## Time per epoch", table(epochs), EXTRAPOLATED]
    text += [
        path.read_text() for path in (results / "train_step.md", results / "train_step_profile.md") if path.exists()
    ]
    if outcomes:
        failed = [f"- {name}: {outcome}" for name, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")]
        counts = ", ".join(f"{count} {outcome.lower()}" for outcome, count in Counter(outcomes.values()).items())
        text += ["## Tests", f"{counts}. Why they failed is in gpu_check.log.", *failed]
    text += [path.read_text() for path in sorted(results.glob("*.md")) if not path.stem.startswith("train_step")]
    whole = {"machine": machine, "steps": steps, "extrapolated_epochs": epochs, "tests": outcomes, "results": found}
    write_text(output / "report.json", json.dumps(whole, indent=1) + "\n")
    write_text(output / "report.md", "\n\n".join(text) + "\n")


EXTRAPOLATED = (
    "Extrapolated, not run: the measured step on random mixtures times the steps of an epoch of modelnet10_treehem2 "
    f"({TRAINING_SHAPES:,} shapes, a tenth of them for validation); without validation, loading and saving. Last "
    f"column: the most epochs (up to {EPOCHS}) that {LATER:.0f} s hold, with 0.4 s for what else an epoch does."
)


def test_outcomes(log: str) -> dict[str, str]:
    """By test, what `pytest -v` has printed so far; of a test that ran twice, the later outcome."""
    plain = {match[1]: match[2] for match in _PLAIN.finditer(log)}
    return plain | {match[2]: match[1] for match in _PARALLEL.finditer(log)}


def epoch_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Time per epoch of modelnet10_treehem2 from the measured step, for each batch size and number of nodes."""
    epochs = []
    for row in rows:
        if row["seconds"]:
            seconds = -(-round(TRAINING_SHAPES * (1 - VALIDATION)) // row["batch"]) * row["seconds"]
            epochs.append({"batch": row["batch"], "fit_at": row.get("fit_at", "exact"), "s per step": row["seconds"]})
            epochs[-1]["s per epoch"] = seconds
            epochs[-1][f"min per {EPOCHS} epochs"] = EPOCHS * seconds / 60
            epochs[-1][f"epochs in {LATER:.0f} s"] = min(EPOCHS, int(LATER / (seconds + 0.4)))
    return epochs


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of the same columns as a Markdown table; that of common.py needs a built gmcn."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])] if rows else []
    for row in rows:
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _facts(machine: dict[str, Any]) -> str:
    return "\n".join(f"- {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in machine.items())


def _exercised(rows: list[dict[str, Any]]) -> list[str]:
    """The largest deviations of each operation, and every case that is not good."""
    largest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = row["operation"], row["dtype"]
        of_all = largest.setdefault(key, dict(zip(("operation", "dtype"), key, strict=True)))
        for name in ("values", "gradients", "CPU, values", "CPU, gradients"):
            value = row.get(name)
            of_all[name] = max(of_all.get(name, 0.0), value if isinstance(value, float) else 0.0)
        of_all["cases"] = of_all.get("cases", 0) + 1
        of_all["not good"] = of_all.get("not good", 0) + (row["verdict"] not in GOOD)
    odd = [
        f"- {', '.join(f'{name} {value}' for name, value in row.items())}" for row in rows if row["verdict"] != "good"
    ]
    return ["## Every kernel beside the CPU", table(list(largest.values())), "\n".join(odd)] if rows else []
