"""The run of one stage, as the stage sees it."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gmcn.errors import brief
from gmcn.tracking.delivery import Delivery, send_left_over
from gmcn.tracking.journal import Journal
from gmcn.tracking.records import flatten, inputs_of, points_of, tags_of
from gmcn.tracking.store import connect, warn

log = logging.getLogger(__name__)

FLUSH_POINTS = 200  # metrics per request: log_batch of 100 and more is 30 times as fast as single calls
FLUSH_SECONDS = 10.0
RETRY_SECONDS = 60.0  # after a failure; a server that is down must not slow every step
WAIT_SHARE = 10  # a failure that took a second is followed by ten of silence: waiting costs a tenth of the time at most


class Run:
    """One run of a stage. Every method may be called with tracking off, and none raises.

    What is logged goes to a journal first and from there to the store, at once or when the store is back. ``id`` is
    MLflow's, or None as long as there is none.
    """

    def __init__(self, journal: Journal | None = None, results: Path = Path("results")):
        self._delivery = None if journal is None else Delivery(journal, results)
        self._results = results.resolve()
        self._points = 0
        self._sent_at = time.monotonic()
        self._silent_until = 0.0

    @property
    def id(self) -> str | None:
        return None if self._delivery is None else self._delivery.run_id

    @property
    def files(self) -> Path | None:
        """A folder for files that are made to be logged, deleted when they are; None with tracking off."""
        return None if self._delivery is None else self._delivery.journal.files

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings; nested ones as ``outer.inner``, long values cut."""
        self._record({"params": flatten(params)})

    def log_metrics(self, metrics: Mapping[str, float | None], step: int | None = None) -> None:
        """Log numbers, many at a time; steps that a resumed run has logged already, and None, are left out."""
        if points := points_of(metrics, step):
            self._points += len(points)
            full = self._points >= FLUSH_POINTS or time.monotonic() - self._sent_at > FLUSH_SECONDS
            self._record({"metrics": points}, send=full)

    def log_artifact(self, path: str | os.PathLike, folder: str | None = None) -> None:
        """Copy a file into the store, into a folder of the run's; nothing where the file is not there."""
        if self._delivery is not None:
            for entry in self._files([path]):
                self._record({"artifact": {**entry, "folder": folder}})

    def log_model(
        self, path: str | os.PathLike, name: str, params: Mapping[str, Any], maker: str | None = None
    ) -> None:
        """Log a folder that ``mlflow.<flavor>.save_model`` wrote, as a model of the run ``maker`` (None: this one)."""
        model = {"path": self._kept(path), "name": name, "params": flatten(params), "maker": maker}
        self._record({"model": model})

    def log_input(self, role: str, path: str | os.PathLike) -> None:
        """Record that this run read the artifact ``path``, and which run made it."""
        if self._delivery is not None:
            for entry in inputs_of([(role, path)]):
                self._record({"input": entry})

    def log_result(
        self,
        metrics: Mapping[str, float | None],
        params: Mapping[str, Any] | None = None,
        runs: Iterable[str | None] = (),
        artifacts: Iterable[str | os.PathLike] = (),
        inputs: Iterable[tuple[str, str | os.PathLike]] = (),
        larger_is_better: bool = True,
    ) -> None:
        """Log a result's headline numbers, settings, pictures and data to the parent run, where results are compared.

        They are compared by the first of the metrics; the last is one that every result has, and is 0 or more.
        ``runs`` are those that made it: they go below a new parent if the settings are others than they were.
        """
        if self._delivery is None:
            return
        result = {
            "inputs": inputs_of(inputs),
            "metrics": points_of(metrics, None),
            "columns": list(metrics),
            "ascending": not larger_is_better,
            "params": flatten(params or {}),
            "runs": [run for run in runs if run],
            "artifacts": self._files(artifacts),
        }
        self._record({"result": result})

    def _files(self, paths: Iterable[str | os.PathLike]) -> list[dict[str, Any]]:
        """Those that can be read, with what they hold now: a later run may replace them before they are sent."""
        from gmcn.artifacts import sha256

        found = []
        for path in paths:
            with contextlib.suppress(OSError):
                found.append({"path": self._kept(path), "sha256": sha256(path)})
        return found

    def _kept(self, path: str | os.PathLike) -> str:
        """How the journal has the path of a file: below the results without them, which may be moved meanwhile."""
        path = Path(path).resolve()
        return str(path.relative_to(self._results) if path.is_relative_to(self._results) else path)

    @contextlib.contextmanager
    def extra(self) -> Iterator[None]:
        """For a block that makes something only to log it: an error becomes a warning and stops nothing."""
        try:
            yield
        except Exception as error:
            log.warning("a picture or a model for MLflow could not be made (%s); the stage goes on", brief(error))

    def end(self, status: str) -> None:
        """Send the rest and close the run with ``status`` FINISHED, FAILED or KILLED."""
        if self._delivery is None:
            return
        self._silent_until = 0.0
        self._record({"end": {"status": status, "time": int(time.time() * 1000)}})
        with contextlib.suppress(OSError):  # on a disk that cannot be written; the rest is sent once more
            self._delivery.close()

    def _record(self, record: dict[str, Any], send: bool = True) -> None:
        if self._delivery is None:
            return
        try:
            self._delivery.journal.append(record)
        except OSError as error:  # a full disk, say: it may still reach the store
            warn(f"{self._delivery.journal.path} cannot be written ({brief(error)}); the stage goes on")
        self._delivery.pending.append(record)
        if send:
            self.send()

    def send(self) -> None:
        """Send what waits, unless an attempt has failed a moment ago."""
        if self._delivery is None or time.monotonic() < self._silent_until:
            return
        began = time.monotonic()
        try:
            self._delivery.send()
        except Exception as error:  # whatever a store, a driver or a network may raise: the stage goes on
            now = time.monotonic()
            self._silent_until = now + max(RETRY_SECONDS, WAIT_SHARE * (now - began))
            warn(
                f"MLflow cannot be used for now ({brief(error)}); the stage goes on, and "
                f"{self._delivery.journal.path} keeps what it logs: `gmcn store` sends it, so does the next workflow"
            )
            return
        self._points, self._sent_at = 0, time.monotonic()


