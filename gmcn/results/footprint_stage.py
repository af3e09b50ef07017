"""The stage `footprint`: memory in theory (appendix A) and the measured peak of a training step."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gmcn.artifacts import read_json, read_metadata, write_json
from gmcn.data.objects import TRAIN, of_classes, read_split
from gmcn.device import own_defaults, select_device
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.models import DEFAULT_KIND
from gmcn.results.footprint_theory import PAPER, theoretical_footprint
from gmcn.results.measured_memory import measure_training_step
from gmcn.results.origin import origin
from gmcn.tasks import DEFAULT_TASK
from gmcn.tracking import NO_RUN, Run
from gmcn.training.settings import TrainingSettings

log = logging.getLogger(__name__)


@own_defaults()
def footprint(
    artifact: str | os.PathLike,
    *,
    models: Sequence[str | os.PathLike],
    settings: Mapping[str, Any],
    output: str | os.PathLike,
    device: str = "auto",
    run: Run = NO_RUN,
) -> dict[str, Any]:
    """Theory and measurement for the variant's network and batch; writes ``output`` and returns it.

    ``theory`` has the tables of layers as they are (``unfused``) and with fused fitting (``fused``), for the
    training's batch size and, under ``paper``, for that of the paper's tables. ``ratio`` is measured over theory.
    The network is that of the first of ``models``: those of other seeds differ in values only. Appendix A is about
    networks with mixtures inside; for others there is only the measurement.
    """
    if not models:
        raise InputError("no trained network was given; train one with `gmcn train`")
    network = read_metadata(models[0])["network"]
    trained = TrainingSettings.read(settings.get("training", {}))
    data = read_split(artifact, TRAIN)
    # A fit sees all objects in each of its iterations.
    batch_size = len(of_classes(data, trained.classes)) if trained.optimizer == "em" else trained.batch_size
    device = select_device(device)

    def theory(size: int) -> dict[str, Any]:
        if network["kind"] != DEFAULT_KIND:
            return {}
        arguments = {"components": data.inputs.components, "batch_size": size}
        return {
            name: theoretical_footprint(network, fused=fused, **arguments)
            for name, fused in (("unfused", False), ("fused", True))
        }

    expected = theory(batch_size)
    task = settings.get("task", DEFAULT_TASK)
    training = dict(settings.get("training", {}))
    beside = Path(models[0]).with_name("training.json")
    if beside.is_file() and (parts := read_json(beside).get("micro_batches", 1)) > trained.micro_batches:
        training["micro_batches"] = parts  # more, where the device's memory needed them
    measured = measure_training_step(
        Path(artifact), network, task=task, batch_size=batch_size, device=device, training=training
    )
    result = {
        **origin(artifact, data, run),
        **data.traits,
        "components": data.inputs.components if isinstance(data.inputs, Mixture) else None,
        "theory": expected,
        "paper": theory(PAPER["batch_size"]),
        "measured": measured,
        "ratio": {name: measured["bytes"] / table["bytes"] for name, table in expected.items()},
    }
    write_json(output, result)
    ratio = f", {result['ratio']['unfused']:.2f} of the minimum without fused fitting" if expected else ""
    log.info("a training step of %d shapes takes %.1f MiB%s", batch_size, measured["bytes"] / 2**20, ratio)
    run.log_metrics(
        {
            "memory/measured_bytes": measured["bytes"],
            **{f"memory/{name}_bytes": table["bytes"] for name, table in expected.items()},
            **{f"memory/ratio_{name}": value for name, value in result["ratio"].items()},
        }
    )
    return result
