"""The stage `train`: an artifact of objects in, a trained network out; interrupted anywhere, it resumes exactly."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.warnings import PossibleUserWarning

from gmcn import ranks, tasks
from gmcn.artifacts import provenance, save_tensors, write_json
from gmcn.data.objects import MIXTURES, TRAIN, ObjectSet, of_classes, read_split
from gmcn.data.preparation import describe_inputs
from gmcn.device import own_defaults
from gmcn.errors import InputError
from gmcn.launching import cpus_per_task
from gmcn.models import Network, build, describe
from gmcn.nn import synchronise
from gmcn.tasks import DEFAULT_TASK
from gmcn.tasks.task import Objective
from gmcn.tracking import NO_RUN, Run
from gmcn.training.averaging import Average
from gmcn.training.callbacks import History, LastCheckpoint, Steps
from gmcn.training.checkpoints import (
    LAST,
    AtomicCheckpoints,
    code_key,
    find_checkpoint,
    remove_checkpoints,
    training_key,
)
from gmcn.training.datamodule import TrainingData, fold_split
from gmcn.training.errors import LostRankError
from gmcn.training.fitted import fit_network
from gmcn.training.joining import cluster_environment, join
from gmcn.training.refitting import FreshFits
from gmcn.training.settings import TrainingSettings
from gmcn.training.snapshots import Snapshots
from gmcn.training.step import TrainingStep

log = logging.getLogger(__name__)


def train(
    artifact: str | os.PathLike,
    *,
    settings: Mapping[str, Any],
    seed: int,
    output: str | os.PathLike,
    points: str | os.PathLike | None = None,
    device: str = "auto",
    threads: int | None = None,
    run: Run = NO_RUN,
) -> dict[str, Any]:
    """Train one network on the training split of an artifact of objects; the test split is never looked at.

    Writes ``model.safetensors`` (the last epoch), ``history.csv``, ``training.json`` and the files of
    ``training.snapshots`` to the folder
    ``output``, and returns the content of the last. ``settings`` holds ``network`` (see
    :func:`gmcn.models.build`), ``training`` (:class:`TrainingSettings`) and ``task`` (:mod:`gmcn.tasks`, default
    classification). A ``last.ckpt`` in ``output`` is
    continued when it belongs to the same settings, seed and objects; on one machine, with the same number of
    threads, the outcome is then bit for bit that of an uninterrupted training on the CPU. ``points`` are what the
    mixtures were fitted to: a description of them (:func:`describe_inputs`), by which the network can answer about
    files later, is kept; ``training.fold`` looks for near-duplicates there, and ``training.views`` fits them anew. The
    checkpoint of the last epoch stays beside them: a start from it trains nothing and writes the same again;
    :func:`gmcn.training.checkpoints.remove_checkpoints` deletes it.

    With ``training.devices`` and ``training.nodes`` it takes as many processes, which call this function alike; they
    divide each batch, batch statistics are those of the whole, rank 0 writes, and ``threads`` are those of a node.
    The outcome is that of one process up to rounding (and other draws of dropout).

    SIGTERM, SIGINT and SIGUSR1 save after the running step and raise ``SystemExit`` or ``KeyboardInterrupt``. A network
    that is fitted (``training.optimizer: em``) has no checkpoints: interrupted, it starts afresh.
    Raises :class:`gmcn.errors.InputError` for bad settings or data, :class:`gmcn.training.NonFiniteError` when
    a loss, gradient or parameter is not finite, and :class:`gmcn.training.OutOfMemoryError` when the memory does not
    even hold the smallest parts of a batch; the last checkpoint stays.
    """
    if not 0 <= seed < 2**32:  # numpy's
        raise InputError(f"the seed is {seed}, but must be from 0 to {2**32 - 1}")
    output = Path(output)
    origin = provenance()  # of the code that runs: a checkout may change while it does
    inputs = describe_inputs(artifact, points)
    training, task = TrainingSettings.read(settings.get("training", {})), settings.get("task", DEFAULT_TASK)
    objective = tasks.objective(training, task)
    key = training_key(artifact, settings, seed, points)
    device = join(device, training.devices, training.nodes)
    threads = cpus_per_task(threads, training.devices) if threads else None
    with _reproducible(seed, threads, device), own_defaults():
        data = read_split(artifact, TRAIN)
        objective.check(data)
        data = of_classes(data, training.classes)
        objective.learn(data.labels, len(data.class_names))
        model = build_network(settings.get("network", {}), data, seed, objective)
        if model.tasks and task not in model.tasks:
            raise InputError(f"{type(model).__name__} is for the task {model.tasks[0]}, not {task}; set `task`")
        if ranks.size() > 1:
            synchronise(model)
        fresh = None
        if training.views is not None and data.kind == MIXTURES:
            fresh = FreshFits(data, points, training.views, device=device)
        batches = TrainingData(
            data,
            batch_size=training.batch_size,
            seed=seed,
            validation_fraction=training.validation_fraction,
            early_batches=training.early_batches,
            prepare=objective.prepare if fresh is None else fresh.then(objective.prepare),
            sources=None if fresh is None else fresh.clouds,
            split=None if training.fold is None else fold_split(data, training, points),
            device=device,
        )
        if training.schedule == "plateau" and training.fold is None and not len(batches.validation_indices):
            raise InputError(
                "training: the 'schedule' plateau watches the validation loss, but the classes have too few objects "
                "to leave some for it; take another schedule"
            )
        module = TrainingStep(model, training, len(batches.train_loader), objective).to(device)
        history = History(output / "history.csv", run)
        checkpoint = LastCheckpoint(output / LAST, key, training.checkpoint_minutes, code_key(), device)
        facts = {
            "seed": seed,
            "task": task,
            "dataset": data.metadata.get("dataset"),
            "fit": data.metadata.get("fit"),
            "settings": {"network": dict(settings.get("network", {})), "training": training.as_dict()},
            "inputs": inputs,
            "run_id": run.id,
            "provenance": origin,
        }
        metadata = {"network": describe(model), "class_names": data.class_names, **facts}
        snapshots = Snapshots(output, training.snapshots, metadata)
        fitted = {}
        if training.optimizer == "em":
            fitted = fit_network(module, batches, history, checkpoint, seed=seed, device=device)
        else:
            model.start_(batches.train_loader.inputs, seed, batches.train_loader.labels)
            averages = [Average(decay=training.ema_decay)] if training.ema_decay else []
            callbacks = [history, snapshots, *averages, checkpoint]
            _fit(module, batches, callbacks, device=device, resume=_resume(output, key))
        module.to(device).eval()  # Lightning has moved it
        if training.batch_statistics == "all":
            module.average_statistics(batches.train_loader.unvaried())
            if batches.validation_batches:
                module.validate(batches.validation_batches)
            history.correct(module)
        model.finish_(batches.train_loader.inputs)
        peak = checkpoint.peak_memory()
        if about := objective.facts(model, batches.train_loader.inputs, batches.train_loader.labels):
            metadata["trained"] = about
    result = {
        **facts,
        "metrics": {name: value for name, value in history.rows[-1].items() if name != "seconds"},
        "seconds": round(history.seconds, 3),
        "steps": history.rows[-1]["step"],
        "epochs": len(history.rows),
        "shapes": {"train": len(batches.train_indices), "validation": len(batches.validation_indices)},
        **model.parameter_counts(),
        "validation": _validated(module, data, batches),
        "peak_memory": {
            "bytes": peak,
            "kind": "allocated" if device.type == "cuda" else "resident",
        },
        "micro_batches": module.micro_batches,
        **fitted,
        "resumed": checkpoint.attempts - 1,
        "device": str(device),
        "threads": torch.get_num_threads() if threads is None else threads,
    }
    if ranks.rank() == 0:
        _write(output, model, metadata, result, run)
        remove_checkpoints(output, but_last=training.optimizer != "em")
    return result


def _resume(folder: Path, key: str) -> Path | None:
    """The checkpoint to go on from; rank 0 looks for all, nodes may see a shared folder at different times."""
    found = None
    if ranks.rank() == 0 and (found := find_checkpoint(folder, key)):
        log.info("resuming from %s", found)
        if found.name != LAST:  # in the place of a damaged one, which would push it out
            found = found.replace(folder / LAST)
    return ranks.gather(found)[0]


def build_network(
    network: Mapping[str, Any], data: ObjectSet, seed: int, objective: Objective | None = None
) -> Network:
    """The network of a variant for objects such as those of ``data``, and for what the objective asks of it."""
    traits = data.traits if objective is None else objective.traits(data)
    return build(network, **traits, seed=seed, objects=data.kind)


def _validated(module: TrainingStep, data: ObjectSet, batches: TrainingData) -> dict[str, Any]:
    """The metrics of the trained network on each object of the validation split, with the objects' names."""
    values = {name: tensor.tolist() for name, tensor in module.validation.items()}
    return {"names": [data.names[index] for index in batches.validation_indices.tolist()], **values} if values else {}


