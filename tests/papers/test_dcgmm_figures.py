"""The figures of deep convolutional mixtures, of tiny ones trained on scikit-learn's digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from gmcn.artifacts import read_json, write_json
from gmcn.config import COMPARED
from gmcn.data import sample
from gmcn.errors import InputError
from gmcn.models.dcgmm import DCGMM
from gmcn.models.loading import load
from gmcn.papers.comparisons import draw
from gmcn.papers.dcgmm.samples import _with_repeats
from gmcn.results import evaluate
from gmcn.results.rivals import compare
from gmcn.training import train
from tests.models.test_dcgmm import TRAINING as PLAIN

SMALL = {"datasets": ["digits"], "samples": 9, "steps": 20}
LAYERS = {"2la": ["F6,2", "G9", "F2", "G4"], "2lc": ["F4,2", "G9", "F3", "G4"], "1l": ["F8", "G4"]}
TRAINING = PLAIN | {"classes": [0, 1, 2, 3, 4], "epochs": 10, "batch_size": 20}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """By name what every figure shows; variants that are not among :data:`LAYERS` have 2L-c's files."""
    folder = tmp_path_factory.mktemp("results")
    points = folder / "digits.safetensors"
    sample("digits", settings={"kind": "digits", "test_fraction": 0.5}, downloads=None, output=points)
    found = {}
    for name, layers in LAYERS.items():
        network = {"kind": "dcgmm", "layers": layers, "largest": 16, "annealing": {"window": 5}}
        settings = {"task": "density", "network": network, "training": TRAINING}
        train(points, settings=settings, seed=0, output=folder / name, device="cpu", threads=1)
        found["model", name] = folder / name / "model.safetensors"
        found["evaluation", name] = folder / name / "evaluation.json"
        evaluate(points, models=[found["model", name]], output=found["evaluation", name], settings={"task": "density"})
        area = read_json(found["evaluation", name])["mean"]["auc"]
        metrics = {"auc": {"mean": area, "std": None}}
        found["result", name] = folder / f"{name}.json"
        result = {"format": 2, "metrics": metrics, "parameters": 100, "seconds": {"training": {"mean": 60.0}}}
        write_json(found["result", name], result)
    rival = folder / "rival.json"
    compare(points, rival="outliers-nearest-neighbour", output=rival)

    def of(figure):
        shown = COMPARED[figure]
        names = {f"digits_{variant}": variant.removeprefix("dcgmm-") for variant in shown.variants}
        own = {name: found[shown.needs, one if one in LAYERS else "2lc"] for name, one in names.items()}
        return own | {f"digits_{name}": rival for name in shown.rivals}

    return of


