"""The command ``gmcn``: every stage of the workflow by itself.

Paths that are not given have the workflow's defaults below the results; settings that are not given come from
config.yaml. Exit status: 0 done, 2 input to correct, 1 any other error, 128 + n ended by signal n.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gmcn.console import ERROR, logging_to
from gmcn.errors import InputError, brief, is_out_of_memory, not_installed
from gmcn.running import claimed
from gmcn.stages import OTHERS, STAGES
from gmcn.threads import wait_briefly

# A disk, a quota, or a limit on the size of files.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parser().parse_args(arguments)
    wait_briefly()
    # A crash in a compiled kernel would otherwise end without a word.
    faulthandler.enable(sys.__stderr__)
    before = signal.signal(signal.SIGTERM, _terminate)
    options.rank = 0
    if options.command == "train":
        from gmcn import ranks

        options.rank = ranks.launched().rank
    try:
        return _run(options, _logged)
    finally:
        signal.signal(signal.SIGTERM, before)


def parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    top = argparse.ArgumentParser(prog="gmcn", description="Deep learning on Gaussian mixtures, stage by stage.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in {**{stage.name: stage.summary for stage in STAGES.values()}, **OTHERS}.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        _common(command)
        if name in STAGES:
            if STAGES[name].makes == "named":
                command.add_argument("--name", required=True, help="name of the table or figure")
            elif STAGES[name].makes == "dataset":
                command.add_argument("--dataset", required=True, help="name of a data set in the configuration")
            command.add_argument("--settings", metavar="JSON", help="settings instead of the configuration's")
            command.add_argument("--output", metavar="PATH", help="where to write")
            command.add_argument("--threads", type=_positive, help="CPU threads (default: all cores)")
        _own_options(name, command)
    return top


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        action="append",
        metavar="FILE",
        help="configuration (default: config.yaml); later files override",
    )
    command.add_argument("--results", metavar="FOLDER", help="folder of all results (default: the configuration's)")
    command.add_argument("--tracking", choices=("on", "off"), help="log to MLflow (default: the configuration's)")
    command.add_argument("--log", metavar="FILE", help="also write what is printed to this file")


def _own_options(name: str, command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    if name == "download":
        add("--file", help="only this one of the data set's files")
    if name == "sample":
        add("--downloads", metavar="FOLDER", help="the data set's downloaded files")
    if name == "fit":
        add("--fit", required=True, help="name of a fit in the configuration")
    if name in ("fit", "train", "summarise", "draw-fits"):
        add("--points", metavar="FILE", help="points artifact of the stage `sample`")
    if name in ("train", "evaluate", "probe", "footprint", "summarise"):
        add("--variant", required=True, help="name of a variant in the configuration")
        add("--mixtures", metavar="FILE", help="mixtures artifact of the stage `fit`")
    if name in ("train", "evaluate", "probe", "footprint", "least-squares", "predict"):
        add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)")
    if name == "train":
        add("--devices", type=_positive, help="processes on each node, one per device (default: the configuration's)")
        add("--nodes", type=_positive, help="nodes that train together, under srun (default: the configuration's)")
        add("--seed", type=int, help="one seed (default: all of the variant, one after the other)")
    if name in ("evaluate", "probe", "footprint"):
        add("--models", nargs="+", metavar="FILE", help="trained networks, one per seed")
    if name == "summarise":
        add("--training", nargs="+", metavar="FILE", help="training.json of every seed")
        for part in ("evaluation", "rmse", "footprint"):
            add(f"--{part}", metavar="FILE", help=f"the variant's {part}.json")
    if name == "draw-fits":
        add("--mixtures", nargs="+", metavar="FILE", help="mixtures artifacts, one per fit of the figure")
    if name == "show":
        add("file", metavar="FILE", help="mesh, cloud, splats, image, or artifact of points or mixtures")
        which = command.add_mutually_exclusive_group()
        which.add_argument("--index", type=int, help="which of the file's objects, counted from 0 (default: the first)")
        which.add_argument("--name", help="which of the file's objects, by its name")
        add("--points", metavar="FILE", help="what the mixtures were fitted to (default: looked for beside them)")
        add("--up", choices=("x", "y", "z"), default="z", help="axis that points upwards in 3D (default: z)")
        add("--output", metavar="PATH", help="write .html, .png or .svg (default: a temporary page, opened)")
    if name in ("predict", "show"):
        add("--drop-not-finite", action="store_true", help="leave out points and splats that are not finite")
    if name == "status":
        add("targets", nargs="*", metavar="TARGET", help="as for snakemake (default: the configuration's targets)")
        add("--json", action="store_true", help="print everything that is known, for other programs")
    if name in ("predict", "export"):
        add(
            "--seed",
            type=int,
            help="the network of this seed (default: predict: the first; export: the best on the validation split)",
        )
    if name == "predict":
        add("model", metavar="MODEL", help="result, run folder, model.safetensors, or name of a pretrained network")
        add("files", nargs="+", metavar="FILE", help="mesh, cloud, splats, image, artifact, or folder of them")
        add("--resize", action="store_true", help="scale images to the size that the network was trained on")
        add("--invert", action="store_true", help="make dark on bright, as ink on paper, bright on dark")
        add("--top", type=_positive, default=2, metavar="K", help="show the K most probable classes (default: 2)")
        add("--output", metavar="FILE", help="write all probabilities, as .json or .csv")
    if name == "export":
        add("result", metavar="RESULT", help="a finished result, results/<data set>_<variant>.json")
        add("folder", metavar="FOLDER", help="where to write: pretrained/<name>")
        add("--sampling", metavar="HOW", help="how its clouds were drawn from meshes: uniform or poisson")
    if name == "draw-figure":
        add("--model", metavar="FILE", help="the trained network that it shows")
        add("--mixtures", metavar="FILE", help="what that network was trained on")
    if name == "table":
        add("--inputs", nargs="*", metavar="FILE", help="what there is to show (default: looked for in the results)")
        add("--maker", default="snakemake --cores all", help="how a missing result is made, for its row")


def _logged(options: argparse.Namespace) -> int:
    log = Path(options.log) if options.log else None
    if options.rank and log:
        log = log.with_name(f"{log.name}.rank{options.rank}")
    with logging_to(log, logging.ERROR if options.rank else logging.INFO):
        return _run(options, _claimed)


def _claimed(options: argparse.Namespace) -> int:
    with claimed(Path(options.log) if options.log and options.rank == 0 else None):
        return _call(options)


def _run(options: argparse.Namespace, function: Callable[[argparse.Namespace], int]) -> int:
    """What ``function`` returns, or the exit status of the error that it raises, after its sentence."""
    try:
        return function(options)
    except InputError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail(f"{options.command} was interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:  # `gmcn ... | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        sentence = _sentence(error, options.command)
        if sentence is None:
            raise
        return _fail(sentence, 1)


def _call(options: argparse.Namespace) -> int:
    from gmcn import commands

    if getattr(options, "threads", None):
        import torch

        torch.set_num_threads(options.threads)
    if options.command == "train" and options.seed is None and options.output:
        raise InputError("--output names the folder of one seed: give --seed as well")
    getattr(commands, options.command.replace("-", "_"))(commands.Context(options))
    print(end="", flush=True)
    return 0


def _terminate(signal_number: int, _frame: object) -> None:
    # As an exception, so that half-written files are removed and the tracking run is closed.
    raise SystemExit(128 + signal_number)


def _sentence(error: Exception, command: str = "") -> str | None:
    """What to tell the user about an error that is no mistake in the program; None if it may be one."""
    if isinstance(error, OSError):
        if error.errno in _FULL:
            return f"the disk is full, nothing was left half-written: {error}"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"not allowed to read or write: {error}"
    if isinstance(error, ModuleNotFoundError):
        return not_installed(error)
    if type(error).__module__.startswith("gmcn."):
        return str(error)
    if is_out_of_memory(error):
        lighter = STAGES[command].lighter if command in STAGES else None
        instead = f", or with {lighter}" if lighter else ""
        return f"{command} ran out of memory; start it again with more{instead} ({brief(error)})"
    return None


def _fail(sentence: str, status: int) -> int:
    print(f"{ERROR}{sentence}", file=sys.stderr)
    return status


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
