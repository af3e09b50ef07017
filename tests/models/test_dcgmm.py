"""Deep convolutional Gaussian mixtures: density, training, resuming, sampling, and what cannot be."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from gmcn.artifacts import read_json
from gmcn.data import sample
from gmcn.data.objects import TRAIN, read_split
from gmcn.errors import InputError
from gmcn.models import build
from gmcn.models.dcgmm import DCGMM
from gmcn.models.loading import load
from gmcn.training import train
from gmcn.training.errors import Interrupted
from tests.training.processes import run

NETWORK = {
    "kind": "dcgmm",
    "layers": ["F4,2", "G9", "F3", "G4"],
    "largest": 16,
    "rates": [1, 0.1, 0.2],
    "annealing": {"window": 3},
}
TRAINING = {
    "epochs": 4,
    "batch_size": 50,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "schedule": "constant",
    "warmup_epochs": 0,
    "validation_fraction": 0,
    "kernel_decay": 0,
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "digits.safetensors"
    sample("digits", settings={"kind": "digits", "test_fraction": 0.5}, downloads=None, output=path)
    return path


def trained(digits, folder, network=None, seed=0, **training):
    settings = {"task": "density", "network": NETWORK | (network or {}), "training": TRAINING | training}
    return train(digits, settings=settings, seed=seed, output=folder, device="cpu", threads=1)


def made(**options) -> DCGMM:
    arguments = {name: value for name, value in {**NETWORK, **options}.items() if name != "kind"}
    return DCGMM([8, 8], seed=0, **arguments)


def patches(network: DCGMM, data) -> float:
    """How likely the first mixture finds what it sees; the last one's input changes with it."""
    return network.layers(data.inputs)[0]["log_likelihood"].mean().item()


def test_one_mixture_is_a_flat_one(digits):
    from sklearn.mixture import GaussianMixture

    values = read_split(digits, TRAIN).inputs.double()
    theirs = GaussianMixture(4, covariance_type="diag", random_state=0, reg_covar=0.05)
    theirs.fit(values.flatten(1).numpy() / 16)
    network = made(layers=["F8", "G4"]).double()
    network.stack.mixtures[0].cap = 1e9
    from gmcn import GaussianMixture as Ours

    network.stack.mixtures[0].take_(Ours.from_sklearn(theirs))
    expected = torch.from_numpy(theirs.score_samples(values.flatten(1).numpy() / 16))
    torch.testing.assert_close(network(values), expected, rtol=1e-9, atol=1e-9)


def test_training_raises_the_likelihood_and_lets_sigma_fall(digits, tmp_path):
    data = read_split(digits, TRAIN)
    result = trained(digits, tmp_path, epochs=12)
    network = load(tmp_path / "model.safetensors")
    assert patches(network, data) > patches(made(), data) + 10
    assert all(annealing.sigma < 0.9 * annealing.start for annealing in network.annealing)
    assert network.dead() <= 3
    assert result["parameters"] == 9 * (2 * 16 + 1) + 4 * (2 * 81 + 1)


def _history(folder):
    from gmcn.pictures.charts import read_history

    return read_history(folder / "history.csv")


def test_the_first_phase_moves_centroids_alone(digits, tmp_path):
    trained(digits, tmp_path, {"centroids_first": 1.0})
    network, start = load(tmp_path / "model.safetensors"), made()
    for layer, before in zip(network.stack.mixtures, start.stack.mixtures, strict=True):
        assert layer.roots.equal(before.roots)
        assert layer.logits.equal(before.logits)
        assert not layer.means.equal(before.means)


def test_the_second_phase_moves_all_and_keeps_precisions_below_the_caps(digits, tmp_path):
    trained(digits, tmp_path, {"centroids_first": 0.25, "caps": [30.0, 20.0]})
    network = load(tmp_path / "model.safetensors")
    for layer, cap in zip(network.stack.mixtures, (30, 20), strict=True):
        assert layer.roots.square().max() <= cap * (1 + 1e-6)
        assert not layer.logits.equal(torch.zeros_like(layer.logits))
        assert layer.roots.unique().numel() > 10


def test_in_turn_a_mixture_rests_while_others_learn():
    network = made(order="in-turn", centroids_first=0.5)
    rates = {}
    for done in (0.0, 0.3, 0.5, 0.8):
        network.before_step_(done)
        rates[done] = [network.relative_rate(group) for group in network.parameter_groups()]
    assert rates == {
        0.0: [1, 0, 0, 0, 0, 0],
        0.3: [1, 0.1, 0.2, 0, 0, 0],
        0.5: [0, 0, 0, 1, 0, 0],
        0.8: [0, 0, 0, 1, 0.1, 0.2],
    }