def _fit(
    module: TrainingStep,
    batches: TrainingData,
    callbacks: list[L.Callback],
    *,
    device: torch.device,
    resume: Path | None,
) -> None:
    interactive = sys.stderr.isatty() and ranks.rank() == 0
    if ranks.rank() == 0:
        callbacks = [*callbacks, RichProgressBar(console_kwargs={"stderr": True}) if interactive else Steps()]
    checkpoint = next(callback for callback in callbacks if isinstance(callback, LastCheckpoint))
    settings = module.settings
    many = ranks.size() > 1
    devices = list(range(settings.devices)) if many else [device.index or 0]
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=devices if device.type == "cuda" else settings.devices,
        num_nodes=settings.nodes,
        # Batch statistics are the same on all ranks already.
        strategy=DDPStrategy(broadcast_buffers=False) if many else "auto",
        plugins=[cluster_environment(), AtomicCheckpoints()],
        use_distributed_sampler=False,
        max_epochs=settings.epochs,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=interactive,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=None if batches.validation_batches else 0,
        default_root_dir=checkpoint.path.parent,
    )
    try:
        with checkpoint.listening(), warnings.catch_warnings():
            # Lightning 2.6 on torch 2.13: its own use of a deprecated name.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            # Deprecated in torch 2.13 for a name that 2.11 does not have.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers")
            # Lightning's advice to take all GPUs of a node, or srun because it is installed.
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            trainer.fit(module, datamodule=batches, ckpt_path=resume, weights_only=True)
    except RuntimeError as error:
        if not ranks.is_lost(error):
            raise
        raise LostRankError(
            f"rank {ranks.rank()} stopped because another one has ended, whose own message says why; "
            "the last checkpoint is kept, start all again to go on"
        ) from None


