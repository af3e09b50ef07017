"""Creates the store, and sends to it what earlier runs could not."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from gmcn.tracking.delivery import send_left_over
from gmcn.tracking.store import connect, first_line, warn


def create_store(results: str | os.PathLike = "results") -> None:
    """Create the store unless it exists, and send what earlier runs could not. A failure is only said.

    Safe to call from many processes at once.
    """
    if importlib.util.find_spec("mlflow") is None:
        return
    try:
        connect(Path(results)).search_experiments(max_results=1)
        sent = send_left_over(Path(results))
        if sent:
            print(f"logged to MLflow what {sent} earlier runs could not log", file=sys.stderr)
    except Exception as error:  # as in tracking.Run
        warn(f"MLflow cannot be used for now ({first_line(error)}); everything else goes on")
