"""Peak memory of one training step, measured in a process of its own.

On the GPU it is what torch's allocator counts. On the CPU torch's profiler reports every allocation and release of
tensor memory, and the peak of their running sum is the same quantity; it does not depend on memory that the C library
retains or on the interpreter. What operations allocate past torch is not in it: the process's resident peak (Linux),
less its level before, is given beside it, where the kernel lets us reset it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gmcn import tasks
from gmcn.data.objects import TRAIN, Inputs, count, device_of, each, read_split, select
from gmcn.errors import InputError
from gmcn.models import build
from gmcn.results.allocations import peak_of_allocations
from gmcn.training.optimizers import optimizer_of
from gmcn.training.settings import TrainingSettings


def measure_training_step(
    artifact: Path,
    network: Mapping[str, Any],
    *,
    task: str = tasks.DEFAULT_TASK,
    batch_size: int,
    device: torch.device,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Bytes at the peak of one step (forward, backward, optimiser, any kernel decay) on the first training shapes.

    Network, batch and what the optimiser of the settings ``training`` keeps included. Returns ``bytes``, ``kind`` (how
    they were counted), ``resident`` (bytes or None), ``batch_size``, ``device``. Raises
    :class:`gmcn.errors.InputError` when the step does not fit into memory.
    """
    request = {
        "artifact": str(artifact.resolve()),
        "network": dict(network),
        "task": task,
        "training": dict(training or {}),
        "batch_size": batch_size,
        "device": str(device),
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-m", "gmcn.results.measured_memory"]
    root = Path(__file__).resolve().parents[2]  # so that `-m` finds this package also where it is not installed
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False, cwd=root)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"the process ended with status {done.returncode}"]
        raise InputError(
            f"a training step with batch_size {batch_size} could not be measured on {device} ({reason[0]}); "
            "it may not fit into memory, try a smaller training.batch_size"
        )
    return json.loads(done.stdout.splitlines()[-1])


def training_step(
    network: Mapping[str, Any],
    inputs: Inputs,
    labels: torch.Tensor | None,
    task: str = tasks.DEFAULT_TASK,
    training: Mapping[str, Any] | None = None,
) -> Any:
    """A function that makes one step as training does; the optimiser has what it keeps already, Adam its moments.

    Of a network that is fitted it is one iteration, with its start.
    """
    settings = TrainingSettings.read(training or {})
    model, objective = build(network).to(device_of(inputs)), tasks.objective(settings, task)
    objective.learn(labels, model.config.get("classes", 0))
    if settings.optimizer == "em":
        return lambda: model.fit_(inputs, 1, 0, lambda *_: None)
    optimizer = optimizer_of(model, settings)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    optimizer.zero_grad()

    parts = min(settings.micro_batches, max(1, count(inputs) // 2))

    def step() -> None:
        for place in range(parts):

            def own(tensor: torch.Tensor, place: int = place) -> torch.Tensor:
                return tensor.tensor_split(parts)[place]

            part = each(inputs, own)
            loss, _ = objective.loss(model, part, None if labels is None else own(labels))
            (loss * (count(part) / count(inputs))).backward()
        optimizer.step()
        model.after_step_(1e-3, 0.1)

    return step


def prepared_batch(
    artifact: str | os.PathLike, task: str, training: Mapping[str, Any], size: int
) -> tuple[Inputs, torch.Tensor | None]:  # of B objects
    """The first training objects, over again where there are too few, as training prepares them; and their labels."""
    data = read_split(artifact, TRAIN)
    indices = torch.arange(size) % len(data)
    objective = tasks.objective(TrainingSettings.read(training), task)
    inputs = objective.prepare(select(data.inputs, indices), torch.Generator().manual_seed(0))
    return inputs, None if data.labels is None else data.labels[indices]


def _main() -> None:
    request = json.load(sys.stdin)
    torch.set_num_threads(request["threads"])
    device = torch.device(request["device"])
    batch = prepared_batch(request["artifact"], request["task"], request["training"], request["batch_size"])

    def whole(size: int) -> None:
        def own(tensor: torch.Tensor) -> torch.Tensor:
            return tensor[:size].to(device, copy=True)  # the batch counts

        inputs, labels = each(batch[0], own), None if batch[1] is None else own(batch[1])
        training_step(request["network"], inputs, labels, request["task"], request["training"])()

    answer = {"batch_size": request["batch_size"], "device": request["device"], "resident": None}
    if device.type == "cuda":
        whole(request["batch_size"])
        answer |= {"bytes": torch.cuda.max_memory_allocated(), "kind": "allocated on the GPU"}
    else:
        few = request["batch_size"] if request["training"].get("optimizer") == "em" else 2  # two are too few for a fit
        peak_of_allocations(lambda: whole(few))  # libraries load and threads start outside the measurement
        before = _reset_resident_peak()
        peak = peak_of_allocations(lambda: whole(request["batch_size"]))
        answer |= {"bytes": peak, "kind": "tensors on the CPU"}
        if before is not None:
            answer["resident"] = _resident("VmHWM") - before
    print(json.dumps(answer))


def _reset_resident_peak() -> int | None:
    """Start a new resident peak and return the level now; None where the system has no such counter."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return _resident("VmRSS")
    return None


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    _main()
