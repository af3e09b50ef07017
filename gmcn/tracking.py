"""Logging of stages to MLflow, and nothing at all when it is off or absent.

One MLflow run per stage and job, nested under a parent run that carries the result's name (or the data set's, for
the stages before a variant is chosen). Tracking never stops a stage: what cannot be logged is said once on stderr.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gmcn.tracking_store import connect, experiment_of, find_run, locked, warn

FLUSH_POINTS = 200  # metrics per request: log_batch of 100 and more is 30 times as fast as single calls
FLUSH_SECONDS = 10.0
RETRY_SECONDS = 60.0  # after a failure; a server that is down must not slow every step
MAX_PARAM = 500
MAX_PARAMS_PER_BATCH = 100


class Run:
    """One run of a stage. Every method may be called with tracking off (``id`` is None), and none raises."""

    def __init__(self, client: Any = None, run_id: str | None = None, parent_id: str | None = None):
        self.id = run_id
        self._client = client
        self._parent_id = parent_id
        self._logged: dict[str, int] = {}
        self._buffer: list[tuple[str, float, int, int]] = []
        self._flushed_at = time.monotonic()
        self._silent_until = 0.0

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings; nested ones as ``outer.inner``, long values cut."""
        if self.id is None:
            return
        from mlflow.entities import Param

        entries = [Param(key, value) for key, value in flatten(params).items()]
        for start_ in range(0, len(entries), MAX_PARAMS_PER_BATCH):
            part = entries[start_ : start_ + MAX_PARAMS_PER_BATCH]
            self._try(lambda part=part: self._client.log_batch(self.id, params=part))

    def log_metrics(self, metrics: Mapping[str, float | None], step: int | None = None) -> None:
        """Buffer numbers; steps that a resumed run has logged already, and None, are left out."""
        if self.id is None:
            return
        now = int(time.time() * 1000)
        for key, value in metrics.items():
            if value is not None and (step is None or step > self._logged.get(key, -1)):
                self._buffer.append((key, float(value), now, step or 0))
        if len(self._buffer) >= FLUSH_POINTS or time.monotonic() - self._flushed_at > FLUSH_SECONDS:
            self.flush()

    def log_artifact(self, path: str | os.PathLike) -> None:
        """Copy a file into the store."""
        if self.id is not None:
            self._try(lambda: self._client.log_artifact(self.id, str(path)))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; values become text."""
        if self.id is not None:
            for key, value in tags.items():
                self._try(lambda key=key, value=value: self._client.set_tag(self.id, key, str(value)))

    def log_input(self, role: str, path: str | os.PathLike, digest: str, run_id: str | None) -> None:
        """Record that this run read ``path``, which run ``run_id`` made."""
        if self.id is None:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": Path(path).resolve().as_uri()})
        dataset = Dataset(Path(path).name, digest[:36], "local", source)
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", role)])
        self._try(lambda: self._client.log_inputs(self.id, [entry]))
        self.set_tags({f"gmcn.input.{role}": path, f"gmcn.input.{role}.sha256": digest})
        if run_id:
            self.set_tags({f"gmcn.input.{role}.run_id": run_id})

    def log_result(self, metrics: Mapping[str, float]) -> None:
        """Log a result's headline numbers to the parent run, where results are compared."""
        if self._parent_id is not None:
            result = Run(self._client, self._parent_id)
            result.log_metrics(metrics)
            result.flush()

    def flush(self) -> None:
        """Send what is buffered; it is kept for the next attempt when the store cannot be reached."""
        if not self._buffer:
            return
        from mlflow.entities import Metric

        self._flushed_at = time.monotonic()
        while self._buffer:
            part = [Metric(*entry) for entry in self._buffer[:1000]]
            if not self._try(lambda part=part: self._client.log_batch(self.id, metrics=part)):
                return
            del self._buffer[: len(part)]

    def end(self, status: str) -> None:
        """Send the rest and close the run with ``status`` FINISHED, FAILED or KILLED."""
        if self.id is None:
            return
        self._silent_until = 0.0
        self.flush()
        for run_id in filter(None, (self.id, self._parent_id)):
            self._try(lambda run_id=run_id: self._client.set_terminated(run_id, status))

    def _try(self, call: Callable[[], Any]) -> bool:
        if time.monotonic() < self._silent_until:
            return False
        try:
            call()
        except Exception as error:  # whatever a store, a driver or a network may raise: the stage goes on
            self._silent_until = time.monotonic() + RETRY_SECONDS
            warn(error)
            return False
        return True


