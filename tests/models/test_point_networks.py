"""PointNet and PointNet++ on mixtures: sizes, invariances, masks, reproducibility, and how networks are built."""

from __future__ import annotations

import json

import pytest
import torch

from gmcn import Mixture
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.models import GMCN, NETWORKS, PointNet, PointNet2, build, describe
from gmcn.models.point_sets import maxima, point_set
from gmcn.models.pointnet2 import ball, farthest_points
from gmcn.nn import GaussianMixtureLayer

from ..nn.workload import random_mixture

BOTH = pytest.mark.parametrize("network", [PointNet, PointNet2])
DIMS = pytest.mark.parametrize("dim", [2, 3])
FEATURES = pytest.mark.parametrize("features", ["positions", "gaussians"])


def evaluated(network, dim=3, **options):
    """In evaluation mode after one training step, so that running statistics are not the initial ones."""
    model = network(5, dim, **{"seed": 1, **options}).double()
    with torch.no_grad():
        for parameter in model.parameters():  # transforms begin as the identity, which would hide mistakes
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
        model(random_mixture(6, 20, dim=dim, seed=9))
    return model.eval()


def close(first, second):
    torch.testing.assert_close(first, second, rtol=1e-8, atol=1e-9)


def test_parameters_of_the_papers():
    """3.5 M (PointNet's table 6), 3.4 M and 1.4 M (table 1 of the GMCN paper)."""
    counts = {network: sum(p.numel() for p in network(10).parameters()) for network in (PointNet, PointNet2)}
    assert counts == {PointNet: 3_466_259, PointNet2: 1_464_650}


