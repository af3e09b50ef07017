"""Valid targets, and the sentences about others."""

from __future__ import annotations

import base64
import http.server
import json
import re
import shlex
import threading
from pathlib import Path

import pytest

from gmcn import config, status
from gmcn.stages import STAGES
from tests.config.examples import REAL
from tests.conftest import ROOT


@pytest.mark.parametrize("pairs", ["some", pytest.param("all", marks=pytest.mark.slow)])
def test_every_target_of_the_configuration_resolves(pristine, pairs):
    named = [(dataset, variant) for dataset in REAL["datasets"] for variant in REAL["variants"]]
    if pairs == "some":  # every data set and every variant
        named = [(dataset, variant) for dataset, variant in named if dataset == "digits" or variant == "smoke"]
    results = [f"results/{dataset}_{variant}.json" for dataset, variant in named]
    fits = [f"results/mixtures/{dataset}_{fit}.safetensors" for dataset in REAL["datasets"] for fit in REAL["fits"]]
    tables = [f"results/tables/{dataset}.csv" for dataset in REAL["tables"]]
    figures = [f"results/figures/{dataset}_fits.png" for dataset in REAL["datasets"]]
    jobs = pristine.plan(*results, *fits, *tables, *figures, "results/figures/all")
    assert jobs["table"] == len(tables)
    assert jobs["draw_figure"] == len(config.ILLUSTRATIONS)
    assert jobs["draw_fits"] == len(figures)
    assert jobs["summarise"] == len(results)
    assert jobs["fit"] == len(fits)
    assert jobs["sample"] == len(REAL["datasets"])
    assert jobs["download"] == sum(len(dataset.get("files", [])) for dataset in REAL["datasets"].values())
    assert not (pristine.folder / "results").exists()


def wanted(settings):
    """The results of all tables, and the trainings on folds."""
    tables = (config.tables.table_of(settings, name) for name in settings["tables"])
    files = {file for table in tables for file in config.tables.files_of(table)}
    return {file for file in files if "/" not in file}, {file for file in files if file.startswith("runs/")}


def networks_of_fits(settings, results):
    """How many trainings there are besides, of networks by which input fits are made."""
    found = set()
    for dataset, variant in (file.removesuffix(".json").split("_") for file in results):
        fit = config.resolve(settings, dataset, variant)["fit"]
        own = config.network_of_fit(settings, dataset, fit) if fit else None
        if own and f"{dataset}_{own['variant']}.json" not in results:
            found.add((dataset, own["variant"], own["seed"]))
    return len(found)


def test_a_fit_by_a_network_waits_for_its_training(pristine):
    jobs = pristine.plan("results/mixtures/modelnet10_hgmm32.safetensors")
    assert jobs == {"download": 1, "sample": 1, "train": 1, "fit": 1}


@pytest.mark.slow
def test_all_tables_want_every_result_of_the_paper(pristine):
    jobs = pristine.plan("results/tables/all")
    results, folds = wanted(REAL)
    assert jobs["summarise"] == len(results)
    seeds = sum(len(config.resolve(REAL, *file.removesuffix(".json").split("_"))["seeds"]) for file in results)
    assert networks_of_fits(REAL, results) == 1
    assert jobs["train"] == seeds + len(folds) + 1
    rows = [row for name in REAL["tables"] for row in config.tables.table_of(REAL, name)["rows"] if "rival" in row]
    assert jobs["rival"] == len({(row["dataset"], row["rival"]) for row in rows}) > 2
    assert jobs["least_squares"] == jobs["all_results"] == jobs["all_tables"] == 1


def test_one_table_wants_nothing_that_is_not_there(pristine):
    assert pristine.plan("results/tables/table9.md") == {"table": 1}


def test_an_empty_row_says_where_its_result_lies(pristine):
    answer = pristine.snakemake("-n", "-p", "--config", "results=elsewhere", targets=("elsewhere/tables/table9.md",))
    assert "--maker 'snakemake --cores all --config results=elsewhere --'" in answer.text


