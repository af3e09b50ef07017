"""The stage `samples`: bins and neighbours by hand, and the numbers of tiny densities beside those of test objects."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import norm

from gmcn.artifacts import read_metadata, save_tensors
from gmcn.data import sample
from gmcn.errors import InputError
from gmcn.models import Density, build
from gmcn.models.loading import load
from gmcn.results import samples
from gmcn.results.sample_quality import Bins, Reference, bins_of, nearest, to_mean_of_others
from gmcn.results.sample_settings import SampleSettings
from gmcn.results.samples_stage import draw
from gmcn.training import train
from tests.training.conftest import Recorder

GENERATOR = torch.Generator().manual_seed(0)
TRAINING = {"optimizer": "em", "epochs": 3, "validation_fraction": 0, "warmup_epochs": 0, "classes": [0, 1, 2, 3, 4]}


def test_divergence_and_different_bins_are_those_of_scipy():
    own = Bins(torch.tensor([[0.0], [10], [20], [30]]), torch.tensor([400, 300, 200, 100]))
    counts = torch.tensor([40, 5, 50, 0])
    found = own.compare(10 * torch.arange(4.0).repeat_interleave(counts)[:, None])
    p, q, m = np.array([0.4, 0.3, 0.2, 0.1]), counts.numpy() / 95, np.array([440, 305, 250, 100]) / 1095
    assert found["bins"] == pytest.approx(q)
    assert found["js"] == pytest.approx(jensenshannon(p, q) ** 2)
    values = 2 * norm.sf(np.abs(p - q) / np.sqrt(m * (1 - m) * (1 / 1000 + 1 / 95)))
    assert (
        (found["ndb"], found["ndb_three_errors"]) == ((values < 0.05).sum(), (values < 2 * norm.sf(3)).sum()) == (3, 3)
    )
    same = own.compare(10 * torch.arange(4.0).repeat_interleave(own.counts)[:, None])
    assert (same["js"], same["ndb"]) == (0, 0)


def test_bins_are_clusters_of_the_training_objects_the_fullest_first():
    places = torch.tensor([5.0, 0.0, 9.0]).repeat_interleave(torch.tensor([10, 30, 20]))
    found = bins_of(places[:, None] + 0.1 * torch.rand(60, 1, generator=GENERATOR), 3, seed=0)
    assert found.counts.tolist() == [30, 20, 10]
    torch.testing.assert_close(found.centres[:, 0], torch.tensor([0.05, 9.05, 5.05]), atol=0.05, rtol=0)
    assert len(bins_of(torch.rand(34, 2, generator=GENERATOR), 100, seed=0).centres) == 6, "five in each on average"
    with pytest.raises(InputError, match="bins need 10 training objects at least, and there are 9"):
        bins_of(torch.rand(9, 2), 6, seed=0)


def test_neighbours_are_found_in_parts_and_never_themselves():
    values, others = 100 + torch.rand(1100, 6, generator=GENERATOR), 100 + torch.rand(70, 6, generator=GENERATOR)
    expected = torch.cdist(values.double(), others.double()).min(1)
    with mock.patch.object(torch, "addmm", wraps=torch.addmm) as product:
        distances, places = nearest(values, others)
    assert max(len(call.args[1]) for call in product.call_args_list) <= 500
    torch.testing.assert_close(distances.double(), expected.values, atol=1e-4, rtol=0)
    assert (places == expected.indices).float().mean() > 0.99
    own = torch.cdist(values.double(), values.double()).fill_diagonal_(math.inf).min(1)
    torch.testing.assert_close(nearest(values, values, different=True)[0].double(), own.values, atol=1e-4, rtol=0)


def test_what_repeats_few_pictures_shows_also_under_noise():
    # As images do, they lie near a surface of few dimensions: a neighbour is nearer than the middle of a cluster.
    real = (3 * torch.rand(900, 2, generator=GENERATOR) @ torch.randn(2, 50, generator=GENERATOR)).sin()
    reference = Reference(real[:600], 10, seed=0)
    few = real[600:].reshape(4, 75, 50).mean(1).repeat(75, 1)  # like the means of components
    noisy = few + 0.2 * torch.randn(few.shape, generator=GENERATOR)
    new, same, under_noise = (reference.compare(values) for values in (real[600:], few, noisy))
    assert new["repeats"] < 0.4 < 0.9 < under_noise["repeats"]
    assert 0.9 < new["spread"] < 1.1
    assert same["spread"] < 0.01
    assert new["js"] < under_noise["js"] < same["js"]
    assert {found["neighbours"] for found in (new, same, under_noise)} == {300}
    lonely = to_mean_of_others(torch.tensor([[0.0], [1], [2], [100]]), 2, seed=0)
    assert lonely.tolist() == [1.5, 0, 1.5, math.inf]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """Two seeds of a small mixture of scikit-learn's digits, and what is measured of them."""
    folder = tmp_path_factory.mktemp("samples")
    points, runs = folder / "points.safetensors", folder / "runs"
    sample("digits", settings={"kind": "digits", "test_fraction": 0.5}, downloads=None, output=points)
    network = {"kind": "gmm", "components": 12, "covariance": "low-rank", "largest": 16.0}
    settings = {"network": network, "training": TRAINING, "task": "density", "fit": None}
    for seed in (0, 1):
        train(points, settings=settings, seed=seed, output=runs / f"seed{seed}", device="cpu", threads=1)
    models = [runs / f"seed{seed}" / "model.safetensors" for seed in (0, 1)]
    run = Recorder()
    found = samples(
        points, models=models, settings={"count": 1200, "bins": 10}, output=runs / "samples.json", device="cpu", run=run
    )
    return SimpleNamespace(points=points, runs=runs, models=models, found=found, run=run)


