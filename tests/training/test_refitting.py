"""Classifiers that are trained on parts of clouds, and on mixtures that are fitted to these anew in every epoch."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from gmcn import tasks
from gmcn.artifacts import save_tensors
from gmcn.data.objects import TRAIN, ObjectSet, read_split
from gmcn.data.views import Views, view
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.training import TrainingSettings, train
from gmcn.training.checkpoints import training_key
from gmcn.training.datamodule import TrainingData, generator_of
from gmcn.training.refitting import FreshFits, Refit, votes_of
from tests.training.conftest import CLOUDS_FIT, fit_clouds

VIEWS = Views(points=30)


@pytest.fixture
def points(clouds):
    return clouds[0]


@pytest.fixture
def mixtures(clouds):
    return clouds[1]


def settings(**more) -> TrainingSettings:
    return TrainingSettings.read({"views": {"points": 30}, "batch_size": 4, **more})


def test_a_batch_has_fits_of_other_points_of_its_own_clouds(mixtures, points):
    data = read_split(mixtures, TRAIN)
    fresh = FreshFits(data, points, VIEWS)
    batches = TrainingData(
        data,
        batch_size=4,
        seed=3,
        validation_fraction=0.25,
        prepare=fresh.then(lambda one, _: one),
        sources=fresh.clouds,
    )
    loader = batches.train_dataloader()
    first, labels = next(iter(loader))
    order = torch.randperm(loader.count, generator=torch.Generator().manual_seed(3_000_000))[: len(labels)]
    chosen = batches.train_indices[order]
    assert torch.equal(labels, data.labels[chosen])
    generator = generator_of(3, 0, 0)
    seen = view(read_split(points, TRAIN).inputs[chosen], VIEWS, generator)
    start = int(torch.randint(1 << 31, (), generator=generator))
    for found, wanted in zip(first, fit_points(seen, 6, covariance_floor=1e-3, seed=start), strict=True):
        assert torch.equal(found, wanted)
    loader.set_epoch(1)
    second, _ = next(iter(loader))
    assert not torch.equal(first.positions, second.positions)
    # What is validated on stays as it is.
    inputs, _ = batches.val_dataloader()[0]
    assert torch.equal(inputs.positions, data.inputs.positions[batches.validation_indices])


def test_it_is_trained_on_them_by_the_seed_alone(mixtures, points, tmp_path):
    said = {
        "network": {"layers": [[2, 4]], "kernel_components": 3},
        "training": {"views": {"points": 30}, "epochs": 2, "batch_size": 4, "learning_rate": 0.02},
    }
    how = {"seed": 0, "device": "cpu", "threads": 1}
    fresh = train(mixtures, settings=said, points=points, output=tmp_path / "fresh", **how)
    again = train(mixtures, settings=said, points=points, output=tmp_path / "again", **how)
    assert fresh["metrics"] == again["metrics"]
    assert fresh["settings"]["training"]["views"] == {"points": 30, "coverage": (1.0, 1.0), "noise": 0.0}
    same = {**said, "training": {**said["training"], "views": None}}
    plain = train(mixtures, settings=same, points=points, output=tmp_path / "plain", **how)
    assert plain["metrics"]["train_loss"] != fresh["metrics"]["train_loss"]


def test_other_points_are_another_training(mixtures, points, tmp_path):
    said = {"training": {"views": {"points": 30}}}
    moved = load_file(points)
    moved["points"] += 1
    save_tensors(tmp_path / "moved.safetensors", moved, read_split(points, TRAIN).metadata)
    keys = {training_key(mixtures, said, 0, each) for each in (points, tmp_path / "moved.safetensors")}
    assert len(keys) == 2
    # Where nothing is fitted, they are no part of it.
    assert training_key(points, said, 0, points) == training_key(points, said, 0)
    assert training_key(mixtures, {}, 0, points) == training_key(mixtures, {}, 0)


def test_networks_of_points_see_parts_too(points):
    data, own = read_split(points, TRAIN), tasks.objective(settings())
    own.check(data)
    prepared = own.prepare(data.inputs, torch.Generator().manual_seed(0))
    assert torch.equal(prepared, view(data.inputs, VIEWS, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(("fit", "same"), [({"method": "fps"}, True), ({"method": "eckart"}, True), ({}, False)])
def test_votes_on_fits_that_draw_nothing_are_refused(fit, same):
    clouds, training = torch.rand(2, 40, 3), TrainingSettings.read({})
    votes = votes_of(lambda one, _: one, clouds, training, 2, Refit(fit, 5, None))
    if same:
        with pytest.raises(InputError, match="nothing in the training of this network varies an object"):
            next(votes)
        assert len(list(votes_of(lambda one, _: one, clouds, training, 2, Refit(fit, 5, VIEWS)))) == 2
    else:
        first, second = votes
        assert not torch.equal(first.positions, second.positions)


def test_what_has_no_views_is_refused(mixtures, points, tmp_path):
    data = read_split(mixtures, TRAIN)
    with pytest.raises(InputError, match="name the points of these with --points"):
        FreshFits(data, None, VIEWS)
    by_network = fit_clouds(tmp_path / "hgmm.safetensors", points, {**CLOUDS_FIT, "method": "pointgmm"})
    with pytest.raises(
        InputError, match=r"the method pointgmm does not fit mixtures anew, as .* do; leave them out, or set a fit"
    ):
        FreshFits(read_split(by_network, TRAIN), points, VIEWS)
    others = fit_clouds(tmp_path / "others.safetensors", points, CLOUDS_FIT, names=[f"other{i}" for i in range(16)])
    with pytest.raises(InputError, match=r"not those of .*toy\.safetensors: their objects differ; fit them again"):
        FreshFits(read_split(others, TRAIN), points, VIEWS)
    with pytest.raises(InputError, match=r"only mixtures of points are fitted anew, and .* holds mixtures"):
        FreshFits(data, mixtures, VIEWS)
    one_place = load_file(points)
    one_place["points"][3] = 1
    save_tensors(tmp_path / "one.safetensors", one_place, data.metadata)
    with pytest.raises(InputError, match=r"one\.safetensors: all points of 'shape3' are in one place"):
        FreshFits(data, tmp_path / "one.safetensors", VIEWS)
    images = ObjectSet("images", torch.rand(4, 8, 8), data.labels[:4], data.names[:4], data.metadata)
    with pytest.raises(InputError, match=r"training\.views are parts of clouds, and these are images"):
        tasks.objective(settings()).check(images)
    with pytest.raises(InputError, match=r"training\.views are of networks that see clouds"):
        tasks.objective(settings(), "density").check(read_split(points, TRAIN))
