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
from gmcn.models.registration import Poses, bell
from gmcn.registration.pairs import SETTINGS
from gmcn.registration.rotations import turns
from gmcn.tasks.registration import measures_of_poses
from gmcn.tasks.registration.measures_of_poses import interval, measured, numbers, pairs_of, without_training
from gmcn.training.settings import TrainingSettings
from gmcn.training.step import TrainingStep

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
    torch.testing.assert_close(turns(torch.tensor([0, 0, 1.0]), angles).float(), rotations)
    # Turned back, every point that is seen is one of the whole.
    assert torch.cdist(seen @ rotations, whole).amin(-1).max() < 1e-3
    assert angles.unique().numel() == 3


@pytest.mark.parametrize("options", [{}, {"angles": 0}, {"decoder": False}])
def test_the_loss_is_turn_and_place_and_the_likelihoods_of_both_wholes(options):
    own, model = objective(), network(**options).eval()
    found = own.measure(model, own.fixed(clouds()), None)
    seen, whole, rotations = own._parts(own._turned(clouds(), torch.Generator().manual_seed(0)))
    answer = model(seen)
    angles = torch.atan2(rotations[:, 1, 0], rotations[:, 0, 0])
    wanted = 10 * model.turn_loss(answer.poses, angles) + 50 * answer.poses.translations.abs().mean(-1)
    if model.decoder is not None:
        moved = torch.stack(
            [rotation @ point for rotation, cloud in zip(rotations, whole, strict=True) for point in cloud]
        )
        for tree, points in ((answer.standing, whole), (answer.moved, moved.view_as(whole))):
            wanted = wanted - tree.hard_path_log_prob(points).mean(1).sum(-1) - tree.log_prob(points).mean(1)
    torch.testing.assert_close(found["loss"], wanted, rtol=1e-4, atol=1e-3)
    away = torch.rad2deg(answer.poses.angles - angles)
    torch.testing.assert_close(found["degrees"], ((away + 180) % 360 - 180).abs(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("parts", [2, 3])
def test_validation_does_not_depend_on_the_parts_of_a_batch(parts):
    found = []
    for count in (1, parts):
        settings = TrainingSettings.read({"views": VIEWS, "batch_size": 6, "micro_batches": count})
        step = TrainingStep(network().eval(), settings, 1, tasks.objective(settings, "registration"))
        step.on_validation_epoch_start()
        step.validation_step((clouds().repeat(2, 1, 1), None), 0)
        step.on_validation_epoch_end()
        found.append(step.validation)
    assert len(found[0]["degrees"].unique()) > 2
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-4)


def test_training_adds_what_thick_leaves_cost():
    own, model = objective(), network(dropout=0, flatness=7).train()
    prepared = own.prepare(clouds(), torch.Generator().manual_seed(0))
    loss, more = own.loss(model, prepared, None)
    loss.backward()
    assert more["degrees"].shape == (3,)
    answer, penalty = model.outputs_and_penalty(own._parts(prepared)[0])
    thin = [tree.leaves().covariance.variances.amin(-1).mean() for tree in (answer.standing, answer.moved)]
    torch.testing.assert_close(penalty, 7 * sum(thin) / 2)
    plain, _ = objective().loss(network(dropout=0, flatness=0).train(), prepared, None)
    torch.testing.assert_close(loss - penalty, plain)


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


def test_true_poses_have_no_error(few):
    pairs = pairs_of(data(), "up-360")
    exact = []
    for place in range(len(pairs.objects)):
        matrix = torch.eye(4).double()
        matrix[:3, :3], matrix[:3, 3] = pairs.rotations[place], pairs.translations[place]
        exact.append((matrix.numpy()[None], None))
    answers = iter(exact)
    found = numbers(pairs, measured(pairs, lambda source, target: next(answers)))
    assert (found["under_10"], found["any_mode"], found["interval"]) == (1, 1, [1, 1])
    assert found["median"] < 1e-4
    assert found["length"] < 1e-6
    assert found["weight"] is None


def test_a_network_that_knows_the_poses_is_right_alone_and_joined(few):
    """It is told of each part how the object was turned, and where that stood."""
    model, own = network(decoder=False), data()
    known = {}
    for setting in ("up-360", *measures_of_poses.OTHERS.values()):
        pairs = pairs_of(own, setting)
        for place in range(len(pairs.objects)):
            turn = torch.atan2(pairs.rotations[place, 1, 0], pairs.rotations[place, 0, 0])
            ends = (
                (pairs.sources, torch.zeros(()).double(), torch.zeros(3)),
                (pairs.targets, turn, pairs.translations[place]),
            )
            for clouds_, angle, moved in ends:
                cloud = clouds_[place].double()
                known[tuple((cloud - cloud.mean(0))[0].float().tolist())] = angle, moved - cloud.mean(0)

    def poses(points):
        angle, moved = known[tuple(points[0, 0].tolist())]
        return Poses(bell(angle[None], 72, 0.1).log(), angle[None], moved[None])

    model.poses = poses
    found = tasks.measures("registration").measure(model, own, metadata=METADATA)
    assert found["alone"] == 1
    assert found["alone_median"] < 0.01
    assert found["under_10"] == 1


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
    for answer, chances in zip(answers, poses.chances.exp(), strict=True):
        # Of the angles within 10 degrees, of which there are four or five.
        best = round(answer["turn"] / 5)
        around = sum(chances[(best + step) % 72].item() for step in (-2, -1, 0, 1, 2))
        assert around - chances.max() < answer["chance"] <= around + 1e-6
    assert "chance" not in measures.answer(network(angles=0, **options).eval(), own.inputs, METADATA)[0]
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
    with pytest.raises(InputError, match="views are of networks that see clouds"):
        tasks.objective(TrainingSettings.read({"views": VIEWS}), "density").check(data())
    assert objective(views=None).views == Views()
    with pytest.raises(InputError, match="gives no poses; train it again"):
        tasks.measures("registration").check(build({"kind": "mlp"}, classes=2, shape=[3]), {}, tmp_path)


def test_units_are_kept_with_the_network():
    reach = objective().facts(network(), clouds(), None)["reach"]
    lengths = clouds().norm(dim=-1).amax(1)
    assert reach == pytest.approx([lengths.min().item(), lengths.median().item(), lengths.max().item()])
