"""From the records of a journal to a run in MLflow. Everything may be sent twice: the second time changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gmcn.errors import brief
from gmcn.tracking import store
from gmcn.tracking.journal import Journal

log = logging.getLogger(__name__)

PARAMS_PER_BATCH = 100  # MLflow takes no more
POINTS_PER_BATCH = 1000


class Delivery:
    """Sends a journal's records in their order. Whatever a store, a driver or a network raises comes through."""

    def __init__(self, journal: Journal, results: Path):
        self.run_id: str | None = None
        self._journal, self._results = journal, results
        self._pending = journal.records()
        self._client: Any = None
        self._parent_id = ""
        self._last_step: dict[str, int] = {}
        self.refused = 0  # records that the store will never take
        self._experiment = ""

    def add(self, record: dict[str, Any]) -> None:
        """Put a record into the queue; it is in the journal already."""
        self._pending.append(record)

    @property
    def waiting(self) -> int:
        """How many records have not been sent."""
        return len(self._pending)

    def send(self) -> None:
        """Send all that waits, or raise. After a failure the run is looked for anew and all is sent again.

        The store may be another by then: a database that was deleted, a server that was set up anew. What it can be
        reached for but refuses is passed over.
        """
        if self._client is None:
            self._pending, self.refused = self._journal.records(), 0
            self._open()
        try:
            while self._pending:
                count, call = self._next()
                try:
                    call()
                except Exception as error:
                    if not store.refuses(error):
                        raise
                    self.refused += count
                    log.warning("MLflow does not take what %s says: %s", self._journal.path, brief(error))
                del self._pending[:count]
        except BaseException:
            self._client = None
            raise

    def _open(self) -> None:
        records = self._journal.records()
        first = records[0]["start"]
        known = next((record["opened"] for record in reversed(records) if "opened" in record), None)
        client = store.connect(self._results)
        with store.locked(self._results):
            self._experiment = store.experiment_of(client, first["dataset"], self._results)
            self._parent_id = self._parent(client, first)
            found = store.run_of(client, known)
            if found is None and first["resume"] and first["job_key"]:
                # A finished one too: its job may have been killed before its files counted as made.
                found = store.find_run(client, self._experiment, f"tags.`gmcn.job_key` = '{first['job_key']}'")
                first["tags"] |= {"gmcn.resumed": "true"} if found else {}
            tags = {**first["tags"], "mlflow.parentRunId": self._parent_id}
            if found is None:
                found = client.create_run(self._experiment, run_name=first["name"], tags=tags, start_time=first["time"])
            else:
                client.update_run(found.info.run_id, status="RUNNING")
                client.log_batch(found.info.run_id, tags=_tags(tags))
        self.run_id = found.info.run_id
        # A resumed job computes some steps again that its first attempt has logged.
        self._last_step = {
            key: max(point.step for point in client.get_metric_history(self.run_id, key)) for key in found.data.metrics
        }
        self._client = client
        self._pending = [record for record in self._pending if not {"start", "opened"} & record.keys()]
        if self.run_id != known:
            self._journal.append({"opened": self.run_id})

    def _parent(self, client: Any, first: dict[str, Any]) -> str:
        found = store.find_run(client, self._experiment, f"tags.`gmcn.result` = '{first['result']}'")
        if found is None:
            return self._new_parent(client, first)
        client.update_run(found.info.run_id, status="RUNNING")
        return found.info.run_id

    def _new_parent(self, client: Any, first: dict[str, Any]) -> str:
        tags = {key: value for key, value in first["tags"].items() if key not in ("gmcn.stage", "gmcn.job_key")}
        tags |= {"gmcn.result": first["result"], "mlflow.source.name": "gmcn"}
        return client.create_run(self._experiment, run_name=first["result"], tags=tags).info.run_id

    def _next(self) -> tuple[int, Callable[[], Any]]:
        """The call that sends what is first in the queue, and how many records that is."""
        [(kind, value)] = self._pending[0].items()
        if kind != "metrics":
            return 1, lambda: getattr(self, f"_send_{kind}")(value)
        points: list[list[Any]] = []
        count = 0
        for record in self._pending:
            if "metrics" not in record or len(points) >= POINTS_PER_BATCH:
                break
            points += record["metrics"]
            count += 1
        return count, lambda: self._send_points(self.run_id, points)

    def _send_points(self, run_id: str | None, points: list[list[Any]]) -> None:
        from mlflow.entities import Metric

        fresh = [point for point in points if point[3] is None or point[3] > self._last_step.get(point[0], -1)]
        metrics = [Metric(key, value, time, step or 0) for key, value, time, step in fresh]
        for start in range(0, len(metrics), POINTS_PER_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + POINTS_PER_BATCH])

    def _send_params(self, params: dict[str, str], run_id: str | None = None) -> None:
        """Those that the run does not have; a parameter of MLflow's never changes, so that a change becomes a tag."""
        from mlflow.entities import Param

        run_id = run_id or self.run_id
        known = self._client.get_run(run_id).data.params
        entries = [Param(key, value) for key, value in params.items() if key not in known]
        for start in range(0, len(entries), PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=entries[start : start + PARAMS_PER_BATCH])
        changed = {f"gmcn.changed.{key}": value for key, value in params.items() if known.get(key, value) != value}
        if changed:
            self._send_tags(changed, run_id)

    def _send_tags(self, tags: dict[str, str], run_id: str | None = None) -> None:
        self._client.log_batch(run_id or self.run_id, tags=_tags(tags))

    def _send_input(self, entry: dict[str, Any], run_id: str | None = None) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        path = Path(entry["path"])
        dataset = Dataset(
            path.name,
            entry["sha256"][:36],
            "local",
            json.dumps({"uri": entry.get("uri", entry["path"])}),
            profile=json.dumps({key: entry[key] for key in ("rows", "sha256", "run_id") if entry.get(key) is not None}),
        )
        tag = f"gmcn.input.{entry['role']}"
        read = DatasetInput(dataset, [InputTag("mlflow.data.context", entry["role"])])
        self._client.log_inputs(run_id or self.run_id, [read])
        tags = {tag: entry["path"], f"{tag}.sha256": entry["sha256"], f"{tag}.run_id": entry["run_id"]}
        self._send_tags({key: value for key, value in tags.items() if value}, run_id)

    def _send_artifact(self, entry: dict[str, Any], run_id: str | None = None) -> None:
        # A file that a later run has replaced by then, or removed, is none of this run's.
        if (path := self._file(entry)).exists():
            self._client.log_artifact(run_id or self.run_id, str(path), entry["folder"])

    def _file(self, entry: dict[str, Any]) -> Path:
        """The results may have been moved since, or be a copy."""
        return self._results.resolve() / entry["path"]

    def _send_model(self, entry: dict[str, Any]) -> None:
        from mlflow.entities import LoggedModelOutput

        if not (path := self._file(entry)).exists():
            return
        maker = store.run_of(self._client, entry["maker"])
        run_id = maker.info.run_id if maker else self.run_id
        same = f"source_run_id = '{run_id}' AND name = '{entry['name']}'"
        if any(model.status == "READY" for model in self._client.search_logged_models([self._experiment], same)):
            return
        params = entry["params"]
        model = self._client.create_logged_model(self._experiment, entry["name"], run_id, params=params)
        self._client.log_model_artifacts(model.model_id, str(path))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])

    def _send_result(self, result: dict[str, Any]) -> None:
        """To the parent run, where results are compared; one that has other settings stays, and a new one is made."""
        before = self._client.get_run(self._parent_id).data.params
        if before and before != result["params"]:
            self._client.set_terminated(self._parent_id)
            self._parent_id = self._new_parent(self._client, self._journal.records()[0]["start"])
            for run_id in (*result["runs"], self.run_id):
                if store.run_of(self._client, run_id) is not None:
                    self._client.set_tag(run_id, "mlflow.parentRunId", self._parent_id)
        store.show_results(self._client, self._experiment, result["columns"], result["ascending"])
        self._send_params(result["params"], self._parent_id)
        self._send_points(self._parent_id, result["metrics"])
        for entry in result["inputs"]:
            self._send_input(entry, self._parent_id)
        for path in result["artifacts"]:
            self._send_artifact({"path": path, "folder": None}, self._parent_id)

    def _send_end(self, status: str) -> None:
        self._client.set_terminated(self.run_id, status)
        first = self._journal.records()[0]["start"]
        # Of a result's stages others may still run; the last one ends it.
        if first["result"] == first["dataset"] or first["tags"].get("gmcn.stage") == "summarise":
            self._client.set_terminated(self._parent_id, status)