@pytest.mark.parametrize("controller", ["ratio", "slope", "exponential"])
def test_resumed_within_a_window_it_is_the_same_bit_for_bit(controller, digits, tmp_path, monkeypatch):
    network = {"annealing": {"window": 7, "controller": controller}}
    trained(digits, tmp_path / "whole", network)
    from gmcn.training.callbacks import LastCheckpoint

    leave, steps = LastCheckpoint.on_train_batch_end, []

    def stop(self, trainer, *arguments):
        steps.append(trainer.global_step)
        if trainer.global_step == 46:  # within a window of 7
            self.signal_number = 15
        leave(self, trainer, *arguments)

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_end", stop)
    with pytest.raises((SystemExit, Interrupted)):
        trained(digits, tmp_path / "parts", network)
    monkeypatch.undo()
    state = torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["state_dict"]
    if controller != "exponential":
        assert state["model.annealing.0.state"][4] == 46 % 7
    assert trained(digits, tmp_path / "parts", network)["resumed"] == 1
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(whole[name].equal(parts[name]) for name in whole)


def test_a_batch_in_parts_anneals_as_a_whole_one(digits, tmp_path):
    trained(digits, tmp_path / "whole")
    trained(digits, tmp_path / "parts", micro_batches=3)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("order", ["together", pytest.param("in-turn", marks=pytest.mark.slow)])
def test_two_processes_train_as_one(order, digits, tmp_path):
    """Also while parameters rest, for whose gradients torch would wait."""
    found = []
    for count in (1, 2):
        output = str(tmp_path / str(count))
        training = TRAINING | {"epochs": 2, "devices": count}
        settings = {"task": "density", "network": NETWORK | {"order": order}, "training": training}
        outcomes = run(f"trained({str(digits)!r}, {settings!r}, {output!r})", ranks=count)
        assert [status for status, _ in outcomes] == [0] * count, outcomes
        found.append(load_file(tmp_path / str(count) / "model.safetensors"))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("network", [{}, {"layers": ["F4,2", "G9x2", "F3", "G5x2"], "unshared": [1]}])
def test_em_fits_one_mixture_after_the_other(network, digits, tmp_path):
    data = read_split(digits, TRAIN)
    own = {**network, "annealing": {"controller": "none"}}
    trained(digits, tmp_path, own, optimizer="em")
    fitted = load(tmp_path / "model.safetensors")
    assert patches(fitted, data) > patches(made(**own), data) + 10
    losses = [row["train_loss"] for row in _history(tmp_path)]
    assert losses[-1] < losses[0]
    assert [row["epoch"] for row in _history(tmp_path)] == [1, 2, 3, 4]
    trained(digits, tmp_path / "again", own, optimizer="em")
    assert fitted(data.inputs).equal(load(tmp_path / "again" / "model.safetensors")(data.inputs))


def test_a_start_by_k_means_moves_centroids_alone(digits):
    data, network = read_split(digits, TRAIN), made(start="k-means", unshared=[1])
    before = patches(network, data)
    network.start_(data.inputs, 0)
    assert patches(network, data) > before + 10
    assert network.stack.mixtures[0].roots.unique().numel() == 1