def _write(output: Path, model: Network, metadata: dict[str, Any], result: dict[str, Any], run: Run) -> None:
    save_tensors(output / "model.safetensors", model.state_dict(), metadata)
    write_json(output / "training.json", result)
    run.log_metrics({"train/seconds": result["seconds"], "train/peak_memory": result["peak_memory"]["bytes"]})
    for name in ("history.csv", "training.json", "model.safetensors"):
        run.log_artifact(output / name)


@contextlib.contextmanager
def _reproducible(seed: int, threads: int | None, device: torch.device) -> Iterator[None]:
    """Seeds, threads and deterministic algorithms for the block; threads and algorithms as before after it."""
    threads_before = torch.get_num_threads()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    warn_before = torch.is_deterministic_algorithms_warn_only_enabled()
    fill_before = torch.utils.deterministic.fill_uninitialized_memory
    lightning_log = logging.getLogger("lightning.pytorch")
    level_before = lightning_log.level
    # Without it cuBLAS may add up in another order; it is read when CUDA starts, and a user's own value stays.
    workspace = device.type == "cuda" and not os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    if workspace:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if threads:
        torch.set_num_threads(threads)
    # Ranks must not drop out the same values of their different shapes.
    own = int(np.random.SeedSequence((seed, ranks.rank())).generate_state(1)[0]) if ranks.rank() else seed
    L.seed_everything(own, workers=True, verbose=False)
    # On the GPU only a warning: a few torch operations have no deterministic twin there.
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    torch.utils.deterministic.fill_uninitialized_memory = False
    lightning_log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        if workspace:
            del os.environ["CUBLAS_WORKSPACE_CONFIG"]
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(deterministic_before, warn_only=warn_before)
        torch.utils.deterministic.fill_uninitialized_memory = fill_before
        lightning_log.setLevel(level_before)