def send_left_over(results: Path, job_key: str | None = None) -> int:
    """Send the journals of processes that have ended (only of one job, if ``job_key`` is given); how many were sent.

    What raises is the store's; journals that were not sent stay. One that the store refuses, or that is damaged,
    keeps none that waits behind it.
    """
    from gmcn.tracking.journal import left_over

    sent = 0
    for journal in left_over(results):
        try:
            sent += _send(journal, results, job_key)
        except (AttributeError, LookupError, TypeError) as error:
            what = f"{type(error).__name__}: {brief(error)}"
            log.warning("%s is damaged (%s); it is kept as %s, unsent", journal.path, what, journal.set_aside().name)
        except Exception as error:
            if not store.refuses(error):
                raise
            log.warning("MLflow does not take %s, which is kept: %s", journal.path, brief(error))
    return sent


def _send(journal: Journal, results: Path, job_key: str | None) -> bool:
    records = journal.records()
    if not records or "start" not in records[0]:
        journal.remove()  # its writer was killed before it said anything
        return False
    if job_key is not None and records[0]["start"]["job_key"] != job_key:
        return False
    if not any("end" in record for record in records):
        journal.append({"end": "KILLED"})
    delivery = Delivery(journal, results)
    delivery.send()
    if delivery.refused:
        journal.set_aside()
    else:
        journal.remove()
    return True


def _tags(tags: dict[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tags.items()]
