"""What densities are set beside in tables: k-means, the test objects themselves; columns of samples and worst seeds."""

from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans

from gmcn import config, data
from gmcn.artifacts import write_json
from gmcn.config.tables import check_tables
from gmcn.data.objects import TEST, TRAIN, read_split
from gmcn.errors import InputError
from gmcn.results.metrics import column
from gmcn.results.rivals import compare
from gmcn.results.sample_quality import Reference
from gmcn.results.tables import tabulate
from gmcn.tasks.density.measures_of_clusters import clustering
from tests.config.examples import REAL

COLUMNS = ["dunn", "worst-dunn", "davies_bouldin", "worst-davies_bouldin", "purity", "js", "ndb", "repeats"]
TABLE = {
    "title": "Clusters and samples",
    "dataset": "digits",
    "columns": COLUMNS,
    "rows": [{"variant": "gmm-25"}, {"rival": "clusters-kmeans"}, {"rival": "test-set"}],
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The points artifact of scikit-learn's digits."""
    path = tmp_path_factory.mktemp("references") / "digits.safetensors"
    data.sample("digits", settings=REAL["datasets"]["digits"], downloads=None, output=path)
    return path


def vectors(digits, split) -> torch.Tensor:
    return read_split(digits, split).inputs.flatten(1).float() / 16


def test_k_means_of_all_classes_is_measured_as_densities_are(digits, tmp_path):
    found = compare(digits, rival="clusters-kmeans", output=tmp_path / "found.json")
    test = read_split(digits, TEST)
    model = KMeans(25, n_init=1, random_state=0).fit(vectors(digits, TRAIN).numpy())
    clusters = torch.from_numpy(model.predict(vectors(digits, TEST).numpy())).long()
    expected = clustering(vectors(digits, TEST), test.labels, clusters)
    assert {name: value["mean"] for name, value in found["metrics"].items()} == pytest.approx(
        {name: expected[name] for name in ("dunn", "davies_bouldin", "nmi", "purity")}
    )
    assert found["metrics"]["purity"]["mean"] > 0.8
    assert found["details"]["clusters"] == {"used": 25, "objects": 450, "accuracy": expected["clusters"]["accuracy"]}
    assert found["objects"] == {"train": 1347, "of": 1347, "test": 450}


def test_the_test_objects_themselves_stand_beside_samples(digits, tmp_path):
    found = compare(digits, rival="test-set", output=tmp_path / "found.json")
    expected = Reference(vectors(digits, TRAIN), 100, seed=0).compare(vectors(digits, TEST))
    assert {name: value["mean"] for name, value in found["metrics"].items()} == {
        name: expected[name] for name in ("js", "ndb", "repeats")
    }


def test_too_few_objects_for_clusters_are_refused(tmp_path):
    settings = {"kind": "solids", "train_per_class": 2, "test_per_class": 1, "points": 64}
    data.sample("solids10", settings=settings, downloads=None, output=tmp_path / "solids.safetensors")
    with pytest.raises(InputError, match="25 clusters need as many training objects, and there are 20"):
        compare(tmp_path / "solids.safetensors", rival="clusters-kmeans", output=tmp_path / "found.json")


def result(dunn: dict[str, float | None], bouldin: dict[str, float]) -> dict:
    """The part of a density's result that these columns read."""

    def over(seeds):
        return {"mean": 0.5, "std": 0.1, "seeds": seeds}

    samples = {"mean": {"js": 0.0123, "ndb": 7.5, "repeats": 0.25}, "std": {"js": 0.001, "ndb": 0.5, "repeats": 0.01}}
    return {
        "format": 2,
        "dataset": "digits",
        "variant": "gmm-25",
        "metrics": {"dunn": over(dunn), "davies_bouldin": over(bouldin), "purity": {"mean": 0.75, "std": 0.01}},
        "measures": {"samples": samples},
        "training": {seed: {} for seed in dunn},
    }


def test_a_table_shows_the_worst_seed_by_the_direction_of_each_metric(digits, tmp_path):
    mine = {**REAL, "tables": {"mine": TABLE}}
    check_tables(mine, "mine.yaml")
    shown = config.tables.table_of(mine, "mine")
    write_json(tmp_path / "digits_gmm-25.json", result({"0": 0.11, "1": 0.14}, {"0": 2.5, "1": 3.25}))
    paths = [tmp_path / "digits_gmm-25.json"]
    for rival in ("clusters-kmeans", "test-set"):
        paths.append(tmp_path / f"{rival}.json")
        compare(digits, rival=rival, output=paths[-1])
    tabulate(shown, inputs=paths, output=tmp_path / "table")
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert "| Dunn index | Dunn index, worst | Davies-Bouldin index | Davies-Bouldin index, worst | purity" in lines[2]
    own, kmeans, itself = (line.split(" | ") for line in lines[4:7])
    assert own[1:9] == [
        *("0.500 ± 0.100", "0.110", "0.50 ± 0.10", "3.25", "75.0 ± 1.0"),
        *("0.0123 ± 0.0010", "8 ± 0", "25.0 ± 1.0"),
    ]
    assert "(2 seeds)" in own[-1]
    assert kmeans[1] == kmeans[2] != ""
    assert kmeans[6] == itself[1] == ""
    assert float(itself[6]) > 0
    assert sum("Worst is that of all seeds" in line for line in lines) == 1


def test_a_seed_without_the_number_leaves_the_cell_empty():
    worst = column("worst-dunn", ["density"]).read
    assert worst(result({"0": None, "1": 0.2}, {})) == (None, None)
    assert worst({}) == (None, None)
    accuracy = {"metrics": {"accuracy": {"mean": 0.9, "seeds": {"0": 0.95, "1": 0.85}}}}
    assert column("worst-accuracy", ["classification"]).read(accuracy) == (pytest.approx(85), None)


@pytest.mark.parametrize("name", ["worst-accuracy", "worst-js", "worst-", "best-dunn"])
def test_other_columns_do_not_exist(name):
    table = {**TABLE, "columns": [name]}
    with pytest.raises(InputError, match=f"unknown column of results '{name}'"):
        check_tables({**REAL, "tables": {"mine": table}}, "mine.yaml")
    with pytest.raises(InputError, match=f"there is no column '{name}'"):
        column(name, ["density"])
