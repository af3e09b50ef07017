"""Trains a variant within a budget of seconds, and goes on in a later call, on another machine: docs/measuring.md.

It needs mixtures that were fitted before, and neither the internet, git, Snakemake nor MLflow. The checkpoint in the
folder is at most half a minute old, the history has every epoch; where the training has ended, the network is tested.
The folder then holds model.safetensors, training.json, history.csv, last.ckpt, evaluation.json and train.log. The
status is 0 when all is done, 3 when time was up and there is more to do, 2 for input to correct, 1 for other errors.
"""

from __future__ import annotations

import argparse
import csv
import faulthandler
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

BEGIN = time.monotonic()  # before torch is imported, which may take a while
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # gmcn need not be installed
from gmcn.threads import wait_briefly  # noqa: E402

wait_briefly()  # before torch is loaded
from gmcn.artifacts import read_json  # noqa: E402
from gmcn.console import ERROR, logging_to  # noqa: E402
from gmcn.errors import InputError  # noqa: E402

CONTINUE = 3
STOPPING = 12.0  # seconds of the budget that are kept for the running step, its checkpoint and the way out
CHECKPOINT_MINUTES = 0.5
CARRIED = ("last.ckpt", "previous.ckpt", "history.csv")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixtures", type=Path, help="mixtures artifact of the stage `fit`")
    parser.add_argument("--settings", type=Path, help="JSON file of what --show-settings has printed")
    parser.add_argument("--config", action="append", help="configuration (default: the checkout's config.yaml)")
    parser.add_argument("--dataset", help="instead of --settings: name of a data set in the configuration")
    parser.add_argument("--variant", help="and of a variant")
    parser.add_argument("--show-settings", action="store_true", help="print the variant's settings, and do nothing")
    parser.add_argument("--epochs", type=int, help="instead of the variant's; the same in every call of one training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cuda")
    parser.add_argument("--threads", type=int, help="CPU threads; the same in every call of one training on the CPU")
    parser.add_argument("--seconds-at-most", type=float, default=500, help="for everything together")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "gpu-train", help="folder of the results")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="what an earlier call left, to go on with")
    return parser.parse_args()


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Network and training of the file, or of a variant of the configuration."""
    if options.settings is not None:
        settings = read_json(options.settings)
    elif options.dataset and options.variant:
        from gmcn import config

        read = config.load(*(options.config or [ROOT / "config.yaml"]))
        settings = config.stage_settings(read, "train", options.dataset, options.variant)
    else:
        raise InputError("what to train is not said: give --settings FILE, or --dataset and --variant")
    if options.epochs is not None:
        settings["training"]["epochs"] = options.epochs
    return settings


def carry(folder: Path, output: Path) -> None:
    """Copies the files of an earlier call, unless the output has a checkpoint of its own."""
    if not (folder / CARRIED[0]).is_file():
        raise InputError(f"--resume: there is no {CARRIED[0]} in {folder}")
    if not (output / CARRIED[0]).exists():
        for name in CARRIED:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, output / name)


def train(options: argparse.Namespace, settings: dict[str, Any]) -> bool:
    """True if the training reached its end; otherwise its checkpoint is there to continue from."""
    from gmcn import training

    arguments = {"settings": settings, "seed": options.seed, "output": options.output}
    if options.resume is not None:
        carry(options.resume, options.output)
        if not training.resumable(options.mixtures, **arguments):
            raise InputError(
                f"--resume: the checkpoint in {options.resume} is damaged, or not one of these mixtures, settings and "
                "seed; nothing was trained, leave out --resume to start afresh"
            )
    left = BEGIN + options.seconds_at_most - STOPPING - time.monotonic()
    # Training takes the signal after its running step, and saves.
    alarm = threading.Timer(max(0.0, left), os.kill, (os.getpid(), signal.SIGTERM))
    alarm.daemon = True
    alarm.start()
    try:
        training.train(options.mixtures, device=options.device, threads=options.threads, **arguments)
    except SystemExit:
        return False
    finally:
        alarm.cancel()
    return True


def tell(output: Path, epochs: int) -> None:
    """How far the training is, and how much longer it takes."""
    path = output / "history.csv"
    rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    if not rows:
        print(f"Time is up within the first of {epochs} epochs.")
    else:
        each = float(rows[-1]["seconds"]) / len(rows)
        more = (epochs - len(rows)) * each
        print(f"Time is up after {len(rows)} of {epochs} epochs, {each:.2f} s each: about {more:.0f} s more.")
    if (output / CARRIED[0]).exists():
        print(f"Go on with --resume {output}.")


def out_of_time(output: Path) -> None:
    """End the program when the budget runs out within a step or an evaluation."""
    checkpoint = output / CARRIED[0]
    left = f"; {checkpoint} is kept, go on with --resume {output}" if checkpoint.exists() else ""
    print(f"gpu-train: the budget is used up within a step{left}", file=sys.__stderr__, flush=True)
    os._exit(CONTINUE)


def main() -> int:
    options = parsed()
    settings = settings_of(options)
    if options.show_settings:
        print(json.dumps(settings, indent=2))
        return 0
    if options.mixtures is None:
        raise InputError("--mixtures FILE is needed: what the stage `fit` made")
    settings["training"]["checkpoint_minutes"] = CHECKPOINT_MINUTES
    options.output.mkdir(parents=True, exist_ok=True)
    faulthandler.enable()  # a crash in a compiled kernel would otherwise end without a word
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    last = threading.Timer(BEGIN + options.seconds_at_most - 1 - time.monotonic(), out_of_time, (options.output,))
    last.daemon = True
    last.start()
    with logging_to(options.output / "train.log"):
        if not train(options, settings):
            tell(options.output, settings["training"]["epochs"])
            return CONTINUE
        from gmcn.results import evaluate

        models = [options.output / "model.safetensors"]
        evaluate(options.mixtures, models=models, output=options.output / "evaluation.json", device=options.device)
        print(f"All is done after {time.monotonic() - BEGIN:.0f} s: {options.output}.")
    last.cancel()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"{ERROR}{error}", file=sys.stderr)
        sys.exit(2)