def test_samples_are_compared_with_training_objects_of_their_classes(made):
    found = json.loads((made.runs / "samples.json").read_text())
    assert found == made.found
    assert found["objects"] == {"train": 450, "test": 451, "samples": 1200}
    assert found["classes"] == [0, 1, 2, 3, 4]
    assert sum(found["train"]["bins"]) == pytest.approx(1)
    assert set(found["seeds"]) == {"0", "1"}
    for numbers in (*found["seeds"].values(), found["test"], found["missing"]):
        assert 0 <= numbers["js"] <= math.log(2)
        assert sum(numbers["bins"]) == pytest.approx(1)
        assert 0 <= numbers["repeats"] <= 1
    assert found["mean"]["js"] == pytest.approx(sum(seed["js"] for seed in found["seeds"].values()) / 2)
    assert found["missing"]["js"] > 3 * found["test"]["js"], "a lost class shows"
    assert found["missing"]["class"] in "01234"
    assert found["missing"]["ndb"] > found["test"]["ndb"]
    [logged] = [metrics for _, metrics in made.run.metrics if "samples/js" in metrics]
    assert logged["samples/js"] == found["mean"]["js"]
    assert (made.runs / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_settings_give_the_same_numbers(made, tmp_path):
    settings = {"count": 1200, "bins": 10}
    one = samples(
        made.points, models=made.models[:1], settings=settings, output=tmp_path / "samples.json", device="cpu"
    )
    assert one["seeds"]["0"] == made.found["seeds"]["0"]
    assert one["std"]["js"] is None
    settings["seed"] = 1
    other = samples(made.points, models=made.models[:1], settings=settings, output=tmp_path / "x.json", device="cpu")
    assert other["seeds"]["0"]["js"] != one["seeds"]["0"]["js"]


class Told(Density):
    """Draws the same value, and remembers how it was asked."""

    asked: tuple = ()
    value = 0.0

    def __init__(self) -> None:
        super().__init__()

    def sample(self, n, generator, *, components=None, **how):
        self.asked += ((n, how),)
        return torch.full((n, 2), self.value)


def network(model) -> SimpleNamespace:
    return SimpleNamespace(model=model, source={"path": "model.safetensors"})


def test_samples_are_drawn_in_parts_with_the_options_that_are_given():
    told = Told()
    drawn = draw(network(told), SampleSettings(count=2500, top=2, sharpen=0), 4.0)
    assert drawn.shape == (2500, 2)
    assert told.asked == tuple((n, {"top": 2, "sharpen": 0}) for n in (1000, 1000, 500))
    draw(network(told), SampleSettings(count=2), 4.0)
    assert told.asked[-1] == (2, {})


def test_what_has_no_samples_is_one_sentence(made, tmp_path):
    endless = Told()
    endless.value = math.inf
    with pytest.raises(InputError, match=r"samples of model\.safetensors are not finite"):
        draw(network(endless), SampleSettings(count=2), 1.0)
    with pytest.raises(InputError, match=r"model\.safetensors is no density, so it has no samples"):
        draw(network(build({"kind": "mlp"}, 3, shape=[2])), SampleSettings(), 1.0)
    arguments = {"models": made.models, "output": tmp_path / "samples.json", "device": "cpu"}
    with pytest.raises(InputError, match="GMM draws its samples as they are, without divisor"):
        samples(made.points, settings={"divisor": 2.0, "bins": 5}, **arguments)
    with pytest.raises(InputError, match="samples: 'bins' is 1, but must be at least 2"):
        samples(made.points, settings={"bins": 1}, **arguments)
    assert not (tmp_path / "samples.json").exists()


def test_vectors_without_labels_have_no_lost_class(tmp_path):
    values, split = torch.rand(120, 3, generator=GENERATOR), (torch.arange(120) % 3 == 0).long()
    points = tmp_path / "points.safetensors"
    save_tensors(points, {"vectors": values, "split": split}, {"dataset": "toy"})
    settings = {"network": {"kind": "gmm", "components": 2, "largest": 1.0}, "task": "density", "fit": None}
    training = {name: value for name, value in TRAINING.items() if name != "classes"}
    train(points, settings={**settings, "training": training}, seed=0, output=tmp_path / "seed0", device="cpu")
    model = tmp_path / "seed0" / "model.safetensors"
    assert read_metadata(model)["trained"]["quantiles"]
    assert load(model).shape == (3,)
    arguments = {"models": [model], "settings": {"count": 100, "bins": 4}, "device": "cpu"}
    found = samples(points, output=tmp_path / "samples.json", **arguments)
    assert found["missing"] is None
    assert (tmp_path / "samples.png").exists()
