"""Corrects a database that was moved or copied: MLflow stores absolute addresses of its artifacts."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

# Where such addresses are: of experiments, runs, models, registered models, traces.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)


def follow(database: Path, artifacts: Path, *, whole: bool) -> None:
    """Have the artifacts of our experiments in ``artifacts``, the folder beside the database.

    What lies anywhere else than ``.../<folder's name>/<data set>`` stays as it is; without ``whole`` also what is not
    beside this database. Safe to call from many processes at once. Raises ``sqlite3.Error``.
    """
    with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True)) as connection:
        columns = [(table, column) for table, column in COLUMNS if _has(connection, table, column)]
        moved = dict(_moved(connection, artifacts, whole)) if columns else {}
        with connection:  # all of it or nothing
            for old, new in moved.items():
                for table, column in columns:
                    connection.execute(
                        f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1) "
                        f"WHERE {column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'",
                        {"old": old, "new": new},
                    )
    if moved:
        log.info("%s was moved or copied here: MLflow now has its artifacts in %s", database, artifacts)


def _has(connection: sqlite3.Connection, table: str, column: str) -> bool:
    return any(found[1] == column for found in connection.execute(f"PRAGMA table_info({table})"))


def _moved(connection: sqlite3.Connection, artifacts: Path, whole: bool) -> Iterator[tuple[str, str]]:
    """The old and the new address of each experiment that is not where it should be."""
    query = "SELECT name, artifact_location FROM experiments WHERE name LIKE 'gmcn/%'"
    for name, old in connection.execute(query).fetchall():
        folder = artifacts / name.removeprefix("gmcn/")
        ours = (old or "").startswith("file:") and old.endswith(f"/{artifacts.name}/{folder.name}")
        if ours and old != folder.as_uri() and (whole or folder.is_dir()):
            yield old, folder.as_uri()