@contextlib.contextmanager
def start(
    stage: str,
    *,
    name: str,
    dataset: str,
    result: str | None = None,
    params: Mapping[str, Any] | None = None,
    inputs: Iterable[tuple[str, str | os.PathLike]] = (),
    job_key: str | None = None,
    resume: bool = False,
    enabled: bool = True,
    results: str | os.PathLike = "results",
) -> Iterator[Run]:
    """The run of one stage: FINISHED when the block ends, KILLED when it is interrupted, FAILED when it raises.

    ``name`` is the run's name, ``result`` that of its parent run (default: ``dataset``); ``inputs`` are
    (role, path) of artifacts that are read. With ``resume``, an unfinished run with the same ``job_key`` is
    continued.
    """
    run = Run()
    if enabled and importlib.util.find_spec("mlflow") is not None:
        try:
            run = _open(stage, name, dataset, result or dataset, job_key, resume, Path(results))
        except Exception as error:  # as in Run._try
            warn(error)
    try:
        run.log_params(params or {})
        for role, path in inputs:
            _log_input(run, role, path)
        yield run
    except (KeyboardInterrupt, SystemExit):
        run.end("KILLED")
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as ``outer.inner`` keys with short text values."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            text = str(value)
            flat[f"{prefix}{key}"] = text if len(text) <= MAX_PARAM else text[: MAX_PARAM - 1] + "…"
    return flat


def _open(stage: str, name: str, dataset: str, result: str, job_key: str | None, resume: bool, results: Path) -> Run:
    from gmcn.artifacts import git_commit

    with locked(results):
        client = connect(results)
        experiment = experiment_of(client, dataset, results)
        parent = find_run(client, experiment, f"tags.`gmcn.result` = '{result}'")
        if parent is None:
            parent = client.create_run(experiment, run_name=result, tags={"gmcn.result": result, **_origin("result")})
        else:
            client.update_run(parent.info.run_id, status="RUNNING")
        found = None
        if resume and job_key:
            unfinished = f"tags.`gmcn.job_key` = '{job_key}' and attributes.status != 'FINISHED'"
            found = find_run(client, experiment, unfinished)
        tags = {"gmcn.stage": stage, "mlflow.parentRunId": parent.info.run_id, **_origin(stage)}
        tags |= {"gmcn.job_key": job_key} if job_key else {}
        commit = git_commit()
        tags |= {"mlflow.source.git.commit": commit} if commit else {}
        if found is None:
            found = client.create_run(experiment, run_name=name, tags=tags)
            return Run(client, found.info.run_id, parent.info.run_id)
    run = Run(client, found.info.run_id, parent.info.run_id)
    client.update_run(run.id, status="RUNNING")
    run.set_tags({**tags, "gmcn.resumed": "true"})
    for key in found.data.metrics:
        run._logged[key] = max(point.step for point in client.get_metric_history(run.id, key))
    return run


def _origin(stage: str) -> dict[str, str]:
    tags = {"mlflow.source.name": f"gmcn {stage}", "mlflow.source.type": "LOCAL"}
    # No password entry for the user id: common in containers.
    with contextlib.suppress(OSError, KeyError):
        tags["mlflow.user"] = getpass.getuser()
    for variable in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        if variable in os.environ:
            tags[f"gmcn.{variable.lower()}"] = os.environ[variable]
    return tags


def _log_input(run: Run, role: str, path: str | os.PathLike) -> None:
    from gmcn.artifacts import read_json, read_metadata, sha256
    from gmcn.errors import InputError

    path = Path(path)
    if run.id is None or not path.is_file():
        return
    with contextlib.suppress(InputError, OSError):  # the stage itself will say what is wrong with its input
        header = read_metadata(path) if path.suffix == ".safetensors" else read_json(path)
        maker = header.get("run_id") if isinstance(header, dict) else None
        run.log_input(role, path, sha256(path), maker)