@pytest.mark.parametrize("name", [name for name in COMPARED if name.startswith("dcgmm-")])
def test_figures_are_written_with_their_numbers_and_twice_the_same(results, tmp_path, name):
    arguments = {"inputs": results(name), "settings": SMALL, "output": tmp_path / name}
    written = draw(name, **arguments)
    assert [path.name for path in written] == [f"{name}.png", f"{name}.svg", f"{name}.json"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    before, numbers = [path.read_bytes() for path in written[:2]], read_json(written[2])
    draw(name, **arguments)
    assert [path.read_bytes() for path in written[:2]] == before
    assert {**read_json(written[2]), "provenance": 0} == {**numbers, "provenance": 0}
    assert numbers["settings"]["samples"] == 9
    assert set(numbers["inputs"]) == set(results(name))


def drawn(name, results, tmp_path, **settings):
    return read_json(draw(name, inputs=results(name), settings=SMALL | settings, output=tmp_path / "x")[2])


def test_samples_of_one_component_are_repeated_whatever_their_noise():
    network = DCGMM([8, 8], layers=["F8", "G4"], seed=0)
    with torch.no_grad():
        network.stack.mixtures[0].means.copy_(torch.eye(4, 64))
    for divisor in (1.0, 10.0):
        images, again = _with_repeats(network, divisor, 9, 1)
        shown = torch.from_numpy(_with_repeats(network, 1000.0, 9, 1)[0]).flatten(1)
        component = shown[:, :4].argmax(1)
        counts = component.bincount(minlength=4)
        assert again.tolist() == (counts[component] > 1).tolist()
        assert len(np.unique(images, axis=0)) == 9


def test_samples_that_are_all_one_are_all_repeated():
    network = DCGMM([8, 8], layers=["F8", "G1"], seed=0)
    assert _with_repeats(network, 1.0, 5, 1)[1].all()


def test_a_curve_has_the_area_of_the_evaluation_and_keeps_more_the_larger_c(results, tmp_path):
    shown = drawn("dcgmm-figure3", results, tmp_path)["curves"]["digits"]
    evaluation = read_json(results("dcgmm-figure3")["digits_dcgmm-2lc"])
    scores, labels = -np.array(evaluation["seeds"]["0"]["log_likelihoods"]), np.array(evaluation["labels"])
    own = shown["dcgmm-2lc"]
    assert own["auc"] == pytest.approx(roc_auc_score(labels > 4, scores))
    inliers, outliers = scores[labels < 5], scores[labels > 4]
    for point in own["points"]:
        limit = inliers.mean() + point["c"] * inliers.std()
        assert point["kept"] == pytest.approx(100 * (inliers <= limit).mean())
        assert point["rejected"] == pytest.approx(100 * (outliers > limit).mean())
    assert own["points"][0]["kept"] < own["points"][-1]["kept"]
    assert "points" not in shown["outliers-nearest-neighbour"]


def test_sharpening_raises_the_likelihood_of_what_the_first_mixture_sees(results, tmp_path):
    found = drawn("dcgmm-figure5", results, tmp_path)["samples"]
    assert [one["divisor"] for one in found] == [1, 10]
    for one in found:
        before, after = (one["log_likelihoods"][when]["mixture 1"] for when in ("before", "after"))
        assert after > before
        assert one["change"] > 0


def test_the_component_of_figure_2_leads_to_the_image(results, tmp_path):
    found = drawn("dcgmm-figure2", results, tmp_path)
    network = load(results("dcgmm-figure2")["digits_dcgmm-2la"])
    means = network.stack.mixtures[1].means[found["component"]].view(9, 4)
    assert [one["component"] for one in found["likely"]] == means.argmax(0).tolist()
    assert len(found["layers"]) == 2


def test_sizes_are_those_of_the_results(results, tmp_path):
    found = drawn("dcgmm-flat", results, tmp_path)["results"]["digits"]
    assert found["gmm-400"]["parameters"] == 100
    assert found["gmm-400"]["minutes"] == 1
    assert found["outliers-nearest-neighbour"]["parameters"] is None


def test_other_inputs_and_names_are_one_sentence(results, tmp_path):
    output = tmp_path / "x"
    with pytest.raises(InputError, match="unknown figure 'dcgmm-figure1'; did you mean 'dcgmm-figure"):
        draw("dcgmm-figure1", inputs={}, output=output)
    with pytest.raises(InputError, match="dcgmm: unknown key 'step'; did you mean 'steps'"):
        draw("dcgmm-figure2", inputs={}, settings={"step": 1}, output=output)
    with pytest.raises(InputError, match="shows mnist_dcgmm-2la too; name its file in --inputs mnist_dcgmm-2la=FILE"):
        draw("dcgmm-figure2", inputs=results("dcgmm-figure2"), output=output)
    other = {"digits_dcgmm-2la": results("dcgmm-figure4")["digits_dcgmm-1l"]}
    with pytest.raises(InputError, match="dcgmm-figure2 shows two mixtures, each the same at all positions"):
        draw("dcgmm-figure2", inputs=other, settings=SMALL, output=output)
    empty = tmp_path / "empty.json"
    write_json(empty, {"format": 2, "metrics": {}})
    for figure in ("dcgmm-figure3", "dcgmm-flat"):
        with pytest.raises(InputError, match=r"empty.json has (found )?no outliers"):
            draw(figure, inputs=dict.fromkeys(results(figure), empty), settings=SMALL, output=output)