@BOTH
@DIMS
@FEATURES
@pytest.mark.parametrize("components", [1, 7, 32])
def test_shapes_and_gradients(network, dim, features, components):
    model = network(5, dim, features=features, seed=1)
    mixture = random_mixture(4, components, dim=dim, dtype=torch.float32)
    output = model(mixture.map(lambda tensor: tensor.unsqueeze(1)))
    assert output.shape == (4, 5)
    torch.nn.functional.cross_entropy(output, torch.tensor([0, 3, 4, 1])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        if components == 32:
            # Before a zero matrix there is no gradient; transforms begin with one.
            assert (parameter.grad != 0).any() or "_transform" in name, name


@BOTH
@DIMS
@FEATURES
def test_invariances(network, dim, features):
    model, mixture = evaluated(network, dim, features=features), random_mixture(3, 20, dim=dim)
    expected = model(mixture)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    close(model(mixture.map(lambda tensor: tensor[:, order])), expected)
    close(model(mixture._replace(positions=mixture.positions + 10)), expected)
    close(model(Mixture(7 * mixture.weights, 4 * mixture.positions, 16 * mixture.covariances)), expected)
    for index in range(3):
        close(model(mixture.map(lambda tensor, index=index: tensor[index : index + 1]))[0], expected[index])


@BOTH
@FEATURES
@pytest.mark.parametrize("training", [False, True])
def test_components_without_weight_do_not_exist(network, features, training):
    """Neither at the output nor in batch statistics, whatever they hold, in whichever place, in any number."""
    model, mixture = evaluated(network, features=features, dropout=0.0).train(training), random_mixture(3, 20)
    expected = model(mixture)
    rubbish = random_mixture(3, 9, seed=5)
    rubbish = Mixture(0 * rubbish.weights, 1e3 * rubbish.positions, rubbish.covariances)
    order = torch.randperm(29, generator=torch.Generator().manual_seed(0))
    padded = Mixture(*(torch.cat(pair, 1)[:, order] for pair in zip(mixture, rubbish, strict=True)))
    close(model(padded), expected)


@BOTH
def test_shapes_of_different_sizes_in_one_batch(network):
    model, mixture = evaluated(network), random_mixture(2, 40)
    mixture.weights[1, 5:] = 0
    alone = mixture.map(lambda tensor: tensor[1:, :5])
    close(model(mixture)[1:], model(alone))


@BOTH
def test_input_without_mass(network):
    mixture = random_mixture(3, 12, dtype=torch.float32)
    mixture.weights[1] = 0
    assert network(5, seed=1, features="gaussians")(mixture).isfinite().all()


@BOTH
def test_what_is_seen(network):
    """ "positions": nothing of weights and covariances; "gaussians": both."""
    mixture = random_mixture(3, 20)
    changes = [mixture._replace(weights=mixture.weights.flip(1)), mixture._replace(covariances=2 * mixture.covariances)]
    for features, same in (("positions", True), ("gaussians", False)):
        model = evaluated(network, features=features)
        for change in changes:
            assert torch.equal(model(change), model(mixture)) is same


@DIMS
def test_points_are_normalised(dim):
    mixture = random_mixture(3, 50, dim=dim)
    mixture = mixture._replace(weights=torch.full((3, 50), 1 / 50, dtype=torch.float64))
    positions, features, exists = point_set(mixture, dim, "gaussians", "test", mixture.positions.dtype)
    close(positions.mean(1), torch.zeros(3, dim).double())
    variance = mixture.positions.var((1,), correction=0).mean(-1)
    close(positions.square().mean((1, 2)), torch.ones(3).double())
    close(features[..., 0], torch.ones(3, 50).double())
    close(features[..., 1], mixture.covariances[..., 0, 0] / variance[:, None])
    close(features[..., -1], mixture.covariances[..., -1, -1] / variance[:, None])
    assert features.shape[-1] == 1 + dim * (dim + 1) // 2
    assert exists.all()


def test_feature_transform_is_held_orthogonal():
    mixture = random_mixture(3, 20)
    logits, penalty = PointNet(5, seed=1).double().eval().outputs_and_penalty(mixture)
    assert penalty.item() == 0  # of the identity
    model = evaluated(PointNet, regularization=0.5)
    close(model.outputs_and_penalty(mixture)[0], model(mixture))
    assert model.outputs_and_penalty(mixture)[1] > 0
    assert logits.shape == (3, 5)


def test_farthest_points_are_farthest():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(2, 30, 3, generator=generator, dtype=torch.float64)
    exists = torch.ones(2, 30, dtype=torch.bool)
    exists[1, ::2] = False
    chosen = farthest_points(points, exists, 10)
    for shape in range(2):
        allowed = exists[shape].nonzero().squeeze(1)
        picked = [int(allowed[points[shape, allowed].norm(dim=-1).argmax()])]
        for _ in range(9):
            distances = torch.cdist(points[shape, allowed], points[shape, picked]).amin(1)
            picked.append(int(allowed[distances.argmax()]))
        assert chosen[shape].tolist() == picked


def test_balls_hold_the_nearest_points_within_the_radius():
    points = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exists = torch.arange(30).expand(2, -1) % 4 > 0
    radius = torch.tensor([0.8, 1.5], dtype=torch.float64)
    index, near = ball(points, exists, points[:, :6], radius, 5)
    assert index.shape == near.shape == (2, 6, 5)
    for shape in range(2):
        for centre in range(6):
            distances = (points[shape] - points[shape, centre]).norm(dim=-1)
            wanted = [i for i in distances.argsort().tolist() if exists[shape, i] and distances[i] <= radius[shape]]
            assert index[shape, centre][near[shape, centre]].tolist() == wanted[:5]


def test_sizes_of_the_levels():
    """At most 512 and 128 centroids, and no more than there are points."""
    seen = []
    model = PointNet2(3, seed=0).eval()
    for level in model.levels:
        level.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.exists.sum(-1).tolist())))
    with torch.no_grad():
        for count in (1, 32, 106, 1024, 1500):
            model(random_mixture(1, count, dtype=torch.float32))
    assert [size for (size,) in seen] == [1, 1, 32, 32, 106, 106, 512, 128, 512, 128]


def test_maxima_of_empty_sets_are_zero():
    exists = torch.tensor([[True, False, True], [False, False, False]])
    rows = torch.tensor([[1.0, 2.0], [3.0, 0.5]])
    assert maxima(rows, exists).tolist() == [[3, 2], [0, 0]]


@BOTH
def test_seed(network):
    before = torch.get_rng_state()
    states = [network(5, seed=seed).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["head.1.weight"], states[2]["head.1.weight"])


@BOTH
def test_steps_are_deterministic(network):
    model, mixture = network(5, seed=1), random_mixture(4, 40, dtype=torch.float32)
    mixture.weights[:2, ::3] = 0
    results = []
    for _ in range(2):
        torch.manual_seed(0)  # dropout
        model.zero_grad()
        model(mixture).square().sum().backward()
        results.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@BOTH
