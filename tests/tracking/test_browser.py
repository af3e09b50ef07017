"""MLflow's pages as a user sees them, in a headless browser: `make test-browser`."""

from __future__ import annotations

import importlib.util

import pytest
from PIL import Image

from gmcn import tracking
from tests.conftest import ROOT

pytest.importorskip("mlflow")
pytest.importorskip("playwright")
spec = importlib.util.spec_from_file_location("draw_tracking", ROOT / "docs" / "draw_tracking.py")
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(pages.chromium() is None, reason="needs chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two results of a data set with their stages, as the workflow logs them."""
    folder = tmp_path_factory.mktemp("results")
    figure = folder / "activations.png"
    Image.new("RGB", (60, 40), (200, 30, 30)).save(figure)
    for variant, accuracy in (("small", 0.81), ("large", 0.93)):
        options = {"dataset": "toy", "result": f"toy_{variant}", "results": folder}
        with tracking.start("train", name="train seed 0", **options) as run:
            for step in range(50):
                run.log_metrics({"train/loss": 1 / (1 + step)}, step=step)
        with tracking.start("evaluate", name="evaluate", **options) as run:
            run.log_artifact(figure, "figures")
        with tracking.start("summarise", name="summarise", **options) as run:
            numbers = {"accuracy": accuracy, "parameters": 790, "memory_mib": 2.5, "training_seconds": 12.0}
            run.log_result(numbers, {"network": {"layers": [[8, 4]]}})
    return folder


def test_results_are_compared_and_lead_to_their_stages_curves_and_figures(results):
    with pages.mlflow_ui(results) as address, pages.browser() as page:
        pages.open_results(page, address, "toy")
        shown = page.get_by_role("grid").or_(page.get_by_role("treegrid")).first.inner_text()
        assert "toy_small" in shown
        assert "toy_large" in shown
        assert "train seed 0" not in shown  # results, not stages
        assert shown.index("0.93") < shown.index("0.81")  # the best first
        for column in ("accuracy", "parameters", "memory_mib", "training_sec"):
            assert column in page.inner_text("body")

        pages.open_run(page, "toy_large")
        assert "[[8, 4]]" in page.inner_text("body")
        for stage in ("train seed 0", "evaluate", "summarise"):
            page.get_by_role("link", name=stage).first.wait_for()
        of_result = page.url

        pages.open_run(page, "train seed 0")
        pages.open_curves(page, "loss")
        assert page.locator(".js-plotly-plot").first.evaluate("plot => plot.data[0].x") == list(range(50))

        page.goto(of_result)
        pages.open_run(page, "evaluate")
        pages.open_figure(page, "figures/activations.png")
        picture = page.locator(pages.PICTURE).first
        assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [60, 40]
