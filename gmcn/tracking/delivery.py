"""From the records of a journal to a run in MLflow. Everything may be sent twice: the second time changes nothing."""

from __future__ import annotations

import itertools
import json
import logging
import re
from pathlib import Path
from typing import Any

from gmcn.errors import brief
from gmcn.tracking import store
from gmcn.tracking.journal import Journal, left_over

log = logging.getLogger(__name__)

TOGETHER = 1000  # records of metrics, which go in one request or a few


class Delivery:
    """Sends a journal's records in their order. Whatever a store, a driver or a network raises comes through."""

    def __init__(self, journal: Journal, results: Path):
        self.journal, self._results = journal, results
        self.pending = journal.records()  # what has not been sent
        self.refused = 0  # records that the store will never take
        self.run_id: str | None = None
        self._parent_id = self._experiment = ""
        self._client: Any = None
        self._last_step: dict[str, int] = {}

    def send(self) -> None:
        """Send all that waits, or raise. After a failure the run is looked for anew and all is sent again.

        The store may be another by then: a database that was deleted, a server that was set up anew. What it can be
        reached for but refuses is passed over.
        """
        if self._client is None:
            self._open()
        try:
            while self.pending:
                metrics = itertools.takewhile(lambda record: "metrics" in record, self.pending)
                records = list(itertools.islice(metrics, TOGETHER)) or self.pending[:1]
                try:
                    self._send(records)
                except Exception as error:
                    if not store.refuses(error):
                        raise
                    if not self.refused:
                        log.warning("MLflow refuses records in %s: %s", self.journal.path, brief(error))
                    self.refused += len(records)
                del self.pending[: len(records)]
        except BaseException:
            self._client = None
            raise

    def close(self) -> None:
        """Leave the journal to others if something waits, else remove it; aside if the store refused some of it."""
        if self.refused:
            self.journal.set_aside()
        if self.pending or self.refused:
            self.journal.close()
        else:
            self.journal.remove()

    def _open(self) -> None:
        records, self.refused = self.journal.records(), 0
        first = records[0]["start"]
        known = next((record["opened"] for record in reversed(records) if "opened" in record), None)
        client = store.connect(self._results)
        with store.locked(self._results):
            self._experiment = store.experiment_of(client, first["dataset"], self._results)
            parent = store.find_run(client, self._experiment, f"tags.`gmcn.result` = '{first['result']}'")
            if parent is None:
                self._parent_id = self._new_parent(client, first)
            else:
                self._parent_id = parent.info.run_id
                client.update_run(self._parent_id, status="RUNNING")
            own, found = self.journal.path.stem, store.run_of(client, known)
            if found is None:  # it may have been made, and the answer that said so was lost
                found = store.find_run(client, self._experiment, f"tags.`gmcn.journal` = '{own}'")
            if found is None and first["resume"] and first["job_key"]:
                # A finished one too: its job may have been killed before its files counted as made.
                found = store.find_run(client, self._experiment, f"tags.`gmcn.job_key` = '{first['job_key']}'")
                first["tags"] |= {"gmcn.resumed": "true"} if found else {}
            tags = {**first["tags"], "mlflow.parentRunId": self._parent_id, "gmcn.journal": own}
            if found is None:
                found = client.create_run(self._experiment, run_name=first["name"], tags=tags, start_time=first["time"])
            else:
                client.update_run(found.info.run_id, status="RUNNING")
                _tag(client, found.info.run_id, tags)
        self.run_id = found.info.run_id
        # A resumed job computes some steps again that its first attempt has logged.
        self._last_step = {
            key: max(point.step for point in client.get_metric_history(self.run_id, key)) for key in found.data.metrics
        }
        self._client = client
        self.pending = [record for record in records if not {"start", "opened"} & record.keys()]
        if self.run_id != known:
            self.journal.append({"opened": self.run_id})

    def _new_parent(self, client: Any, first: dict[str, Any]) -> str:
        tags = {key: value for key, value in first["tags"].items() if key not in ("gmcn.stage", "gmcn.job_key")}
        tags |= {"gmcn.result": first["result"], "mlflow.source.name": "gmcn"}
        run = client.create_run(self._experiment, run_name=first["result"], tags=tags, start_time=first["time"])
        return run.info.run_id

    def _send(self, records: list[dict[str, Any]]) -> None:
        """One record, or several of metrics."""
        [(kind, value)] = records[0].items()
        if kind == "metrics":
            value = [point for record in records for point in record["metrics"]]
        senders = {
            "metrics": self._send_points,
            "params": self._send_params,
            "input": self._send_input,
            "artifact": self._send_artifact,
            "model": self._send_model,
            "result": self._send_result,
            "end": self._send_end,
        }
        senders[kind](self.run_id, value)

    def _send_points(self, run_id: str | None, points: list[list[Any]]) -> None:
        from mlflow.entities import Metric

        fresh = [point for point in points if point[3] is None or point[3] > self._last_step.get(point[0], -1)]
        self._client.log_batch(run_id, [Metric(key, value, time, step or 0) for key, value, time, step in fresh])

    def _send_params(self, run_id: str | None, params: dict[str, str]) -> None:
        """Those that the run does not have; a parameter of MLflow's never changes, so that a change becomes a tag."""
        from mlflow.entities import Param

        known = self._client.get_run(run_id).data.params
        self._client.log_batch(run_id, params=[Param(*entry) for entry in params.items() if entry[0] not in known])
        changed = {f"gmcn.changed.{key}": value for key, value in params.items() if known.get(key, value) != value}
        _tag(self._client, run_id, changed)

    def _send_input(self, run_id: str | None, entry: dict[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        path = Path(entry["path"])
        source = json.dumps({"uri": entry.get("uri", entry["path"])})
        profile = json.dumps({key: entry[key] for key in ("rows", "sha256", "run_id") if entry.get(key) is not None})
        dataset = Dataset(path.name, entry["sha256"][:36], "local", source, profile=profile)
        tag = f"gmcn.input.{entry['role']}"
        read = DatasetInput(dataset, [InputTag("mlflow.data.context", entry["role"])])
        self._client.log_inputs(run_id, [read])
        tags = {tag: entry["path"], f"{tag}.sha256": entry["sha256"], f"{tag}.run_id": entry["run_id"]}
        _tag(self._client, run_id, {key: value for key, value in tags.items() if value})

    def _send_artifact(self, run_id: str | None, entry: dict[str, Any]) -> None:
        from gmcn.artifacts import sha256

        path = self._results.resolve() / entry["path"]
        known = "sha256" in entry  # in an older journal it is not
        if path.exists() and (not known or entry["sha256"] == sha256(path)):
            self._client.log_artifact(run_id, str(path), entry.get("folder"))
        else:
            log.warning("%s was replaced or removed before MLflow got it, and is left out", path)

    def _send_model(self, run_id: str | None, entry: dict[str, Any]) -> None:
        from mlflow.entities import LoggedModelOutput

        if not (path := self._results.resolve() / entry["path"]).exists():
            return
        if maker := store.run_of(self._client, entry["maker"]):
            run_id = maker.info.run_id
        same = f"source_run_id = '{run_id}' AND name = '{entry['name']}'"
        if any(model.status == "READY" for model in self._client.search_logged_models([self._experiment], same)):
            return
        params = entry["params"]
        model = self._client.create_logged_model(self._experiment, entry["name"], run_id, params=params)
        self._client.log_model_artifacts(model.model_id, str(path))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])

    def _send_result(self, run_id: str | None, result: dict[str, Any]) -> None:
        """To the parent run, where results are compared; one that has other settings stays, and a new one is made."""
        before = self._client.get_run(self._parent_id)
        if before.data.params and before.data.params != result["params"]:
            self._client.set_terminated(self._parent_id, end_time=before.info.end_time)  # it had ended before
            self._parent_id = self._new_parent(self._client, self.journal.records()[0]["start"])
            for stage in (*result["runs"], run_id):
                if store.run_of(self._client, stage) is not None:
                    self._client.set_tag(stage, "mlflow.parentRunId", self._parent_id)
        store.show_results(self._client, self._experiment, result["columns"], result["ascending"])
        self._send_params(self._parent_id, result["params"])
        self._send_points(self._parent_id, result["metrics"])
        for entry in result["inputs"]:
            self._send_input(self._parent_id, entry)
        for entry in result["artifacts"]:  # older journals have paths alone
            self._send_artifact(self._parent_id, {"path": entry} if isinstance(entry, str) else entry)

    def _send_end(self, run_id: str | None, end: dict[str, Any] | str) -> None:
        # Older journals have the status alone.
        status, time = (end, None) if isinstance(end, str) else (end["status"], end["time"])
        self._client.set_terminated(run_id, status, time)
        first = self.journal.records()[0]["start"]
        # Of a result's stages others may still run; the last one ends it. A training on a fold may be all there is.
        alone = first["result"] == first["dataset"] or re.search(r"-fold\d+of\d+$", first["result"])
        if alone or first["tags"].get("gmcn.stage") == "summarise":
            self._client.set_terminated(self._parent_id, status, time)


def send_left_over(results: Path, job_key: str | None = None) -> int:
    """Send the journals of processes that have ended (only of one job, if ``job_key`` is given); how many were sent.

    What raises is the store's; journals that were not sent stay. One that the store refuses, or that is damaged,
    keeps none that waits behind it.
    """
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
            log.warning("MLflow refuses %s, which is kept: %s", journal.path, brief(error))
    return sent


def _send(journal: Journal, results: Path, job_key: str | None) -> bool:
    records = journal.records()
    if not records or "start" not in records[0]:
        journal.remove()  # its writer was killed before it said anything
        return False
    if job_key is not None and records[0]["start"]["job_key"] != job_key:
        return False
    if not any("end" in record for record in records):
        last = journal.path.stat().st_mtime  # when its writer still lived
        journal.append({"end": {"status": "KILLED", "time": int(last * 1000)}})
    delivery = Delivery(journal, results)
    delivery.send()
    delivery.close()
    return True


def _tag(client: Any, run_id: str | None, tags: dict[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