@pytest.mark.slow
def test_everything_in_small_is_made_beside_the_real_results(pristine):
    answer = pristine.snakemake(
        "-n", "-p", "--configfile", "workflow/small.yaml", targets=("results/small/tables/all",)
    )
    assert answer.status == 0, answer.text
    small = config.load(ROOT / "config.yaml", ROOT / "workflow/small.yaml")
    results, folds = wanted(small)
    assert answer.jobs["summarise"] == len(results)
    assert answer.jobs["train"] == len(results) + len(folds) + networks_of_fits(small, results)  # one seed each
    assert " results/modelnet10" not in answer.text
    assert '"layers": [[2, 16], [4, 8], [8, 4], [16, 2]]' in answer.text


def test_the_default_target_is_the_configured_one(pristine):
    jobs = pristine.plan()
    assert jobs == {
        "sample": 1, "fit": 1, "train": 3, "evaluate": 1, "probe": 1, "footprint": 1, "summarise": 1, "all": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("results/digit_treehem2.json", "unknown data set 'digit'; did you mean 'digits'? (known: "),
        ("results/digits_treehem.json", "unknown variant 'treehem'; did you mean "),
        ("results/mixtures/digits_kmeans17.safetensors", "unknown fit 'kmeans17'; did you mean "),
        ("results/figures/digit_fits.png", "unknown data set 'digit'; did you mean 'digits'? (known: "),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(pristine, target, part):
    answer = pristine.snakemake("-n", targets=(target,))
    assert answer.status != 0
    [sentence] = [line for line in answer.text.splitlines() if part in line]
    assert "known: " in sentence
    assert "MissingInputException" not in answer.text
    assert "Traceback" not in answer.text


def test_other_figures_are_refused_with_the_names_of_those_that_are_drawn(pristine):
    answer = pristine.snakemake("-n", targets=("results/figures/digits_fit.png",))
    assert answer.status != 0
    assert "is no figure: they are called <data set>_fits.png, .svg and .html, and figure2, " in answer.text


def test_an_unknown_key_is_refused(pristine):
    answer = pristine.snakemake("-n", config="variants: {smoke: {training: {epoch: 2}}}")
    assert answer.status != 0
    assert "unknown key 'variants.smoke.training.epoch'; did you mean 'epochs'?" in answer.text


def test_what_files_include_is_the_same_for_snakemake_and_for_gmcn(pristine):
    """An overlay that includes something keeps what config.yaml includes, and wins over both."""
    (pristine.folder / "more").mkdir(exist_ok=True)
    (pristine.folder / "more/low.yaml").write_text(
        "variants: {low: {base: paper-g16, training: {epochs: 7}}, paper-g16: {fit: kmeans16, seeds: [5]}}"
    )
    own = "include: [more/low.yaml]\nvariants: {own: {base: low, training: {epochs: 8}}}"
    target = "results/digits_own.json"
    answer = pristine.snakemake("-n", "-p", config=own, targets=(target,))
    assert answer.status == 0, answer.text
    loaded = config.load(pristine.folder / "config.yaml", pristine.folder / "test.yaml")
    settings = config.stage_settings(loaded, "train", "digits", "own")
    assert settings["training"]["epochs"] == 8
    assert json.dumps(settings, sort_keys=True) in answer.text
    assert "runs/digits_own/seed5/" in answer.text
    assert "mixtures/digits_kmeans16" in answer.text
    said = pristine.snakemake("-n", "--config", "include=[more/low.yaml]", targets=(target,))
    assert said.status != 0
    assert "'include' is read from files: name the file with --configfile or --config instead" in said.text


def test_json_may_overlay_too(pristine):
    (pristine.folder / "test.json").write_text('{\n\t"variants": {"fast": {"base": "small",\t"seeds": [1]}}\n}')
    answer = pristine.snakemake("-n", "--configfile", "test.json", targets=("results/digits_fast.json",))
    assert answer.status == 0, answer.text
    assert answer.jobs["train"] == 1


def test_a_variant_is_two_lines(pristine):
    new = "variants:\n  fast: {base: treehem2, training: {learning_rate: 3.0e-3}}"
    assert pristine.plan("results/digits_fast.json", config=new)["train"] == 3


def test_a_mixture_layer_s_result_has_its_dynamics_and_figures_their_numbers(pristine):
    jobs = pristine.plan("results/digits_gm.json")
    assert (jobs["dynamics"], jobs.get("probe", 0)) == (1, 0)
    assert pristine.plan("results/runs/digits_smoke/dynamics.json")["dynamics"] == 1  # by its name
    figures = [f"results/figures/{name}.json" for name in config.MEASURED]
    small = "gm_layers: {dataset: digits, epochs: 1}"
    assert pristine.plan(*figures, config=small) == {
        "sample": 1,
        "rival": 2,
        "draw_layers": len(figures),
    }


def test_figures_of_results_make_what_they_show(pristine):
    small = "dcgmm: {datasets: [digits]}"
    assert pristine.plan("results/figures/dcgmm-figure2.svg", config=small) == {
        "sample": 1,
        "train": 1,
        "draw_results": 1,
    }
    shown = {name: figure for name, figure in config.COMPARED.items() if figure.section == "dcgmm"}
    figures = [f"results/figures/{name}.json" for name in shown]
    variants = {name for figure in shown.values() for name in figure.variants}
    each = len(variants)
    assert pristine.plan(*figures, config=small) == {
        "sample": 1,
        "rival": 1,
        "train": 3 * each,
        **dict.fromkeys(("evaluate_task", "footprint", "samples", "summarise"), each),
        "draw_results": len(figures),
    }
    answer = pristine.snakemake("-n", config="dcgmm: {datasets: [digit]}", targets=(figures[0],))
    assert answer.status != 0
    assert "unknown data set 'digit'; did you mean 'digits'?" in answer.text
    assert "in dcgmm.datasets" in answer.text


def test_figures_of_clouds_are_pages_too(pristine):
    jobs = pristine.plan("results/figures/pointgmm-levels.html", "results/figures/pointgmm-parts.png")
    assert jobs == {"download": 1, "sample": 1, "train": 1, "draw_clouds": 2}
    answer = pristine.snakemake("-n", targets=("results/figures/pointgmm-levels.svg",))
    assert "'results/figures/pointgmm-levels.svg' is no figure" in answer.text


def test_another_data_set_s_objects_are_sampled_to_be_outliers(pristine):
    other = "variants: {other: {base: gmm-25, seeds: [0], outliers: mnist}}"
    jobs = pristine.plan("results/runs/fashion-mnist_other/evaluation.json", config=other)
    assert (jobs["sample"], jobs["evaluate_task"]) == (2, 1)
    answer = pristine.snakemake("-n", config=other.replace("mnist", "mnst"), targets=("results/digits_other.json",))
    assert "unknown data set 'mnst'; did you mean 'mnist'?" in answer.text
    assert "in `outliers` of variant 'other'" in answer.text


RAW = "variants: {raw: {base: smoke, seeds: [0], fit: null, network: {kind: pointnet}}}"


def test_a_variant_without_a_fit_is_trained_on_points_and_not_probed_without_mixtures_inside(pristine):
    target = "results/digits_raw.json"
    answer = pristine.snakemake("-n", "-p", targets=(target,), config=RAW)
    assert answer.status == 0, answer.text
    jobs = {name: number for name, number in answer.jobs.items() if name != "total"}
    assert jobs == {"sample": 1, "train": 1, "evaluate": 1, "footprint": 1, "summarise": 1}
    given = re.findall(r"--input (\S+)", answer.text)
    assert given == ["results/points/digits.safetensors"] * 4
    assert "--footprint=results/runs/digits_raw/footprint.json" in answer.text
    assert "--rmse" not in answer.text
    assert pristine.plan("results/runs/digits_raw/rmse.json", config=RAW)["probe"] == 1  # by its name


def test_without_a_gpu_everything_runs_on_the_cpu(pristine):
    answer = pristine.snakemake("-n", "-p", "--resources", "gpu=0", targets=("results/digits_smoke.json",))
    assert answer.text.count("--device cpu") == 4
    assert "--device auto" not in answer.text


def test_tracking_is_switched_in_the_configuration(pristine):
    answer = pristine.snakemake("-n", "-p", config="tracking: {enabled: false}")
    assert "--tracking off" in answer.text
    assert "--tracking on" not in answer.text


def test_tracking_is_switched_on_the_command_line_as_documented(pristine):
    """Snakemake hands over text for everything inside braces."""
    text = (ROOT / "docs/cluster.md").read_text()
    option = re.search(r"--config (tracking='\{.*?\}')`", text)[1]
    solids = '{"kind": "solids", "train_per_class": 2, "test_per_class": 1, "normalize": true, "seed": 3}'
    options = (*shlex.split(option), f'datasets={{"mine": {solids}}}')
    answer = pristine.snakemake("-n", "-p", "--config", *options, targets=("results/points/mine.safetensors",))
    assert answer.status == 0, answer.text
    assert "--tracking off" in answer.text
    assert json.dumps(json.loads(solids), sort_keys=True) in answer.text


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("variants: {7: {base: small}}", "a name in 'variants' is 7 and no text to YAML; write it in quotes"),
        ("variants: {on: {base: small}}", "a name in 'variants' is true to YAML, as are on and yes"),
        ("shrink: 2\nshrink: 4", "test.yaml says 'shrink' twice in one place, in lines 1 and 2"),
    ],
)
def test_what_yaml_reads_otherwise_is_one_sentence(pristine, content, part):
    answer = pristine.snakemake("-n", config=content)
    assert answer.status != 0
    assert part in answer.text
    assert "Traceback" not in answer.text


