"""The rivals of tables of results: their kernels, what they read, and what a table shows of them."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from gmcn import config, data
from gmcn.artifacts import load_tensors, save_tensors
from gmcn.cli import main
from gmcn.data.objects import TEST, TRAIN, read_split
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.results.density_references import REFERENCES
from gmcn.results.generation_references import GENERATION
from gmcn.results.kernels import gram, judge_ridges, nngp, ntk, solve
from gmcn.results.outliers import OUTLIERS
from gmcn.results.registration_references import REGISTRATION
from gmcn.results.rivals import RIVALS, SIZE, classify, compare, kernel_regression, scaled, sizes
from gmcn.results.tables import tabulate
from tests.config.examples import REAL
from tests.conftest import ROOT

KERNELS = pytest.mark.parametrize("kernel", [nngp, ntk])


def drawn(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The points artifact of scikit-learn's digits."""
    path = tmp_path_factory.mktemp("rivals") / "digits.safetensors"
    data.sample("digits", settings=REAL["datasets"]["digits"], downloads=None, output=path)
    return path


def changed(path, target, **tensors):
    """The artifact with other tensors; None takes one away."""
    before, metadata = load_tensors(path)
    after = {name: tensor for name, tensor in (before | tensors).items() if tensor is not None}
    if "labels" not in after:
        del metadata["class_names"]
    save_tensors(target, after, metadata)
    return target


@KERNELS
def test_kernels_are_the_limit_of_wide_networks(kernel):
    """Outputs and gradients of one network of 400,000 units, which autograd makes."""
    x, width = drawn(4, 3), 400_000
    x[1] = 0.1 * x[0] + 0.05 * x[1]
    read_out, weights = drawn(width, 1, 1).squeeze(1).requires_grad_(), drawn(width, 3, 2).requires_grad_()
    hidden = math.sqrt(2 / width) * (x @ weights.T / math.sqrt(3)).relu()
    if kernel is nngp:  # the mean over the read-out, which is drawn from N(0, 1), is exact
        estimated = hidden @ hidden.T
    else:
        gradients = [
            torch.autograd.grad(output, (read_out, weights), retain_graph=True) for output in hidden @ read_out
        ]
        flat = torch.stack([torch.cat([own.flatten() for own in both]) for both in gradients])
        estimated = flat @ flat.T
    scale = kernel(x, x).diagonal().sqrt()
    torch.testing.assert_close(estimated / scale.outer(scale), kernel(x, x) / scale.outer(scale), rtol=0, atol=0.01)


