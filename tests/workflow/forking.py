"""Runs Snakemake, each time in a process of its own that has it imported: that alone takes longer than most plans.

One JSON object per line: ``folder``, ``arguments``, ``environment`` and the file of the ``output``; answered by a line
with the exit status.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

from snakemake import cli


def run(folder: str, arguments: list[str], environment: dict[str, str], output: str) -> int:
    """What `python -m snakemake` does in this folder."""
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for own, other in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(own, other)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["snakemake", *arguments]
    sys.path.insert(0, folder)
    try:
        cli.main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            sys.exit(run(**task))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