class Guarded(http.server.BaseHTTPRequestHandler):
    """Gives something to who knows the password and the token."""

    def do_GET(self):
        known = f"Basic {base64.b64encode(b'anna:s3cret').decode()}", "/get?token=t0ken"
        self.send_response(200 if (self.headers["Authorization"], self.path) == known else 403)
        self.end_headers()
        self.wfile.write(b"content")

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_the_password_of_a_data_set_reaches_its_job_and_stands_nowhere(checkout):
    with http.server.HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}/get"
        overlay = f"""
            tracking: {{enabled: false}}
            datasets: {{mine: {{kind: clouds, files: [{{name: a.npz, url: "http://anna:s3cret@{place}?token=t0ken"}}]}}}}
        """
        target = "results/datasets/mine/a.npz"
        answer = checkout.snakemake("-p", "--cores", "1", config=overlay, targets=(target,))
        server.shutdown()
    assert answer.status == 0, answer.text
    assert (checkout.folder / target).read_bytes() == b"content"
    assert f'"url": "http://{place}?..."' in answer.text
    folders = (checkout.folder / name for name in (".snakemake", "results"))
    written = [path.read_text() for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert not [text for text in [answer.text, *written] if "s3cret" in text or "t0ken" in text]


def test_the_status_finds_the_log_of_every_job(pristine):
    targets = ("results/digits_smoke.json", "results/figures/digits_fits.png", "results/points/mnist.safetensors")
    targets = (*targets, "results/tables/table7.md", f"results/{config.tables.LEAST_SQUARES}", "results/figures/all")
    targets = (*targets, "results/runs/digits_gm/dynamics.json", "results/figures/gmlayer-sampling.png")
    targets = (*targets, "results/rivals/digits_ntk.json", "results/runs/digits_mfa-25x4/samples.json")
    targets = (*targets, "results/figures/dcgmm-figure2.png")
    said = set(re.findall(r"python -m gmcn (\S+) .*--log (\S+)", pristine.snakemake("-np", targets=targets).text))
    assert {stage for stage, _ in said} == set(STAGES)
    summary = [line.split("\t") for line in pristine.snakemake("--summary", targets=targets).text.splitlines()]
    rows = [(Path(row[0]), row[2].replace("_", "-")) for row in summary if len(row) == 6]
    named = {(stage, status._name(stage, path.relative_to("results"))) for path, stage in rows if stage in STAGES}
    assert {(stage, f"results/logs/{stage}/{name}.log") for stage, name in named} == said