@KERNELS
@pytest.mark.parametrize(
    ("first", "second", "angle"),
    [
        ([3.0, 0.0], [2.0, 0.0], 0.0),
        ([3.0, 0.0], [0.0, 2.0], math.pi / 2),
        ([3.0, 0.0], [-2.0, 0.0], math.pi),
        ([3.0, 0.0], [2 * math.cos(1.0), 2 * math.sin(1.0)], 1.0),
    ],
)
def test_kernels_by_the_angle(kernel, first, second, angle):
    expected = 6 / 2 * (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / math.pi
    if kernel is ntk:
        expected += 6 / 2 * math.cos(angle) * (math.pi - angle) / math.pi
    found = kernel(*(torch.tensor([vector], dtype=torch.float64) for vector in (first, second)))
    assert found.item() == pytest.approx(expected, abs=1e-12)


@KERNELS
def test_kernels_are_symmetric_and_positive(kernel):
    x = torch.cat([drawn(700, 8), torch.zeros(1, 8, dtype=torch.float64)])  # more than one chunk of rows
    x[5] = 3 * x[4]
    values = gram(kernel, x, x)
    torch.testing.assert_close(values, values.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(values, kernel(x, x), rtol=1e-12, atol=1e-12)
    assert torch.linalg.eigvalsh(values).min() > -1e-9
    assert (values[-1] == 0).all()


def test_ridge_regression_solves_its_equations():
    values, labels = nngp(drawn(30, 4), drawn(30, 4)), torch.arange(30) % 3
    solved, mean = solve(values, labels, 4, 0.5)
    targets = torch.nn.functional.one_hot(labels, 4).double()
    assert mean.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    ridge = 0.5 * values.diagonal().mean()
    torch.testing.assert_close(values @ solved + ridge * solved, targets - mean)


def test_ridges_are_judged_on_objects_that_are_held_out():
    """Noise wants a large one, and a rule without noise a small one."""
    x = drawn(400, 3)
    rule, noisy = (x[:, 0] > 0).long(), (x[:, 0] + 2 * drawn(400, 1, 5).squeeze(1) > 0).long()
    values = nngp(x, x)
    noisy, rule = judge_ridges(values, noisy, 2, (1e-6, 1.0)), judge_ridges(values, rule, 2, (1e-6, 1e6))
    assert noisy[1.0] > noisy[1e-6] + 0.02
    assert rule[1e-6] > rule[1e6] + 0.02


def test_of_many_objects_a_kernel_sees_some_that_a_seed_chooses():
    x, labels = drawn(300, 3).float(), torch.arange(300) % 2
    some = kernel_regression(nngp, x, labels, 2, limit=100)
    assert some.objects == 100
    again = kernel_regression(nngp, x, labels, 2, limit=100)
    assert torch.equal(some.scores(x), again.scores(x))
    assert kernel_regression(nngp, x, labels, 2).objects == 300


@pytest.mark.parametrize(
    ("rival", "least"), [("nearest-neighbour", 0.98), ("logistic", 0.95), ("nngp", 0.98), ("ntk", 0.98)]
)
def test_digits(digits, tmp_path, rival, least):
    found = compare(digits, rival=rival, output=tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert found["metrics"]["accuracy"]["mean"] >= least
    right = torch.tensor(found["predictions"]) == read_split(digits, TEST).labels
    assert found["metrics"]["accuracy"]["mean"] == pytest.approx(right.double().mean().item())
    assert found["objects"] == {"train": 1347, "of": 1347, "test": 450}
    assert ("ridge" in found) == (rival in ("nngp", "ntk"))
    if "ridge" in found:
        assert found["validation"][str(found["ridge"])] == max(found["validation"].values())


@pytest.mark.parametrize("rival", sorted(RIVALS.keys() - {SIZE}))
def test_the_labels_of_the_test_split_change_no_prediction(digits, tmp_path, rival):
    before, _ = load_tensors(digits)
    labels = torch.where(before["split"] == TEST, (before["labels"] + 1) % 10, before["labels"])
    other = changed(digits, tmp_path / "other.safetensors", labels=labels)
    found = [compare(path, rival=rival, output=tmp_path / "found.json") for path in (digits, other)]
    assert found[0]["predictions"] == found[1]["predictions"]
    assert found[0].get("ridge") == found[1].get("ridge")
    assert found[1]["metrics"]["accuracy"]["mean"] < 0.1


def test_nothing_of_the_test_split_shapes_what_a_rival_is_trained_on(digits, tmp_path):
    before, _ = load_tensors(digits)
    images = torch.where((before["split"] == TEST)[:, None, None], 255 - before["images"], before["images"])
    other = changed(digits, tmp_path / "other.safetensors", images=images)
    vectors = [scaled(*(read_split(path, part) for part in (TRAIN, TEST)))[0] for path in (digits, other)]
    assert torch.equal(*vectors)
    assert vectors[0].square().mean().item() == pytest.approx(1)


def test_clouds_are_compared_as_shapes(tmp_path):
    settings = {"kind": "solids", "train_per_class": 6, "test_per_class": 2, "points": 64}
    data.sample("solids10", settings=settings, downloads=None, output=tmp_path / "solids.safetensors")
    for rival in RIVALS.keys() - {SIZE}:
        found = compare(tmp_path / "solids.safetensors", rival=rival, output=tmp_path / "found.json")
        assert found["metrics"]["accuracy"]["mean"] > 0.5, rival


def test_the_size_is_one_number(tmp_path):
    """It tells large from small objects, and is blind to where they lie and how they are turned by a quarter."""
    settings = {"kind": "solids", "train_per_class": 6, "test_per_class": 2, "points": 64, "normalize": True}
    data.sample("solids10", settings=settings, downloads=None, output=tmp_path / "solids.safetensors")
    train = read_split(tmp_path / "solids.safetensors", TRAIN)
    found = sizes(train)
    larger = dataclasses.replace(train, inputs=3 * train.inputs + 7)
    torch.testing.assert_close(sizes(larger), found + math.log(3))
    turned = dataclasses.replace(train, inputs=train.inputs[..., [1, 0, 2]])
    torch.testing.assert_close(sizes(turned), found)
    fitted = Mixture(torch.ones(1, 2), torch.tensor([[[0.0, 0, 0], [2, 0, 0]]]), 4 * torch.eye(3).expand(1, 2, 3, 3))
    mixtures = dataclasses.replace(train, inputs=fitted)
    torch.testing.assert_close((6 * sizes(mixtures)).exp(), torch.tensor([[5.0 * 4 * 4]]))
    scales = torch.where(train.labels % 2 == 0, 1.0, 9.0)[:, None, None]
    two = dataclasses.replace(train, inputs=scales * train.inputs, labels=train.labels % 2)
    test = dataclasses.replace(two, inputs=two.inputs.flip(0), labels=two.labels.flip(0))
    assert classify(SIZE, two, test)["metrics"]["accuracy"] == 1
    alike = dataclasses.replace(train, inputs=train.inputs[:1].expand_as(train.inputs), labels=train.labels % 2)
    assert classify(SIZE, two, alike)["metrics"]["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("change", "rival", "part"),
    [
        (
            {},
            "ntkk",
            "unknown rival 'ntkk'; did you mean 'ntk'? (known: ntk, nngp, ",
        ),
        ({}, SIZE, "size-neighbours is a rival on clouds and mixtures, and these are images; take another one"),
        ({"labels": None}, "ntk", "have no labels, and a rival"),
        ({"labels": torch.zeros(1797, dtype=torch.int64)}, "logistic", "are all of one class, and a rival needs two"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(digits, tmp_path, capsys, change, rival, part):
    path = changed(digits, tmp_path / "changed.safetensors", **change)
    with pytest.raises(InputError) as error:
        compare(path, rival=rival, output=tmp_path / "found.json")
    assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "found.json").exists()


def test_rivals_of_the_configuration_are_those_that_can_be_made():
    known = (*RIVALS, *OUTLIERS, *REFERENCES, *GENERATION, *REGISTRATION)
    assert config.RIVALS.keys() == set(known)
    assert {name for name, rival in config.RIVALS.items() if rival.task == "density"} == {*OUTLIERS, *REFERENCES}
    assert {name for name, rival in config.RIVALS.items() if rival.task == "generation"} == GENERATION.keys()


TABLE = """
tables:
  mine:
    title: Mine
    dataset: digits
    columns: [accuracy, class_accuracy, loss, parameters, minutes]
    rows: [{variant: mlp}, {rival: nearest-neighbour}, {rival: ntk, label: "K"}, {rival: nngp, dataset: mnist}]
"""


def test_a_table_shows_rivals_beside_results(digits, tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(TABLE)
    loaded = config.load(ROOT / "config.yaml", tmp_path / "mine.yaml")
    shown = config.tables.table_of(loaded, "mine")
    files = config.tables.files_of(shown)
    assert files == [
        "digits_mlp.json",
        "rivals/digits_nearest-neighbour.json",
        "rivals/digits_ntk.json",
        "rivals/mnist_nngp.json",
    ]
    made = [tmp_path / files[1], tmp_path / files[2]]
    compare(digits, rival="nearest-neighbour", output=made[0])
    monkeypatch.setitem(RIVALS, "ntk", lambda *training: kernel_regression(ntk, *training, limit=1000))
    compare(digits, rival="ntk", output=made[1])
    tabulate(shown, inputs=made, output=tmp_path / "tables/mine")
    lines = (tmp_path / "tables/mine.md").read_text().splitlines()
    nearest, kernel, missing = lines[5:8]
    assert nearest.startswith("| nearest neighbour | 98.")
    assert nearest.endswith("| rivals/digits_nearest-neighbour.json |")
    assert kernel.startswith("| K on 1,000 of 1,347 objects | 9")
    assert missing.startswith("| infinite two-layer perceptron, read-out trained (NNGP) |  |")
    assert missing.endswith("`snakemake --cores all results/rivals/mnist_nngp.json` |")
    with pytest.raises(InputError, match="is the result of ntk on digits, which table9 does not show"):
        tabulate(config.tables.table_of(REAL, "table9"), inputs=made[1:], output=tmp_path / "tables/other")


def test_the_command(digits, tmp_path, capsys):
    arguments = ["rival", "--dataset", "digits", "--points", str(digits), "--results", str(tmp_path)]
    arguments += ["--tracking", "off", "--config", str(ROOT / "config.yaml")]
    assert main([*arguments, "--rival", "logistic"]) == 0
    assert json.loads((tmp_path / "rivals/digits_logistic.json").read_text())["rival"] == "logistic"
    assert main([*arguments, "--rival", "logistics"]) == 2
    assert "unknown rival 'logistics'; did you mean 'logistic'?" in capsys.readouterr().err
