"""The task generation: what is seen and what is judged by, the terms of the loss, the measures of test objects."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gmcn import tasks
from gmcn.artifacts import save_tensors
from gmcn.data.objects import ObjectSet
from gmcn.data.views import Views, parted
from gmcn.errors import InputError
from gmcn.models import PointGMM, build, describe
from gmcn.tasks.generation.measures import _seconds
from gmcn.training.settings import TrainingSettings

SMALL = {"latent": 6, "width": 16, "splits": 1, "encoder": [8, 16]}


def clouds(count: int = 6, points: int = 60) -> torch.Tensor:
    """Boxes of different sizes."""
    generator = torch.Generator().manual_seed(0)
    sizes = 0.2 + torch.rand(count, 1, 3, generator=generator)
    return sizes * (torch.rand(count, points, 3, generator=generator) - 0.5)


def data(**options) -> ObjectSet:
    inputs = clouds(**options)
    names = [f"box{place}" for place in range(len(inputs))]
    return ObjectSet("points", inputs, torch.zeros(len(inputs), dtype=torch.int64), names, {"class_names": ["box"]})


def objective(**settings):
    return tasks.objective(TrainingSettings.read({"views": {"points": 20}, **settings}), "generation")


def network(**options) -> PointGMM:
    return PointGMM(seed=0, **{**SMALL, **options}).eval()


METADATA = {"settings": {"training": {"views": {"points": 20}}}}


def test_the_network_sees_some_points_and_is_judged_by_all():
    own, whole = objective(), clouds()
    prepared = own.prepare(whole, torch.Generator().manual_seed(3))
    assert prepared.shape == (6, 80, 3)
    torch.testing.assert_close(prepared[:, 20:], whole)
    assert all(
        (seen[:, None] == cloud).all(-1).any(-1).all() for seen, cloud in zip(prepared[:, :20], whole, strict=True)
    )
    model = network(likelihood="path-and-leaves", variational=False, flatness=0)
    loss, _ = own.loss(model, prepared, None)
    tree = model(prepared[:, :20])
    expected = tree.hard_path_log_prob(whole).mean((0, 1)).sum() + tree.leaves().log_prob(whole).mean()
    torch.testing.assert_close(loss, -expected)


@pytest.mark.parametrize("likelihood", ["hard-path", "soft-path", "leaves", "path-and-leaves"])
def test_each_likelihood_has_its_terms(likelihood):
    model, whole = network(likelihood=likelihood), clouds()
    tree = model(whole)
    levels = [level.log_prob(whole) for level in tree.levels]
    path = list(tree.hard_path_log_prob(whole).unbind(-1))
    terms = {"hard-path": path, "soft-path": levels, "leaves": levels[1:], "path-and-leaves": [*path, levels[1]]}
    expected = torch.stack(terms[likelihood], -1)
    torch.testing.assert_close(model.log_likelihoods(tree, whole), expected, rtol=1e-4, atol=1e-4)


def test_the_penalty_is_what_codes_and_thickness_cost():
    model, whole = network(kl_weight=2.0, flatness=3.0), clouds()
    torch.manual_seed(5)
    tree, penalty = model.outputs_and_penalty(whole)
    code = model.code(model.encoder(whole))
    means, logs = (head(code) for head in model.heads)
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(means, (logs / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    thickness = torch.linalg.eigvalsh(tree.leaves().covariance.dense())[..., 0].mean()
    torch.testing.assert_close(penalty, 2 * divergence.mean() + 3 * thickness, rtol=1e-4, atol=1e-5)
    torch.manual_seed(5)
    torch.testing.assert_close(model.outputs_and_penalty(whole)[0].leaves().means, tree.leaves().means)
    assert not torch.allclose(model(whole).leaves().means, tree.leaves().means)  # the mean, not a draw


def test_validation_is_the_likelihood_of_the_points_that_are_not_seen():
    model, whole = network(), clouds()
    found = objective().measure(model, whole, None)["loss"]
    seen, others = parted(whole, 20)
    expected = -model(seen).leaves().log_prob(others).mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_order_of_points_in_a_file_does_not_tell_which_are_seen():
    whole = clouds(points=600)
    tall = whole.gather(1, whole[..., 2:].argsort(1).expand_as(whole))  # from the ground up, as a scan may be
    model, given = network(), []
    model.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    metadata = {"settings": {"training": {"views": {"points": 300}}}}
    objective(views={"points": 300}).measure(model, tall, None)
    tasks.measures("generation").answer(model, tall, metadata)
    tasks.measures("generation").measure(model, replace(data(), inputs=tall), metadata=metadata)
    assert len(given) > 3
    for seen in given[:3]:
        assert seen.shape == (6, 300, 3)
        torch.testing.assert_close(seen.mean(1), tall.mean(1), atol=0.05, rtol=0)
    seen, others = parted(tall, 300)
    assert torch.equal(torch.cat([seen, others], 1)[..., 2].sort(1).values, tall[..., 2])


def test_measures_are_those_of_unseen_points():
    model, own = network(), data()
    found = tasks.measures("generation").measure(model, own, metadata=METADATA)
    seen, others = parted(own.inputs, 20)
    tree = model(seen)
    for level, value in zip(tree.levels, found["levels"], strict=True):
        assert value == pytest.approx(level.log_prob(others).mean().item(), abs=1e-4)
    assert found["log_likelihood"] == found["levels"][-1]
    assert found["adapted"] > found["log_likelihood"]  # an untrained network knows nothing
    assert set(found["completions"]) == {"0.3", "0.4", "0.5", "0.6", "0.7", "0.8"}
    assert found["completion"] == found["completions"]["0.5"]["chamfer"] > 0
    assert math.isfinite(found["missing"])
    assert found["bytes"] == {"code": 24, "leaves": 32 * 40}
    assert found["seconds"] > 0
    again = tasks.measures("generation").measure(model, own, metadata=METADATA)
    assert {key: again[key] for key in again if key != "seconds"} == {
        key: found[key] for key in found if key != "seconds"
    }


def test_seconds_end_when_a_gpu_has_computed(monkeypatch):
    launched = []

    def computes(device: str) -> None:
        time.sleep(0.02 * len(launched))
        launched.clear()

    monkeypatch.setattr(torch.cuda, "synchronize", computes)
    points = SimpleNamespace(is_cuda=True, device="cuda:0", split=lambda _: [1, 2, 3])
    assert _seconds(launched.append, points) >= 0.02


def test_answers_and_pictures(tmp_path):
    model, own, measures = network(), data(), tasks.measures("generation")
    found = measures.measure(model, own, metadata=METADATA)
    answers = measures.answer(model, own.inputs, METADATA)
    assert [answer["log_likelihood"] for answer in answers] == pytest.approx(found["log_likelihoods"], abs=1e-4)
    save_tensors(tmp_path / "model.safetensors", model.state_dict(), {"network": describe(model)})
    drawn = measures.pictures([{"model": {"path": str(tmp_path / "model.safetensors")}}], own, tmp_path)
    names = ("reconstructions", "levels", "interpolations", "samples")
    assert {path.name for path in drawn} == {f"{name}.{suffix}" for name in names for suffix in ("png", "html")}
    assert all(path.stat().st_size > 1000 for path in drawn)


def test_the_prior_is_fitted_to_the_codes_and_survives_a_file():
    model, whole = network(prior="mixture", prior_components=2), clouds(count=40)
    model.finish_(whole)
    prior, codes = model.prior_density(), model.encode(whole).detach()
    torch.testing.assert_close(prior.mean, codes.mean(0), rtol=1e-2, atol=1e-3)
    other = build(describe(model))
    other.load_state_dict(model.state_dict())
    draws = [one.eval().sample(3, torch.Generator().manual_seed(1), points=10) for one in (model, other)]
    assert draws[0].shape == (3, 10, 3)
    assert torch.equal(*draws)
    with pytest.raises(
        InputError, match=r"needs 4 training objects, and there are 3; set network\.prior_components lower"
    ):
        network(prior="mixture", prior_components=2).start_(whole[:3], 0)


def test_flattened_points_lie_on_the_leaves_and_steps_are_equal():
    model, whole = network(floor=1e-2), clouds()
    normal = model.prior_density()
    assert normal.sample(500, torch.Generator().manual_seed(0)).std().item() == pytest.approx(1, abs=0.05)
    thick, flat = (
        model.like(whole, torch.Generator().manual_seed(0), points=4000, flatten=flatten) for flatten in (False, True)
    )
    distances = [(model(whole).leaves().log_prob(cloud)).mean().item() for cloud in (thick, flat)]
    assert distances[1] > distances[0]  # nearer to the middle of their leaf
    ends = model.between(whole[:2], 3, torch.Generator().manual_seed(0), points=5)
    assert ends.shape == (3, 5, 3)


@pytest.mark.parametrize(
    ("own", "settings", "sentence"),
    [
        (data(points=20), {}, r"have 20 points, of which the network sees 20 \(training\.views\.points\)"),
        (
            SimpleNamespace(kind="images", labels=None, metadata={}, inputs=None),
            {},
            "takes points, and these are images",
        ),
    ],
)
def test_objects_that_cannot_be_trained_on_are_refused(own, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        objective(**settings).check(own)


def test_views_belong_to_this_task_and_networks_to_it():
    settings = TrainingSettings.read({"views": {"points": 20}})
    assert settings.views == Views(points=20)
    with pytest.raises(InputError, match=r"training\.views are of networks that see clouds"):
        tasks.objective(settings, "density").check(data())
    with pytest.raises(InputError, match="MLP makes no mixtures of clouds"):
        objective().measure(build({"kind": "mlp"}, classes=2, shape=[3]), clouds(), None)
    with pytest.raises(InputError, match="2 dimensions, and its Gaussians lie in 3"):
        PointGMM(dim=2)