NO_RUN = Run()  # it keeps nothing: the default wherever a run can be given


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
    (role, path) of artifacts that are read. With ``resume``, the last run with the same ``job_key`` is continued.
    """
    run = Run()
    if enabled and importlib.util.find_spec("mlflow") is not None:
        first = {
            "name": name,
            "dataset": dataset,
            "result": result or dataset,
            "job_key": job_key,
            "resume": resume,
            "tags": tags_of(stage, job_key),
            "time": int(time.time() * 1000),
        }
        run = _open(stage, Path(results), first)
    try:
        run.log_params(params or {})
        for role, path in inputs:
            run.log_input(role, path)
        yield run
    except (KeyboardInterrupt, SystemExit):
        run.end("KILLED")
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")


def _open(stage: str, results: Path, first: dict[str, Any]) -> Run:
    try:
        if first["resume"] and first["job_key"]:
            send_left_over(results, first["job_key"])  # of an attempt that was killed: its steps come before ours
    except Exception as error:  # as in Run.send
        warn(f"MLflow cannot be used for now ({brief(error)}); the stage goes on")
    try:
        run = Run(Journal.create(results, stage, {"start": first}), results)
    except OSError as error:
        warn(f"nothing is logged to MLflow ({brief(error)}); the stage goes on")
        return Run()
    run.send()
    return run


def create_store(results: str | os.PathLike = "results") -> None:
    """Create the store unless it exists, and send what earlier runs could not. A failure is only said.

    Safe to call from many processes at once.
    """
    if importlib.util.find_spec("mlflow") is None:
        return
    try:
        connect(Path(results)).search_experiments(max_results=1)
        if sent := send_left_over(Path(results)):
            print(f"logged to MLflow what {sent} earlier runs could not log", file=sys.stderr)
    except Exception as error:  # as in Run.send
        warn(f"MLflow cannot be used for now ({brief(error)}); everything else goes on")
