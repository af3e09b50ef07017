"""The command ``gmcn``: every stage of the workflow by itself.

Paths that are not given have the workflow's defaults below the results; settings that are not given come from
config.yaml. Exit status: 0 done, 2 input to correct, 1 any other error, 128 + n ended by signal n.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gmcn import __version__
from gmcn.console import ERROR, logging_to
from gmcn.errors import InputError, brief, is_out_of_memory, not_installed
from gmcn.running import claimed
from gmcn.stages import OTHERS, STAGES, Option
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
    except KeyboardInterrupt:  # not in the log: what a training says there when it leaves is no failure
        return _fail(f"{options.command} was interrupted", 128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


def parser() -> argparse.ArgumentParser:
    """The command line's parser."""
    top = argparse.ArgumentParser(prog="gmcn", description="Deep learning on Gaussian mixtures, stage by stage.")
    top.add_argument("--version", action="version", version=f"gmcn {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (*STAGES.values(), *OTHERS.values()):
        summary = command.summary
        own = commands.add_parser(command.name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        either: dict[str, argparse._ActionsContainer] = {}
        for option in command.all_options:
            if option.either and option.either not in either:
                either[option.either] = own.add_mutually_exclusive_group()
            _add(either.get(option.either, own), option)
    return top


def _add(parser: argparse._ActionsContainer, option: Option) -> None:
    names = ("help", "metavar", "nargs", "action", "choices", "default", "required")
    words = {name: value for name in names if (value := getattr(option, name)) is not None}
    parser.add_argument(option.name, *option.also, **words, **({"type": _TYPES[option.type]} if option.type else {}))


def _logged(options: argparse.Namespace) -> int:
    log = Path(options.log) if options.log else None
    if options.rank and log:
        log = log.with_name(f"{log.name}.rank{options.rank}")
    with logging_to(log, logging.ERROR if options.rank else logging.INFO):
        return _run(options, functools.partial(_claimed, log=log))


def _claimed(options: argparse.Namespace, log: Path | None) -> int:
    with claimed(None if options.rank else log):
        if log:
            log.write_text("")  # of an earlier attempt, and no longer of a job that may run
        return _call(options)


def _run(options: argparse.Namespace, function: Callable[[argparse.Namespace], int]) -> int:
    """Call ``function``; if it raises an error, print its sentence and return its exit status."""
    try:
        return function(options)
    except InputError as error:
        return _fail(str(error), 2)
    except BrokenPipeError:  # `gmcn ... | head`: the reader has closed the pipe
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
    commands.function_of({**STAGES, **OTHERS}[options.command])(commands.Context(options))
    print(end="", flush=True)
    return 0


def _terminate(signal_number: int, _frame: object) -> None:
    # As an exception, so that half-written files are removed and the tracking run is closed.
    raise SystemExit(128 + signal_number)


def _sentence(error: Exception, command: str = "") -> str | None:
    """The sentence for the user if the error is no fault of the program; None if it may be one."""
    if isinstance(error, OSError):
        if error.errno in _FULL:
            return f"the disk is full, nothing was left half-written: {error}"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"not allowed to read or write: {error}"
        if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
            return f"cannot read or write: {error}"
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


_TYPES = {"integer": int, "count": _positive, "number": float}
