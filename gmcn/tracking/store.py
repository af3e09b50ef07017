"""The store of runs and experiments; each is found or created under a lock."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gmcn.addresses import plain
from gmcn.locks import lock
from gmcn.tracking.moving import follow

ARTIFACTS = "mlartifacts"  # beside the database


def store_uri(results: str | os.PathLike = "results") -> str:
    """The address of the store: MLFLOW_TRACKING_URI, or a SQLite file in the results, by its absolute path.

    Raises ``OSError`` for results whose path has a question mark, at which such an address ends.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    own = str(_own(Path(results)))
    if "?" in own:
        raise OSError(
            f"{own} cannot be MLflow's, because of the question mark: rename the folder, or name a store "
            "of another place with MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{own}"


def _own(results: Path) -> Path:
    return results.resolve() / "mlflow.db"


_warned = False


def warn(sentence: str) -> None:
    """Say once per process that tracking does not work."""
    global _warned
    if not _warned:
        _warned = True
        print(f"warning: {sentence}", file=sys.stderr)


def connect(results: Path) -> Any:
    """A client of the store; the first one of all processes creates the database, or has it follow its folder."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    # Its own patience is minutes per request, during which a training would stand still.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A connection that is kept would write into a database that was deleted, without an error.
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    if plain(store_uri(results)) != store_uri(results):  # at a run's end it prints where that is, password and all
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    for noisy in ("mlflow", "urllib3.connectionpool"):  # whatever fails is said by us, once
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    from mlflow import MlflowClient

    results.mkdir(parents=True, exist_ok=True)
    database = _database(results)
    if database and not _made(database):
        with locked(results):
            if not _made(database):
                _make(database)
    elif database:
        follow(database, _artifacts(results), whole=database.resolve() == _own(results))
    return MlflowClient(tracking_uri=store_uri(results))


def _database(results: Path) -> Path | None:
    """The file that the store is; None if it is a server or another kind of database."""
    scheme, _, rest = store_uri(results).partition(":///")
    path = rest.partition("?")[0]
    return Path(path) if scheme.startswith("sqlite") and path and not path.startswith((":memory:", "file:")) else None


def _artifacts(results: Path) -> Path:
    """The folder for artifacts without a server: beside the database, or in the results if the database is no file."""
    database = _database(results)
    return (database.resolve().parent if database else results.resolve()) / ARTIFACTS


def _made(database: Path) -> bool:
    return database.exists() and database.stat().st_size > 0


def _make(database: Path) -> None:
    """Under another name first: MLflow cannot use, nor mend, a database whose making was interrupted.

    One that somebody without our lock has made meanwhile, as a server has, is never replaced.
    """
    from mlflow import MlflowClient

    database.parent.mkdir(parents=True, exist_ok=True)
    for left in database.parent.glob(f".{database.name}.*.part"):
        left.unlink()
    # A new name each time: to MLflow, a database that this process has made once is there for good.
    unfinished = database.with_name(f".{database.name}.{time.time_ns()}.part")
    MlflowClient(tracking_uri=f"sqlite:///{unfinished}").search_experiments(max_results=1)
    if not _made(database):
        database.unlink(missing_ok=True)  # empty
    with contextlib.suppress(FileExistsError):
        os.link(unfinished, database)
    unfinished.unlink()


def experiment_of(client: Any, dataset: str, results: Path) -> str:
    """The id of a data set's experiment, made if need be; MLflow's refusal where somebody has deleted it."""
    from mlflow.exceptions import MlflowException

    name = f"gmcn/{dataset}"
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage != "active":
            raise MlflowException.invalid_parameter_value(
                f"the experiment {name} was deleted: `mlflow experiments restore -x {found.experiment_id}` brings it "
                "back, `mlflow gc` makes place for a new one"
            )
        return found.experiment_id
    # A server decides itself where artifacts lie; a database has to be told, or takes the working directory.
    local = not store_uri(results).startswith("http")
    location = (_artifacts(results) / dataset).as_uri() if local else None
    tags = {
        "mlflow.experimentKind": "custom_model_development",  # the pages that MLflow shows: none for language models
        "mlflow.note.content": f"Results on {dataset}. Views > Results compares them; each has its stages below it.",
    }
    return client.create_experiment(name, artifact_location=location, tags=tags)


def show_results(client: Any, experiment: str, columns: Sequence[str], ascending: bool) -> None:
    """Give the experiment's page a view of the results and nothing else, the best first, as MLflow 3.17 saves one."""
    names = [f"metrics.`{name}`" for name in columns]
    state = {
        "searchFilter": f"{names[-1]} >= 0",
        "orderByKey": names[0],
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": names,
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    view = json.dumps(
        {"name": f"Results by {columns[0]}", "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
    )
    client.set_experiment_tag(experiment, f"mlflow.sharedViewState.gmcn-{columns[0]}", view)


def find_run(client: Any, experiment: str, condition: str) -> Any:
    """The latest run that fulfils a condition, or None."""
    runs = client.search_runs([experiment], condition, max_results=1, order_by=["attributes.start_time DESC"])
    return runs[0] if runs else None


def run_of(client: Any, run_id: str | None) -> Any:
    """The run with this id, or None where the store has none, or somebody has deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id) if run_id else None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run and run.info.lifecycle_stage == "active" else None


def refuses(error: Exception) -> bool:
    """True if the store answered, and will never accept this record."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE"


LOCK_SECONDS = 120.0  # a job that waits for a server that is away must not keep all others from starting


@contextlib.contextmanager
def locked(results: Path) -> Iterator[None]:
    """Keep all other processes that log to this database (of a server: from these results) out of the block.

    Raises ``OSError`` if one stays in it too long.
    """
    # Processes that create or migrate one SQLite store at the same time crash each other, also from two checkouts.
    database = _database(results)
    path = database.with_name(f".{database.name}.lock") if database else results / ".tracking.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_SECONDS
    with open(path, "w") as file:
        while not lock(file):
            if time.monotonic() > deadline:
                raise OSError("another process has been opening its run for minutes")
            time.sleep(0.05)
        yield