@pytest.fixture(scope="module")
def network(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    trained(digits, folder, epochs=20, classes=[0, 1])
    return load(folder / "model.safetensors")


def test_samples_look_like_what_was_trained_on(network, digits):
    data = read_split(digits, TRAIN)
    drawn = network.sample(40, torch.Generator().manual_seed(0))
    assert drawn.shape == (40, 8, 8)
    assert drawn.equal(network.sample(40, torch.Generator().manual_seed(0)))
    nearest = data.labels[torch.cdist(drawn.flatten(1), data.inputs.float().flatten(1)).argmin(1)]
    assert (nearest < 2).float().mean() > 0.8
    alike = network.sample(6, torch.Generator().manual_seed(0), components=torch.tensor([2] * 6), divisor=1e9)
    assert (alike == alike[0]).flatten(1).float().mean() > 0.5
    assert network.centres().shape == (4, 8, 8)


def test_variants_and_in_painting(network, digits):
    inputs = read_split(digits, TRAIN).inputs[:5]
    generator = torch.Generator().manual_seed(0)
    assert network.like(inputs, generator, level=1).shape == (5, 8, 8)
    keep = torch.zeros(8, 8, dtype=torch.bool)
    keep[:, :4] = True
    filled = network.fill(inputs, keep, torch.Generator().manual_seed(0))
    assert filled[:, :, :4].equal(inputs[:, :, :4].float())
    assert not filled[:, :, 4:].equal(inputs[:, :, 4:].float())
    with pytest.raises(InputError, match="level is 3, and there are 2 mixtures"):
        network.like(inputs, generator, level=3)


def test_responsibilities_and_layers(network, digits):
    inputs = read_split(digits, TRAIN).inputs[:50]
    shares = network.responsibilities(inputs)
    torch.testing.assert_close(shares.sum(1), torch.ones(50))
    lower, upper = network.layers(inputs)
    assert (lower["log_likelihood"].shape, upper["bound"].shape) == ((50, 3, 3), (50, 1, 1))
    torch.testing.assert_close(upper["log_likelihood"].flatten(), network(inputs))
    assert (lower["bound"] <= lower["log_likelihood"]).all()
    about = network.about_layers()
    assert [(one["components"], one["dim"], one["cap"], one["positions"]) for one in about] == [
        (9, 16, 20.0, [3, 3]),
        (4, 81, 20.0, [1, 1]),
    ]
    assert all(0 < one["sparsity"] < 1 for one in about)


def test_sharpening_and_top_are_options(network):
    drawn = network.sample(3, torch.Generator().manual_seed(0), top=2, sharpen=5)
    assert drawn.shape == (3, 8, 8)
    assert drawn.isfinite().all()


def test_colours_and_sizes(tmp_path):
    network = DCGMM([3, 10, 6], layers=["F4x2,2", "G4", "P2x1", "F2x3", "G4"], seed=0)
    values = torch.rand(2, 3, 10, 6, generator=torch.Generator().manual_seed(0)) * 255
    assert network(values).shape == (2,)
    assert network.sample(4, torch.Generator()).shape == (4, 3, 10, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["F9", "G4"]}, "DCGMM: layer 1, F9: a window of 9 x 9 does not fit 8 x 8 positions"),
        ({"layers": ["F4,2", "G5", "F3", "G4"]}, "DCGMM: 5 components make no square torus"),
        ({"layers": ["F4;2", "G4"]}, "layers"),
        ({"rates": [1.0, 0.1]}, "rates"),
    ],
)
def test_networks_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        build(NETWORK | options, shape=[8, 8])


def test_images_that_cannot_be(digits, tmp_path):
    with pytest.raises(InputError, match="wasserstein does not know the parts of DCGMM"):
        trained(digits, tmp_path, optimizer="wasserstein")
    with pytest.raises(InputError, match=r"the input is \[2, 7, 8\]; this network takes \[B, \*\[8, 8\]\]"):
        made()(torch.zeros(2, 7, 8))
    with pytest.raises(InputError, match="pixels lie between 0 and 16, but must lie between 0 and the 4 of `largest`"):
        trained(digits, tmp_path, {"largest": 4})
    with pytest.raises(InputError, match="the training images are all equal"):
        made().start_(torch.full((4, 8, 8), 3.0), 0)
    with pytest.raises(InputError, match=r"shape of an image is \[H, W\] or \[C, H, W\], not \[8\]"):
        DCGMM([8])
    assert not list(tmp_path.glob("model*"))
    shutil.rmtree(tmp_path)


def test_the_summary_of_a_training_is_that_of_others(digits, tmp_path):
    trained(digits, tmp_path, epochs=1)
    assert read_json(tmp_path / "training.json")["task"] == "density"


def test_a_ratio_leaves_nothing_that_one_gaussian_explains(digits, tmp_path):
    own = {"judged_by": "ratio", "annealing": {"controller": "none"}}
    trained(digits, tmp_path, own, optimizer="em", classes=[0, 1, 2, 3, 4])
    network, data = load(tmp_path / "model.safetensors"), read_split(digits, TRAIN)
    inputs = data.inputs[data.labels < 5]
    seen = network.stack.seen(network._values(inputs), -1).flatten(1)
    torch.testing.assert_close(network.background.mean, seen.mean(0))
    torch.testing.assert_close(network.background.variance, seen.var(0, correction=0).clamp(min=1 / 20))
    one = torch.distributions.Normal(network.background.mean, network.background.variance.sqrt())
    simple, ratio = one.log_prob(seen).sum(1), network.typicality(inputs)
    torch.testing.assert_close(ratio, network(inputs) - network.background.slope * simple, rtol=1e-4, atol=1e-3)
    assert abs(torch.stack([ratio, simple]).corrcoef()[0, 1]) < 1e-3
    parts = [(part - part.mean()) / part.std() for part in (network(inputs), ratio)]
    network.judged_by = "smaller"
    torch.testing.assert_close(network.typicality(inputs), torch.minimum(*parts), rtol=1e-3, atol=1e-3)
    from gmcn.artifacts import read_metadata

    quantiles = read_metadata(tmp_path / "model.safetensors")["trained"]["quantiles"]
    assert quantiles[0] == pytest.approx(ratio.min().item(), rel=1e-4, abs=1e-3)
