"""The task registration: what is trained, and what is measured."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from gmcn import tasks
from gmcn.artifacts import save_tensors
from gmcn.data.objects import ObjectSet
from gmcn.data.views import Views
from gmcn.errors import InputError
from gmcn.models import build, describe
from gmcn.registration.pairs import SETTINGS
from gmcn.registration.rotations import about_z
from gmcn.tasks.registration import measures_of_poses
from gmcn.tasks.registration.measures_of_poses import interval, measured, numbers, pairs_of, without_training
from gmcn.training.settings import TrainingSettings

from ...registration.shapes import chair

VIEWS = {"points": 40, "coverage": [0.5, 0.8]}
METADATA = {"settings": {"training": {"views": VIEWS}}}


def clouds(count: int = 3) -> torch.Tensor:  # chairs of different heights
    return torch.stack([(chair(seed) * torch.tensor([1, 1, 1 + 0.2 * seed]))[:200] for seed in range(count)]).float()


def data(count: int = 3) -> ObjectSet:
    return ObjectSet("points", clouds(count), torch.zeros(count).long(), list("abcdef")[:count], {"class_names": ["c"]})


def network(**options):
    settings = {"kind": "registration", "latent": 5, "pose": 6, "encoder": [8, 16], "width": 16, "splits": 1}
    return build({**settings, **options}, dim=3, seed=0)


def objective(**settings) -> tasks.Objective:
    return tasks.objective(TrainingSettings.read({"views": VIEWS, **settings}), "registration")


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(measures_of_poses, "DRAWS", 2)
    monkeypatch.setattr(measures_of_poses, "FEWER", 1)


def test_a_turned_part_the_whole_and_the_rotation_are_prepared():
    own, whole = objective(), clouds()
    seen, again, rotations = own._parts(own.prepare(whole, torch.Generator().manual_seed(0)))
    assert (seen.shape, rotations.shape) == ((3, 40, 3), (3, 3, 3))
    assert torch.equal(again, whole)
    angles = torch.atan2(rotations[:, 1, 0], rotations[:, 0, 0])
    torch.testing.assert_close(about_z(angles), rotations)
    # Turned back, every point that is seen is one of the whole.
    assert torch.cdist(seen @ rotations, whole).amin(-1).max() < 1e-3
    assert angles.unique().numel() == 3


def test_the_loss_is_turn_and_place_and_likelihoods():
    own, model, generator = objective(), network().train(), torch.Generator().manual_seed(0)
    prepared = own.prepare(clouds(), generator)
    loss, more = own.loss(model, prepared, None)
    loss.backward()
    assert loss.isfinite()
    assert more["degrees"].shape == (3,)
    plain = network(decoder=False, flatness=0).eval()
    measured = own.measure(plain, clouds(), None)
    seen, _, rotations = own._parts(own._turned(clouds(), torch.Generator().manual_seed(0)))
    poses = plain.poses(seen)
    angles = torch.atan2(rotations[:, 1, 0], rotations[:, 0, 0])
    wanted = 10 * plain.turn_loss(poses, angles) + 50 * poses.translations.abs().mean(-1)
    torch.testing.assert_close(measured["loss"], wanted)
    away = torch.rad2deg(poses.angles - angles)
    torch.testing.assert_close(measured["degrees"], ((away + 180) % 360 - 180).abs(), rtol=0, atol=1e-3)


def test_some_steps_make_it_better():
    own, model, generator = objective(), network(dropout=0).train(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss, _ = own.loss(model, own.prepare(clouds(), generator), None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_measures_of_a_network(few):
    said = []
    measures, model = tasks.measures("registration"), network().eval()
    found = measures.measure(model, data(), progress=said.append, metadata=METADATA)
    assert {metric.name for metric in measures.metrics} | set(measures.details) <= found.keys()
    assert sum(said) == 3
    assert len(found["degrees"]) == 6
    assert found["under_10"] == found["settings"]["up-360"]["under_10"]
    assert found["wholes"] == found["settings"]["up-360-full"]["under_10"]
    assert [setting["pairs"] for setting in found["settings"].values()] == [6, 3, 3, 3, 3]
    assert 0 <= found["under_10"] <= found["any_mode"] <= 1
    again = measures.measure(model, data(), metadata=METADATA)
    assert again["degrees"] == found["degrees"]


def test_the_network_alone_is_right_where_it_knows_the_poses(few):
    """One that reads the answer off the first point, which stands for the object's own axis."""
    pairs = pairs_of(data(), "up-360")
    exact = [(torch.eye(4).double().numpy()[None], None) for _ in pairs.objects]
    for place, (matrix, _) in enumerate(exact):
        matrix[0, :3, :3], matrix[0, :3, 3] = pairs.rotations[place], pairs.translations[place]
    answers = iter(exact)
    found = numbers(pairs, measured(pairs, lambda source, target: next(answers)))
    assert (found["under_10"], found["any_mode"], found["interval"]) == (1, 1, [1, 1])
    assert found["median"] < 1e-4
    assert found["length"] < 1e-6
    assert found["weight"] is None


