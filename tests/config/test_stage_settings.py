"""Each stage is given what it reads, and no more."""

from __future__ import annotations

import copy
import json

import pytest

from gmcn import config
from gmcn.errors import InputError
from gmcn.stages import STAGES
from gmcn.stages.options import DATASET
from tests.config.examples import REAL, SMALL, changed, sentence


def test_stages_are_given_only_what_they_read():
    train = config.stage_settings(SMALL, "train", "digits", "child")
    assert set(train) == {"network", "training"}
    assert config.stage_settings(SMALL, "probe", "digits", "child") == {"shapes": 2}
    assert config.stage_settings(SMALL, "fit", "digits", "kmeans4")["components"] == 4
    one = config.stage_settings(REAL, "download", "mnist", "t10k-labels-idx1-ubyte.gz")
    assert [file["name"] for file in one["files"]] == ["t10k-labels-idx1-ubyte.gz"]
    assert len(config.stage_settings(REAL, "download", "mnist", None)["files"]) == 4


def test_without_a_fit_networks_are_trained_on_the_objects_themselves():
    raw = copy.deepcopy(SMALL)
    raw["variants"]["raw"] = {"base": "child", "fit": None, "network": {"kind": "pointnet"}}
    del raw["variants"]["base"]["probe"]  # which a network without mixtures inside does not need
    assert config.check(raw)["variants"]["raw"]["fit"] is None
    resolved = config.resolve(raw, "digits", "raw")
    assert (resolved["fit"], config.measured(resolved)) == (None, ["footprint"])
    assert config.measured(config.resolve(SMALL, "digits", "child")) == ["rmse", "footprint"]
    assert config.stage_settings(raw, "probe", "digits", "raw") == {}
    with pytest.raises(InputError, match="variant 'base' has no probe"):
        config.resolve(raw, "digits", "base")
    raw["tables"] = {
        "one": {"title": "One", "dataset": "digits", "columns": ["accuracy"], "rows": [{"variant": "raw"}]}
    }
    assert config.tables.table_of(raw, "one")["rows"][0]["label"] == "raw"


def test_only_another_task_than_the_default_is_a_setting_of_stages():
    said = copy.deepcopy(SMALL)
    said["variants"]["child"]["task"] = "classification"
    assert config.check(said)
    stages = ("train", "evaluate", "probe", "footprint", "summarise")
    for stage in stages:
        assert config.stage_settings(said, stage, "digits", "child") == config.stage_settings(
            SMALL, stage, "digits", "child"
        )
    said["variants"]["child"]["task"] = "density"
    given = {stage: config.stage_settings(said, stage, "digits", "child").get("task") for stage in stages}
    assert given == {**dict.fromkeys(stages, "density"), "probe": None}


def test_how_a_training_runs_makes_nothing_run_again():
    more = copy.deepcopy(SMALL)
    more["every_variant"] = {"training": {"devices": 2, "nodes": 3, "checkpoint_minutes": 1}}
    assert config.check(more)
    assert config.processes_of(SMALL, "digits", "child") == {"devices": 1, "nodes": 1}
    assert config.processes_of(more, "digits", "child") == {"devices": 2, "nodes": 3}
    assert config.how_of(more, "digits", "child") == {"devices": 2, "nodes": 3, "checkpoint_minutes": 1}
    for stage in ("train", "footprint"):
        before, after = (config.stage_settings(some, stage, "digits", "child") for some in (SMALL, more))
        assert before == after


@pytest.mark.parametrize("stage", [name for name, stage in STAGES.items() if DATASET in stage.options])
def test_a_description_makes_nothing_run_again(stage):
    before, after = REAL, copy.deepcopy(REAL)
    for section in ("datasets", "fits", "variants"):
        for name in after[section]:
            after[section][name]["description"] = f"another word on {name}"
    config.check(after)
    for dataset in REAL["datasets"]:
        names = {"download": [None], "sample": [None], "fit": REAL["fits"], "draw-fits": [None]}
        for name in names.get(stage, REAL["variants"]):
            given = [config.stage_settings(some, stage, dataset, name) for some in (before, after)]
            assert given[0] == given[1]
            assert "description" not in json.dumps(given)


def test_a_description_is_of_one_variant_and_not_of_its_heirs():
    raw = changed("variants.base.description", "eight Gaussians")
    config.check(raw)
    assert config.resolve(raw, "digits", "child") == config.resolve(SMALL, "digits", "child")
    assert "'variants.base.description' is 7, but must be text" in sentence(changed("variants.base.description", 7))


def test_addresses_with_passwords_are_known_by_data_set_and_file():
    raw = copy.deepcopy(SMALL)
    urls = {"a": "https://anna:s3cret@host/a", "b": "https://host/b", "c": "https://host/c?token=1", "d": None}
    raw["datasets"]["mine"] = {"kind": "clouds", "files": [{"name": key, "url": url} for key, url in urls.items()]}
    assert config.secret_addresses(raw) == {"mine/a": urls["a"], "mine/c": urls["c"]}
