"""Reports the state of a target's jobs and writes the final message of a failed workflow. Needs no torch."""

from __future__ import annotations

import datetime
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from gmcn import config as configuration
from gmcn.addresses import plain
from gmcn.console import ERROR, LEFT
from gmcn.errors import InputError
from gmcn.running import running
from gmcn.stages import STAGES
from gmcn.stages.paths import PATHS, fields_of, name_of

_RULES = {rule: stage.name for stage in STAGES.values() for rule in stage.rules}
# In the words of Snakemake's summary.
_REASONS = {
    "updated input files": "its inputs or its code are newer",
    "rule implementation changed": "its command changed",
    "set of input files changed": "it has other inputs",
    "params changed": "its settings changed",
}
# Between the moment at which a job writes its files and that at which Snakemake notes it.
_SETTLING = 5.0
_STYLES = {"done": "green", "running": "cyan", "failed": "bold red", "stopped": "yellow", "outdated": "yellow"}


def status(
    config: Mapping[str, Any], targets: Sequence[str], *, results: Path, arguments: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """One entry per job on the way to ``targets`` (none: the configuration's), in the order of the stages.

    Of each: ``stage``, ``name``, ``outputs``, ``log`` and ``state``: done, running (``host``, ``pid``, ``since``),
    outdated (``reason``), failed (``error``), stopped (a training that has a checkpoint) or missing; trainings that
    run or stopped say ``epoch`` and ``epochs``. ``arguments`` are passed on to Snakemake. Right at any time, also
    while a workflow runs. Raises :class:`InputError` for targets that Snakemake does not know.
    """
    for target in targets:
        configuration.check_target(config, target)
    asked = time.time() - _SETTLING
    jobs: dict[tuple[str, str], dict[str, Any]] = {}
    for output, rule, reason, plan in _summary(targets, arguments):
        stage = _RULES.get(rule, rule)
        name = _name(stage, Path(output).relative_to(results))
        log = str(results / PATHS["log"].format(stage=stage, job=name))
        job = jobs.setdefault((stage, name), {"stage": stage, "name": name, "outputs": [], "log": log, "plan": []})
        job["outputs"].append(output)
        job["plan"].append((reason, plan == "update pending"))
    found = [{**job, **_state(job, config, asked)} for job in jobs.values()]
    order = list(STAGES)
    for job in found:
        del job["plan"]
    return sorted(found, key=lambda job: order.index(job["stage"]) if job["stage"] in order else len(order))


def show(jobs: Sequence[Mapping[str, Any]], command: str) -> None:
    """Print one line per job, coloured on a terminal, and the ``command`` that makes the missing files."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    stages, names = (max((len(job[key]) for job in jobs), default=0) for key in ("stage", "name"))
    for job in jobs:
        state = (f"{job['state']:8}", _STYLES.get(job["state"], ""))
        line = Text.assemble(state, f"  {job['stage']:{stages}}  {job['name']:{names}}  {_detail(job)}")
        console.print(line, soft_wrap=True)
    counts = Counter(job["state"] for job in jobs)
    print(", ".join(f"{number} {state}" for state, number in counts.most_common()) or "nothing to be made")
    if set(counts) - {"done", "running"}:
        print(f"make the rest with: {command}")


def farewell(logs: Sequence[str], arguments: Sequence[str]) -> str:
    """The last message of a workflow: one sentence and the log of each failed job, and the command to continue.

    ``logs`` are those of Snakemake itself, ``arguments`` those of its command line.
    """
    text = "\n".join(Path(log).read_text(encoding="utf-8", errors="replace") for log in logs)
    failed = {}
    # A job that could not be submitted has a sentence in its midst that is not indented.
    entries = r"^(?:Error in rule (\S+):|Finished jobid: (\d+)).*(?:\n(?:    |For further).*)*"
    for entry in re.finditer(entries, text, re.MULTILINE):
        number = entry[2] or re.search(r"^    jobid: (\d+)", entry[0], re.MULTILINE)[1]
        log = re.search(r"^    log: (.+?) \(check log", entry[0], re.MULTILINE)
        failed.pop(number, None)  # an earlier attempt
        if entry[1]:
            failed[number] = _RULES.get(entry[1], entry[1]), log and log[1]
    lines = [
        f"{stage} failed: {last_words(Path(log)) if log else 'it has no log'}\n  log: {log or ' '.join(logs)}"
        for stage, log in failed.values()
    ]
    lines = lines or ["The workflow was stopped."]
    return "\n".join([*lines, f"What is finished is kept. Continue with: snakemake {plain(shlex.join(arguments))}"])


def was_asked_to_leave(log: str | Path) -> bool:
    """True if the command that wrote ``log`` saved its state and left because of a signal."""
    return LEFT in (_lines(Path(log)) or [""])[-1]


def last_words(log: Path) -> str:
    """The sentence with which the command that wrote ``log`` failed, or its last line."""
    lines = _lines(log)
    for line in reversed(lines):
        if line.startswith(ERROR):
            return line.removeprefix(ERROR)
    return f"it was killed or crashed after '{lines[-1]}'" if lines else "it was killed or crashed without a word"


def _summary(targets: Sequence[str], arguments: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """The path, rule, status and plan of every output."""
    if not Path("Snakefile").is_file():
        raise InputError("there is no Snakefile here; run `gmcn status` in the folder of the project")
    command = [sys.executable, "-m", "snakemake", "--summary", "--nolock", *arguments, "--", *targets]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"Snakemake cannot say what there is to do: {' '.join(done.stderr.split())[-500:]}")
    for line in done.stdout.splitlines()[1:]:
        output, _, rule, _, reason, plan = line.split("\t")
        yield output, rule, reason, plan


def _name(stage: str, output: PurePath) -> str:
    """The name of the job that makes ``output`` (relative to the results), as in the name of its log."""
    fields = fields_of(output)
    return output.stem if stage not in STAGES or fields is None else STAGES[stage].job.format(**fields)


def _state(job: Mapping[str, Any], config: Mapping[str, Any], asked: float) -> dict[str, Any]:
    log, outputs = Path(job["log"]), [Path(output) for output in job["outputs"]]
    if (holder := running(log)) is not None:
        return {"state": "running", **holder, **_progress(job, config)}
    if not all(output.exists() for output in outputs):
        # In the midst it is that of a second start, which was refused while the job ran.
        if any(line.startswith(ERROR) for line in _lines(log)[-1:]):
            return {"state": "failed", "error": last_words(log)}
        if job["stage"] == "train" and (outputs[0].parent / name_of("checkpoint")).exists():
            return {"state": "stopped", **_progress(job, config)}
        return {"state": "missing"}
    made = max(output.stat().st_mtime for output in outputs)
    if any(pending for _, pending in job["plan"]) and made < asked:
        reasons = [_REASONS[reason] for reason, _ in job["plan"] if reason in _REASONS]
        return {"state": "outdated", "reason": reasons[0] if reasons else "an earlier stage will be made again"}
    return {"state": "done", "made": datetime.datetime.fromtimestamp(made).astimezone().isoformat(timespec="seconds")}


def _progress(job: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """How far a training is, by its history or, where Snakemake has deleted that, by its log."""
    if job["stage"] != "train":
        return {}
    folder = Path(job["outputs"][0]).parent
    said = re.findall(r"epoch (\d+) of (\d+)", "\n".join(_lines(Path(job["log"]))))
    rows = len(_lines(folder / name_of("history"))) - 1
    epochs = configuration.resolve(config, *folder.parent.name.split("_", 1))["training"].get("epochs")
    return {"epoch": max([rows, *(int(epoch) for epoch, _ in said)]), "epochs": int(said[-1][1]) if said else epochs}


def _detail(job: Mapping[str, Any]) -> str:
    parts = []
    if job.get("epoch", -1) >= 0:
        parts.append(f"epoch {job['epoch']} of {job['epochs']}")
    if job["state"] == "running":
        parts.append(f"since {_time(job['since'])} on {job['host']}")
    elif job["state"] == "failed":
        parts.append(f"{job['error']} (log: {job['log']})")
    elif job["state"] == "done":
        parts.append(_time(job["made"]))
    return ", ".join([*parts, *filter(None, [job.get("reason")])])


def _time(text: str | None) -> str:
    return f"{datetime.datetime.fromisoformat(text):%Y-%m-%d %H:%M}" if text else "now"


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return []
