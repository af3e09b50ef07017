"""A job has as many threads as its share of the cores: torch's by its option, others by its environment."""

from __future__ import annotations

SETTINGS = "tracking: {enabled: false}"
RUN = "results/runs/digits_smoke"
MODEL = f"{RUN}/seed0/model.safetensors"
MADE = ("points/digits.safetensors", "mixtures/digits_kmeans16.safetensors", "mixtures/digits_kmeans16.json")
# Stands in for the command: writes down what it is told, and fails.
RECORD = """
import os
from gmcn.cli import parser
options = parser().parse_args()
with open("told", "a") as file:
    print(options.command, getattr(options, "threads", None), os.environ["OMP_NUM_THREADS"], file=file)
raise SystemExit(options.command != "store")
"""


def told(checkout, *targets: str, cores: int) -> list[str]:
    answer = checkout.snakemake("--cores", str(cores), "--force", targets=targets, config=SETTINGS)
    assert answer.status == 1, answer.text
    return sorted((checkout.folder / "told").read_text().splitlines())


def test_the_threads_of_jobs(checkout):
    files = [f"results/{name}" for name in MADE]
    files += [MODEL, f"{RUN}/seed0/history.csv", f"{RUN}/seed0/training.json", f"{RUN}/evaluation.json"]
    checkout.pretend(
        f"{RUN}/evaluation.json", files=[*files, f"{RUN}/confusion.png", f"{RUN}/mistakes.png"], config=SETTINGS
    )
    (checkout.folder / "gmcn/__main__.py").write_text(RECORD)
    others = ("results/points/solids10.safetensors", "results/mixtures/digits_kmeans32.safetensors")
    found = told(checkout, *others, f"{RUN}/evaluation.json", cores=3)
    assert found == ["evaluate 3 3", "fit 3 3", "sample 3 3", "store None 1"]
