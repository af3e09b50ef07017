"""The pictures of docs/tracking.md, from a real browser: pages of MLflow and of the report, of any folder of results.

    python docs/draw_tracking.py --results results --result digits_treehem2 --report report.zip

It needs chromium (`apt-get install chromium`) and the extra `dev`; with --report also a report.zip of Snakemake's.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# As a user leaves it after the first visit: pages about training, no chat beside them.
REMEMBERED = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.assistant.panelOpen_v1": "false",
}
PICTURE = "img[src^='blob:']"  # an artifact that is shown
PATIENCE = 60_000  # ms, for a busy machine


def chromium() -> str | None:
    """The path of an installed browser."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextlib.contextmanager
def mlflow_ui(results: Path) -> Iterator[str]:
    """The address at which `make ui` serves these results, as long as the block lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = ["make", "ui", f"RESULTS={results.resolve()}", f"PORT={port}", "INSTALLED="]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).resolve().parent.parent,
            env={**os.environ, "PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
                if process.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"`make ui` has ended: {log.read()}")
                time.sleep(0.2)
            yield address
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(timeout=60)


@contextlib.contextmanager
def browser(offline: bool = False) -> Iterator[Page]:
    """A page of a headless browser."""
    with sync_playwright() as playwright:
        # Its sandbox does not work for root, as in containers; what is opened here is our own.
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = started.new_context(viewport={"width": 1280, "height": 760})
        context.set_default_timeout(PATIENCE)
        context.set_offline(offline)
        for key, value in REMEMBERED.items():
            context.add_init_script(f"try {{ localStorage.setItem({key!r}, {value!r}) }} catch {{}}")
        yield context.new_page()
        started.close()


def open_results(page: Page, address: str, dataset: str) -> None:
    """From the first page to the comparison of a data set's results."""
    page.goto(address)
    page.get_by_role("link", name=f"gmcn/{dataset}", exact=True).first.click()
    # Else the list of all runs comes after that of the view, and stays.
    page.get_by_role("gridcell").first.wait_for()
    page.get_by_role("button", name="Views").click()
    page.get_by_role("menuitem", name="Results").click()
    page.get_by_text("training_seconds").first.wait_for()
    page.get_by_role("gridcell").first.wait_for()


def open_run(page: Page, name: str) -> None:
    """From a list of runs, or the run above it, to the run of this name."""
    page.get_by_role("link", name=re.compile(rf"^{re.escape(name)},?$")).first.click()
    page.get_by_role("heading", name=name).wait_for()


def open_curves(page: Page, metric: str) -> None:
    """From a run to the curves of its metrics."""
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_placeholder("Search metric charts").fill(metric)
    page.locator(".js-plotly-plot path.js-line").first.wait_for()


def open_figure(page: Page, file: str) -> None:
    """From a run to a picture among its artifacts, ``folder/name``."""
    page.get_by_role("tab", name="Artifacts").click()
    for part in Path(file).parts:
        page.get_by_text(part, exact=True).first.click()
    page.locator(PICTURE).first.wait_for()


def save(page: Page, path: Path) -> None:
    """A screenshot of the page, in few colours: pages have no more."""
    page.wait_for_timeout(1500)  # until nothing moves
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


def draw_mlflow(results: Path, result: str, output: Path) -> None:
    """The comparison of all results of a data set; stages, curves and figures of one."""
    dataset = result.split("_")[0]
    with mlflow_ui(results) as address, browser() as page:
        open_results(page, address, dataset)
        save(page, output / "tracking_results.png")
        page.locator("input[type=radio][value=CHART]").dispatch_event("click")
        page.locator(".js-plotly-plot").first.wait_for()
        save(page, output / "tracking_charts.png")
        open_results(page, address, dataset)
        open_run(page, result)
        save(page, output / "tracking_result.png")
        of_result = page.url
        open_run(page, "train seed 0")
        open_curves(page, "loss")
        save(page, output / "tracking_curves.png")
        page.goto(of_result)
        open_run(page, "evaluate")
        open_figure(page, "figures/activations.png")
        save(page, output / "tracking_figure.png")


def draw_report(report: Path, output: Path) -> None:
    """A mixture of the report that can be turned, without a network: that of the data set which comes last."""
    with tempfile.TemporaryDirectory() as folder, browser(offline=True) as page:
        zipfile.ZipFile(report).extractall(folder)
        page.goto(next(Path(folder).rglob("report.html")).as_uri())
        page.get_by_text("Fits", exact=True).first.click()
        page.get_by_text("to turn", exact=True).click()
        page.get_by_role("row").last.locator("a").first.click()
        page.frame_locator("iframe").locator(".js-plotly-plot canvas").first.wait_for()
        save(page, output / "report.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--result", default="digits_treehem2", help="the result that is looked at")
    parser.add_argument("--report", type=Path, help="a report.zip")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images")
    options = parser.parse_args()
    if chromium() is None:
        raise SystemExit("no browser was found; install one: apt-get install chromium")
    draw_mlflow(options.results, options.result, options.output)
    if options.report:
        draw_report(options.report, options.output)


if __name__ == "__main__":
    main()
