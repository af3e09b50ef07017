"""Where runs are logged: the store, its experiments, and the runs in it, found or made under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def store_uri(results: str | os.PathLike = "results") -> str:
    """Where runs go: MLFLOW_TRACKING_URI, or a SQLite file in the results, at its absolute path."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(results).resolve() / 'mlflow.db'}"


def create_store(results: str | os.PathLike = "results") -> None:
    """Create the store unless it exists. Safe to call from many processes at once; a failure is only said."""
    if importlib.util.find_spec("mlflow") is None:
        return
    try:
        with locked(Path(results)):
            connect(Path(results)).search_experiments(max_results=1)
    except Exception as error:  # as in Run._try
        warn(error)


_warned = False


def warn(error: Exception) -> None:
    """Say once per process that tracking does not work."""
    global _warned
    if not _warned:
        _warned = True
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"warning: this stage is not fully logged to MLflow ({first}); it goes on", file=sys.stderr)


def connect(results: Path) -> Any:
    """A client of the store. The first one creates the store's tables: call it under :func:`locked`."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    # Its own patience is minutes per request, during which a training would stand still.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow import MlflowClient

    results.mkdir(parents=True, exist_ok=True)
    uri = store_uri(results)
    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not database.exists():
        # Under another name first: MLflow cannot use, nor mend, a database whose making was interrupted.
        unfinished = database.with_name(f".{database.name}.part")
        unfinished.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"sqlite:///{unfinished}").search_experiments(max_results=1)
        unfinished.replace(database)
    return MlflowClient(tracking_uri=uri)


def experiment_of(client: Any, dataset: str, results: Path) -> str:
    """The id of a data set's experiment, made if need be."""
    name = f"gmcn/{dataset}"
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    # A server decides itself where artifacts lie; a database has to be told, or takes the working directory.
    local = not store_uri(results).startswith("http")
    location = (results.resolve() / "mlartifacts" / dataset).as_uri() if local else None
    return client.create_experiment(name, artifact_location=location)


def find_run(client: Any, experiment: str, condition: str) -> Any:
    """The latest run that fulfils a condition, or None."""
    runs = client.search_runs([experiment], condition, max_results=1, order_by=["attributes.start_time DESC"])
    return runs[0] if runs else None


@contextlib.contextmanager
def locked(results: Path) -> Iterator[None]:
    """Keep all other processes that log to these results out of the block."""
    # Processes that create or migrate one SQLite store at the same time crash each other.
    results.mkdir(parents=True, exist_ok=True)
    with open(results / ".tracking.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
