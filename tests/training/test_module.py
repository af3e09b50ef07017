"""One training step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gmcn import tasks
from gmcn.data.objects import TRAIN, ObjectSet, read_split, select
from gmcn.models import build
from gmcn.tasks.metric import Metric
from gmcn.training import TrainingSettings, train
from gmcn.training.errors import first_non_finite_layer
from gmcn.training.stage import build_network
from gmcn.training.step import TrainingStep, _Plateau
from tests.training.conftest import NETWORK, Recorder


def test_kernel_decay_follows_the_current_learning_rate(mixtures, settings, tmp_path, monkeypatch):
    from gmcn.models import GMCN

    steps = []
    monkeypatch.setattr(GMCN, "decay_kernels_", lambda self, step: steps.append(step))
    settings["training"] |= {"kernel_decay": 0.25}
    run = Recorder()
    train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1, run=run)
    rates = [metrics["train/learning_rate"] for _, metrics in run.metrics if "train/loss" in metrics]
    assert len(rates) == 16
    assert len(set(rates)) > 10
    assert steps == pytest.approx([0.25 * rate for rate in rates])


def test_the_learning_rate_that_is_logged_is_the_schedules_also_where_parameters_rest(
    mixtures, settings, tmp_path, monkeypatch
):
    """As those of a deep mixture do whose turn it is not."""
    from gmcn.models import GMCN

    monkeypatch.setattr(GMCN, "relative_rate", lambda self, group: 0.0)
    settings["training"] |= {"epochs": 2, "schedule": "constant", "warmup_epochs": 0}
    run = Recorder()
    result = train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1, run=run)
    rates = [metrics["train/learning_rate"] for _, metrics in run.metrics if "train/loss" in metrics]
    assert rates == [0.02] * 8
    assert result["metrics"]["learning_rate"] == 0.02


def test_decay_shrinks_the_kernels(mixtures, settings, tmp_path):
    losses = []
    for index, decay in enumerate((0.0, 100.0)):
        settings["training"] |= {"kernel_decay": decay}
        train(mixtures, settings=settings, seed=0, output=tmp_path / str(index), device="cpu", threads=1)
        losses.append(_kernel_loss(tmp_path / str(index)))
    assert losses[1] < 0.9 * losses[0]


def _kernel_loss(folder) -> float:
    import gmcn

    return gmcn.load(folder).kernel_decay_loss().item()


def test_gradient_clipping(mixtures):
    data = read_split(mixtures, TRAIN)
    model = build_network(NETWORK, data, seed=0)
    module = TrainingStep(model, TrainingSettings(gradient_clip=1e-3), 4)
    loss, _ = module.loss_of(data.inputs, data.labels)
    loss.backward()
    before = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    module._check_and_clip(torch.stack([loss.detach(), torch.tensor(0.0)]), len(data))
    after = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert before > 1e-2
    assert after.item() == pytest.approx(1e-3, rel=1e-3)


def test_label_smoothing_changes_the_loss(mixtures):
    data = read_split(mixtures, TRAIN)
    losses = [
        TrainingStep(build_network(NETWORK, data, seed=0), TrainingSettings(label_smoothing=amount), 4)
        .loss_of(data.inputs, data.labels)[0]
        .item()
        for amount in (0.0, 0.2)
    ]
    logits = build_network(NETWORK, data, seed=0)(data.inputs)
    expected = torch.nn.functional.cross_entropy(logits, data.labels, label_smoothing=0.2).item()
    assert losses[1] == pytest.approx(expected)
    assert losses[0] != losses[1]


def test_logit_adjustment_is_of_the_loss_alone(mixtures):
    """Equation 10 of Menon et al.; the answers that are measured have none of it."""
    whole = read_split(mixtures, TRAIN)
    kept = torch.cat([(whole.labels == 0).nonzero()[:, 0], (whole.labels == 1).nonzero()[:3, 0]])
    names = [whole.names[index] for index in kept.tolist()]
    data = ObjectSet(whole.kind, select(whole.inputs, kept), whole.labels[kept], names, whole.metadata)
    losses, answers = [], []
    for amount in (0.0, 2.0):
        settings = TrainingSettings(logit_adjustment=amount)
        objective = tasks.objective(settings)
        if amount:
            with pytest.raises(RuntimeError, match="call learn"):
                objective.loss(build_network(NETWORK, data, seed=0), data.inputs, data.labels)
        objective.learn(data.labels, len(data.class_names))
        step = TrainingStep(build_network(NETWORK, data, seed=0), settings, 4, objective)
        losses.append(step.loss_of(data.inputs, data.labels)[0].item())
        answers.append(objective.measure(step.model.eval(), data.inputs, data.labels))
    logits = build_network(NETWORK, data, seed=0)(data.inputs)
    shares = torch.bincount(data.labels) / len(data)
    expected = torch.nn.functional.cross_entropy(logits + 2 * shares.log(), data.labels).item()
    assert losses[1] == pytest.approx(expected)
    assert losses[0] == pytest.approx(torch.nn.functional.cross_entropy(logits, data.labels).item())
    assert len(shares.unique()) > 1
    for name, values in answers[0].items():
        assert torch.equal(values, answers[1][name])


def test_plateau_lowers_the_rate_when_validation_stops_improving():
    settings = TrainingSettings(schedule="plateau", plateau_patience=1, step_factor=0.5)
    plateau = _Plateau(settings, tasks.objective(settings))
    scales = []
    for loss in (3.0, 2.0, 2.5, 2.5, 1.0):
        plateau.step(loss)
        scales.append(plateau.scale)
    assert scales == [1, 1, 1, 0.5, 0.5]
    restored = _Plateau(settings, tasks.objective(settings))
    restored.load_state_dict(plateau.state_dict())
    assert restored.scale == 0.5


@pytest.mark.parametrize(
    ("larger_is_better", "values"),
    [(False, (-700, -701, -700.99, -700.98, -702)), (True, (-701, -700, -700.01, -700.02, -699))],
)
def test_a_plateau_of_negative_values_is_one_also_where_they_drift(larger_is_better, values):
    settings = TrainingSettings(schedule="plateau", plateau_patience=1, step_factor=0.5)
    plateau = _Plateau(settings, SimpleNamespace(watched=Metric("", "", larger_is_better=larger_is_better)))
    scales = []
    for value in values:
        plateau.step(value)
        scales.append(plateau.scale)
    assert scales == [1, 1, 1, 0.5, 0.5]


def test_first_non_finite_layer_is_the_innermost_and_earliest():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2)))
    assert first_non_finite_layer(model, torch.ones(1, 2)) is None
    model[1][1].weight.data[0] = float("inf")
    assert first_non_finite_layer(model, torch.ones(1, 2)) == "1.1"


@pytest.mark.parametrize(("kind", "task"), [("pointgmm", "generation"), ("registration", "registration")])
def test_a_value_that_is_not_finite_is_searched_for_in_what_the_network_sees(kind, task):
    """A part of what is prepared for it."""
    network = {"kind": kind, "latent": 5, "encoder": [8, 16], "width": 16, "splits": 1}
    settings = TrainingSettings.read({"views": {"points": 20}})
    module = TrainingStep(build(network, dim=3, seed=0), settings, 4, tasks.objective(settings, task))
    prepared = module.objective.prepare(torch.rand(3, 60, 3), torch.Generator().manual_seed(0))
    module.batch, given = (prepared, None), []
    module.model.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    module._explain()
    assert torch.equal(given[0], prepared[:, :20])
