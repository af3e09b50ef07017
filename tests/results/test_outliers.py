"""The rivals of densities, and the table that shows them beside variants."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from gmcn import config, data
from gmcn.artifacts import load_tensors, save_tensors
from gmcn.data.objects import TEST, TRAIN, of_classes, read_split
from gmcn.errors import InputError
from gmcn.results.outliers import OUTLIERS, principal_components
from gmcn.results.rivals import compare
from gmcn.results.tables import tabulate
from tests.config.examples import REAL


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The points artifact of scikit-learn's digits."""
    path = tmp_path_factory.mktemp("rivals") / "digits.safetensors"
    data.sample("digits", settings=REAL["datasets"]["digits"], downloads=None, output=path)
    return path


@pytest.fixture(scope="module")
def found(digits, tmp_path_factory):
    """The results of all rivals."""
    folder = tmp_path_factory.mktemp("found")
    results = {name: compare(digits, rival=name, output=folder / f"{name}.json") for name in OUTLIERS}
    assert {name: json.loads((folder / f"{name}.json").read_text()) for name in OUTLIERS} == results
    return results


@pytest.mark.parametrize(("rival", "least"), [("nearest-neighbour", 0.98), ("ppca", 0.88), ("sklearn", 0.95)])
def test_digits(digits, found, rival, least):
    result, test = found[f"outliers-{rival}"], read_split(digits, TEST)
    area = result["metrics"]["auc"]["mean"]
    assert area == pytest.approx(roc_auc_score(test.labels >= 5, result["scores"]))
    assert area >= least
    assert result["details"]["outliers"].keys() == set("56789")
    assert result["objects"] == {"train": 675, "of": 675, "test": 450}
    likelihood = result["metrics"]["log_likelihood"]["mean"]
    if rival == "nearest-neighbour":
        assert likelihood is None
    else:
        known = np.array(result["scores"])[test.labels < 5]
        assert likelihood == pytest.approx(-known.mean())


def test_distances_are_those_to_the_nearest_training_object_of_the_known_classes(digits, found):
    train, test = of_classes(read_split(digits, TRAIN), list(range(5))), read_split(digits, TEST)
    expected = torch.cdist(test.inputs.flatten(1).double() / 16, train.inputs.flatten(1).double() / 16).amin(1)
    assert found["outliers-nearest-neighbour"]["scores"] == pytest.approx(expected.tolist(), rel=1e-3)


def test_the_number_of_principal_components_is_chosen_on_training_objects(found):
    result = found["outliers-ppca"]
    judged = result["validation"]
    assert judged[str(result["factors"])] == max(judged.values())
    assert set(judged) == {"1", "2", "5", "10", "20", "50"}  # of 64 dimensions


@pytest.mark.parametrize("rival", OUTLIERS)
def test_labels_of_the_test_split_and_training_objects_of_other_classes_change_no_score(digits, found, tmp_path, rival):
    tensors, metadata = load_tensors(digits)
    test = tensors["split"] == TEST
    tensors["images"][~test & (tensors["labels"] >= 5)] = 7
    tensors["labels"][test] = (tensors["labels"][test] + 5) % 10
    save_tensors(tmp_path / "other.safetensors", tensors, metadata)
    other = compare(tmp_path / "other.safetensors", rival=rival, output=tmp_path / "found.json")
    assert other["scores"] == found[rival]["scores"]
    assert other["metrics"]["auc"]["mean"] < 0.2


def test_clouds_are_found_by_the_vectors_of_their_shapes(tmp_path):
    settings = {"kind": "solids", "train_per_class": 12, "test_per_class": 3, "points": 64}
    data.sample("solids10", settings=settings, downloads=None, output=tmp_path / "solids.safetensors")
    for rival in OUTLIERS:
        result = compare(tmp_path / "solids.safetensors", rival=rival, output=tmp_path / "found.json")
        assert result["metrics"]["auc"]["mean"] > 0.5, rival
        assert result["metrics"]["log_likelihood"]["mean"] is None, "in no unit that others have"


def test_too_few_objects_are_refused(tmp_path):
    settings = {"kind": "solids", "train_per_class": 2, "test_per_class": 1, "points": 64}
    data.sample("solids10", settings=settings, downloads=None, output=tmp_path / "solids.safetensors")
    with pytest.raises(InputError, match="a rival of densities needs 50 training objects, and there are 10"):
        compare(tmp_path / "solids.safetensors", rival="outliers-ppca", output=tmp_path / "found.json")
    assert not (tmp_path / "found.json").exists()


def test_the_table_of_densities(digits, tmp_path):
    shown = config.tables.table_of(REAL, "density-digits")
    assert shown["tasks"] == ["density"]
    files = [tmp_path / file for file in config.tables.files_of(shown)]
    for name in ("outliers-nearest-neighbour", "outliers-sklearn"):
        compare(digits, rival=name, output=tmp_path / f"rivals/digits_{name}.json")
    tabulate(shown, inputs=[file for file in files if file.exists()], output=tmp_path / "table")
    lines = (tmp_path / "table.md").read_text().splitlines()
    heading = "| outliers found, area under the ROC curve | test log-likelihood (nats per object) | parameters"
    assert heading in lines[2]
    nearest, mixture = (line for line in lines if "rivals/" in line and "snakemake" not in line)
    assert nearest.startswith("| distance to the nearest neighbour | 0.9")
    assert mixture.startswith("| scikit-learn's mixture, 25 diagonal | 0.9")
    assert any("`snakemake --cores all results/digits_mfa-25x4.json`" in line for line in lines)


def test_the_tables_have_the_variants_and_rivals_of_both_data_sets():
    rows = config.tables.table_of(REAL, "density-flat")["rows"]
    for dataset in ("mnist", "fashion-mnist"):
        own = {row.get("variant", row.get("rival")) for row in rows if row["dataset"] == dataset}
        assert own == {"mfa-100x10", "mfa-25x10", "mfa-25x4", "gmm-100", "gmm-25", *OUTLIERS}
    for variant in ("mfa-100x10", "mfa-25x10", "mfa-25x4", "gmm-100", "gmm-25"):
        settings = config.resolve(REAL, "mnist", variant)
        assert (settings["task"], settings["fit"], settings["seeds"]) == ("density", None, [0, 1, 2])
        assert settings["training"]["classes"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("values", [np.arange(100.0)[:, None], np.ones((100, 4))])
def test_principal_components_of_one_number_or_of_none_that_varies(values):
    with pytest.raises(InputError, match="outliers-ppca needs training objects of at least two numbers each"):
        principal_components(values)