def test_shares_and_their_interval():
    hits, objects = torch.tensor([1, 1, 0, 0]).numpy(), torch.tensor([0, 0, 1, 1]).numpy()
    assert interval(hits, objects) == (0, 1)
    found = {
        "degrees": torch.tensor([1.0, 7, 20, 100]).numpy(),
        "nearest": torch.tensor([1.0, 7, 3, 100]).numpy(),
        "length": torch.tensor([0.1, 0.2, 0.3, 9]).numpy(),
        "ms": torch.tensor([1.0, 2, 3, 6]).numpy(),
        "weight": torch.tensor([1.0, 0.5, 0.5, 0]).numpy(),
    }
    said = numbers(SimpleNamespace(objects=torch.tensor([0, 0, 1, 1])), found)
    assert (said["under_10"], said["any_mode"], said["under_5"]) == (0.5, 0.75, 0.25)
    assert (said["median"], said["mean"], said["length"]) == (13.5, 32, 0.25)
    assert (said["milliseconds"], said["weight"], said["pairs"]) == (3, 0.5, 4)


def test_a_limit_leaves_pairs_out(few):
    pairs = pairs_of(data(), "up-360")
    assert len(measured(pairs, without_training(SETTINGS["up-360"]), limit=0)["degrees"]) == 1


@pytest.mark.parametrize("options", [{}, {"decoder": False}])
def test_answers_and_pictures(few, tmp_path, options):
    model, own, measures = network(**options).eval(), data(), tasks.measures("registration")
    answers = measures.answer(model, own.inputs, METADATA)
    poses = model.poses(own.inputs)
    assert [answer["turn"] for answer in answers] == pytest.approx(
        [math.degrees(angle) % 360 for angle in poses.angles.tolist()]
    )
    assert all(0 < answer["chance"] <= 1 for answer in answers)
    path = tmp_path / "model.safetensors"
    save_tensors(path, model.state_dict(), {"network": describe(model), **METADATA})
    seed = {"model": {"path": str(path)}, "degrees": [3.0, 90, 1, 2, 5, 7]}
    drawn = measures.pictures([seed], own, tmp_path)
    assert {each.name for each in drawn} == {
        f"{name}.{end}" for name in ("pairs", "failures") for end in ("png", "html")
    }
    assert all(each.stat().st_size > 1000 for each in drawn)


def test_networks_and_objects_of_other_tasks_are_refused(tmp_path):
    with pytest.raises(InputError, match="takes points, and these are images"):
        objective().check(SimpleNamespace(kind="images", labels=None, metadata={}, inputs=None))
    with pytest.raises(InputError, match="MLP gives no poses; take the network `kind: registration`"):
        objective().measure(build({"kind": "mlp"}, classes=2, shape=[3]), clouds(), None)
    with pytest.raises(InputError, match=r"views are for the tasks generation and registration"):
        tasks.objective(TrainingSettings.read({"views": VIEWS}), "classification").check(data())
    assert objective(views=None).views == Views()
    with pytest.raises(InputError, match="gives no poses; train it again"):
        tasks.measures("registration").check(build({"kind": "mlp"}, classes=2, shape=[3]), {}, tmp_path)


def test_units_are_kept_with_the_network():
    reach = objective().facts(network(), clouds(), None)["reach"]
    lengths = clouds().norm(dim=-1).amax(1)
    assert reach == pytest.approx([lengths.min().item(), lengths.median().item(), lengths.max().item()])