def test_learns(network):
    """Two classes that differ in the elongation of their clouds."""
    torch.manual_seed(0)
    mixture = random_mixture(16, 24, dim=2, dtype=torch.float32)
    labels = torch.arange(16) % 2
    mixture.positions[labels == 1, :, 0] *= 4
    model = network(2, 2, seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(model(mixture), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3


def test_a_description_builds_the_same_network():
    options = {"pointnet": {"features": "gaussians"}, "pointnet2": {"radii": (0.5, 1.0)}, "gmcn": {"layers": ((2, 4),)}}
    mixture = random_mixture(3, 12, dim=2, dtype=torch.float32)
    for kind, network in NETWORKS.items():
        if "mixtures" not in network.takes:
            continue
        model = build({"kind": kind, **options[kind]}, classes=4, dim=2, seed=3)
        assert type(model) is network
        again = build(json.loads(json.dumps(describe(model))))
        assert torch.equal(again.eval()(mixture), model.eval()(mixture))
    assert isinstance(build({"layers": [[2, 4]]}, 4, 3), GMCN)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@BOTH
def test_on_a_gpu(network):
    model, mixture = evaluated(network, features="gaussians"), random_mixture(3, 40)
    mixture.weights[1, 30:] = 0
    outputs, gradients = [], []
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        outputs.append(model(mixture.to(device)))
        outputs[-1].square().sum().backward()
        gradients.append([parameter.grad.cpu() for parameter in model.parameters()])
    close(outputs[1].cpu(), outputs[0])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PointNet(5)(random_mixture(3, 12, dim=2)), r"PointNet: .*\[3, 12, 2\].*\[B, N, 3\]"),
        (lambda: PointNet2(5)(random_mixture(3, 2, 12)), r"PointNet2: .*\[3, 2, 12, 3\].*\[B, N, 3\]"),
        (lambda: PointNet(0), "PointNet: 'classes' is 0"),
        (lambda: PointNet(5, 4), "'dim' is 4"),
        (lambda: PointNet(5, dropout=1.0), "PointNet: 'dropout' is 1.0, but must be less than 1"),
        (lambda: PointNet(5, regularization=-1), "'regularization' is -1"),
        (lambda: PointNet(5, features="weights"), "'features' is 'weights', but must be one of positions, gaussians"),
        (lambda: PointNet2(5, radii=(1.0, 0.0)), "'radii.1' is 0.0, but must be greater than 0"),
        (lambda: PointNet2(5, centroids=(512,)), r"'centroids' is \[512\], but must have at least 2 items"),
        (lambda: PointNet2(5, neighbours=(32, 0)), "'neighbours.1' is 0"),
        (lambda: build({"kind": "pointnet3"}, 5, 3), "unknown kind of network 'pointnet3'; did you mean 'pointnet"),
        (
            lambda: build({"kind": "pointnet", "layers": []}, 5, 3),
            "the network cannot be built: unknown key 'layers' \\(known here: classes, dim",
        ),
        (lambda: build({}, 5, 3), "cannot be built: the key 'layers' is missing"),
        (
            lambda: build({"kind": "pointnet", "dropout": "much"}, 5, 3),
            "cannot be built: 'dropout' is 'much', but must be a number",
        ),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(InputError, match=words) as info:
        make()
    assert "\n" not in str(info.value)


def test_a_mixture_layer_as_the_head():
    model = PointNet(5, head="mixture", seed=0)
    assert type(model.head) is GaussianMixtureLayer
    model(random_mixture(4, 10).map(torch.Tensor.float)).sum().backward()
    assert model.head.means.grad.isfinite().all()
    assert build(describe(model)).head.components == model.head.components


@pytest.mark.parametrize("name", ["gmcn", "pointnet", "pointnet2"])
def test_networks_of_one_dtype_take_inputs_of_another(name):
    points = torch.rand(2, 60, 3, generator=torch.Generator().manual_seed(0))
    options = {"layers": []} if name == "gmcn" else {}  # reductions choose, and rounding decides
    network = NETWORKS[name](classes=3, dim=3, seed=0, **options).eval()
    single = fit_points(points, 16)
    double = single.map(torch.Tensor.double)
    with torch.no_grad():
        torch.testing.assert_close(network(double), network(single), rtol=1e-3, atol=1e-3)
        assert network.double()(single).dtype == torch.float64


@pytest.mark.parametrize("network", [PointNet, PointNet2])
def test_no_points_are_refused(network):
    with pytest.raises(InputError, match=r"the input's positions are \[1, 0, 3\]; there is no point"):
        network(classes=3, dim=3)(torch.zeros(1, 0, 3))
