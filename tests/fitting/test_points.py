"""Fits of points: valid mixtures, conserved moments, degenerate clouds, independence of batching."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gmcn.errors import InputError
from gmcn.fitting import METHODS, fit_images, fit_points, hierarchical, reference
from gmcn.fitting import points as module
from gmcn.fitting.quality import log_likelihood

# Those that fit all components to all points.
FLAT = [method for method in METHODS if method not in ("eckart", "points")]


def clouds(shapes=4, count=120, dim=3, dtype=torch.float32, seed=0):
    return torch.randn(shapes, count, dim, generator=torch.Generator().manual_seed(seed)).to(dtype)


def check_valid(mixture, shapes, n, dim):
    assert mixture.weights.shape == (shapes, n)
    assert mixture.positions.shape == (shapes, n, dim)
    assert all(tensor.isfinite().all() for tensor in mixture)
    assert (mixture.weights >= 0).all()
    torch.testing.assert_close(mixture.weights.sum(-1), torch.ones(shapes, dtype=mixture.weights.dtype))
    assert torch.equal(mixture.covariances, mixture.covariances.mT)
    assert torch.linalg.eigvalsh(mixture.covariances).min() > 0
    torch.linalg.cholesky(mixture.covariances)


@pytest.mark.parametrize("method", FLAT)
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_valid_and_moments_conserved(method, dim, dtype):
    points = clouds(dim=dim, dtype=dtype) * 30 + 100
    floor = 1e-6
    mixture = fit_points(points, 9, method, covariance_floor=floor)
    check_valid(mixture, 4, 9, dim)
    assert mixture.weights.dtype == dtype
    w, mu, sigma = (t.double() for t in mixture)
    mean = (w[..., None] * mu).sum(1)
    np.testing.assert_allclose(mean, points.double().mean(1), atol=1e-4)
    # Total covariance = that of the points plus the floor.
    second = (w[..., None, None] * (sigma + mu[..., :, None] * mu[..., None, :])).sum(1)
    side = (points.amax(1) - points.amin(1)).amax(-1).double()
    expected = torch.stack([torch.cov(p.double().T, correction=0) for p in points])
    expected = expected + floor * side[:, None, None].square() * torch.eye(dim)
    np.testing.assert_allclose(second - mean[:, :, None] * mean[:, None, :], expected, rtol=1e-3, atol=2e-2)


def test_hard_fit_is_the_clusters_moments():
    """Against numpy, cluster by cluster: farthest points, nearest centre, mean and covariance."""
    points = clouds(shapes=1, count=60, dtype=torch.float64)
    mixture = fit_points(points, 5, "fps", covariance_floor=1e-9)
    x = points[0].numpy()
    picked = [0]
    for _ in range(4):
        picked.append(int(np.linalg.norm(x[:, None] - x[picked], axis=-1).min(1).argmax()))
    cell = np.linalg.norm(x[:, None] - x[picked], axis=-1).argmin(1)
    for k in range(5):
        assert mixture.weights[0, k].item() == pytest.approx((cell == k).mean())
        np.testing.assert_allclose(mixture.positions[0, k], x[cell == k].mean(0), rtol=1e-9)
        expected = np.cov(x[cell == k].T, bias=True) if (cell == k).sum() > 1 else np.zeros((3, 3))
        np.testing.assert_allclose(mixture.covariances[0, k], expected, atol=1e-6)


def test_weights_are_repeated_points():
    points = clouds(shapes=1, count=30, dtype=torch.float64)
    counts = torch.randint(0, 4, (30,), generator=torch.Generator().manual_seed(3))
    counts[0] = 1
    repeated = points[:, torch.repeat_interleave(torch.arange(30), counts)]
    weighted = fit_points(points, 6, init="farthest", weights=counts[None])
    plain = fit_points(repeated, 6, init="farthest")
    for ours, theirs in zip(weighted, plain, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_points_without_mass_do_not_exist():
    points = clouds(shapes=2, count=40)
    mass = torch.ones(2, 50)
    mass[:, 40:] = 0
    padded = torch.cat([points, torch.full((2, 10, 3), 1e4)], dim=1)
    for ours, theirs in zip(fit_points(padded, 5, weights=mass), fit_points(points, 5), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("method", "n"), [*((method, n) for method in FLAT for n in (1, 4, 16)), ("eckart", 5), ("eckart", 25)]
)
def test_degenerate_clouds(method, n):
    line = torch.linspace(0, 1, 10)[:, None] * torch.tensor([1.0, 2.0, -1.0])
    plane = clouds(shapes=1, count=10)[0] * torch.tensor([1.0, 1.0, 0.0])
    few = clouds(shapes=1, count=3)[0][torch.arange(10) % 3]
    far = torch.full((10, 3), 1e4)
    points = torch.stack([line, plane, few, far, torch.zeros(10, 3), line * 1e-8])
    mixture = fit_points(points, n, method)
    check_valid(mixture, 6, n, 3)
    if method in FLAT:
        torch.testing.assert_close((mixture.weights[..., None] * mixture.positions).sum(1), points.mean(1))
    # Well inside what float32 can invert, also where a direction has no extent at all.
    values = torch.linalg.eigvalsh(mixture.covariances.double())
    assert (values[..., 0] / values[..., -1]).min() > 1e-5


@pytest.mark.parametrize("method", ["kmeans", "kmeans_em", "fps"])
def test_more_gaussians_than_points(method):
    points = clouds(shapes=3, count=4)
    mixture = fit_points(points, 7, method, em_steps=0)
    check_valid(mixture, 3, 7, 3)
    assert ((mixture.weights > 0).sum(-1) == 4).all()
    # Those left over: at a real point, as large as the others.
    assert torch.cdist(mixture.positions, points).amin(-1).max() < 1e-5
    spare = mixture.weights == 0
    torch.testing.assert_close(mixture.covariances[spare][0], mixture.covariances[0, mixture.weights[0] > 0].mean(0))


def test_floor_is_relative_to_the_size():
    plane = clouds(shapes=1, count=200, dtype=torch.float64) * torch.tensor([1.0, 1.0, 0.0])
    for scale in (1e-3, 1.0, 1e4):
        mixture = fit_points(plane * scale, 4, covariance_floor=1e-3, em_steps=0)
        side = (plane.amax(1) - plane.amin(1)).max() * scale
        thin = torch.linalg.eigvalsh(mixture.covariances)[..., 0]
        torch.testing.assert_close(thin, torch.full_like(thin, 1e-3 * side.item() ** 2))


def test_similarity():
    points = clouds(dtype=torch.float64)
    base, moved = fit_points(points, 6), fit_points(points * 50 - 3, 6)
    torch.testing.assert_close(moved.weights, base.weights)
    torch.testing.assert_close(moved.positions, base.positions * 50 - 3)
    torch.testing.assert_close(moved.covariances, base.covariances * 2500)


def test_chunks_and_threads_change_nothing(monkeypatch):
    points = clouds(shapes=23, count=90)
    whole = fit_points(points, 8, seed=4)
    threads = torch.get_num_threads()
    try:
        for numbers in (90 * 8, 90 * 8 * 5):
            torch.set_num_threads(1 if numbers == 90 * 8 else 2)
            monkeypatch.setattr(module, "_CHUNK", numbers)
            done = []
            parts = fit_points(points, 8, seed=4, progress=done.append)
            assert sum(done) == 23
            assert done[0] == numbers // (90 * 8)
            for ours, theirs in zip(parts, whole, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("method", ["kmeans", "random_em", "points"])
def test_seeds(method):
    points = clouds()
    first, again, other = (fit_points(points, 8, method, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.positions, again.positions)
    assert not torch.allclose(first.positions, other.positions)


@pytest.mark.parametrize("method", ["kmeans", "random_em", "points"])
def test_a_shape_does_not_depend_on_the_others(method):
    points = clouds(shapes=7)
    whole = fit_points(points, 5, method, seed=4)
    parts = [fit_points(part, 5, method, seed=4) for part in points.split(3)]
    for column, expected in zip(zip(*parts, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(column), expected)


@pytest.mark.parametrize("init", ["random", "farthest"])
@pytest.mark.parametrize("dim", [2, 3])
def test_chosen_points_are_points_of_the_shape(init, dim):
    points = clouds(dim=dim) * 3 + 7
    mixture = fit_points(points, 50, "points", init=init, covariance_floor=1e-3)
    check_valid(mixture, 4, 50, dim)
    assert torch.equal(mixture.weights, torch.full((4, 50), 0.02))
    distances = torch.cdist(mixture.positions, points, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.amin(-1).max() < 1e-5
    assert all(len(row.unique()) == 50 for row in distances.argmin(-1)), "without replacement"
    side = (points.amax(1) - points.amin(1)).amax(-1)
    variance = 1e-3 * side.square()[:, None, None, None]
    torch.testing.assert_close(mixture.covariances, (variance * torch.eye(dim)).expand(-1, 50, -1, -1))


def test_chosen_points_have_mass():
    points = clouds(shapes=1, count=60)
    mass = (torch.arange(60) % 3 > 0).float()[None] * 2
    mass[0, 1] = 6
    mixture = fit_points(points, 40, "points", weights=mass)
    distances = torch.cdist(mixture.positions, points)[0].argmin(-1)
    assert torch.equal(distances.sort().values, mass[0].nonzero().squeeze(1))
    assert mixture.weights.max().item() == pytest.approx(3 * mixture.weights.min().item())


def test_methods_order_by_likelihood():
    """On surfaces EM is above k-means, and that above farthest points (figure 6)."""
    angle = torch.rand(3, 600, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([6.28, 3.14])
    ring = torch.stack([angle[..., 0].cos(), angle[..., 0].sin(), 0.3 * angle[..., 1]], -1)
    mass = torch.ones(3, 600)
    found = {method: log_likelihood(fit_points(ring, 25, method), ring, mass) for method in METHODS}
    assert (found["kmeans_em"] > found["kmeans"] + 0.1).all()
    assert (found["random_em"] > found["fps"]).all()
    assert (found["eckart"] > found["fps"]).all()
    assert (found["kmeans"] > found["fps"]).all()


def test_nodes_in_parts_change_nothing(monkeypatch):
    points = clouds(shapes=3, dtype=torch.float64)
    whole = fit_points(points, 125, "eckart")
    monkeypatch.setattr(hierarchical, "_CHUNK", 120 * 5 * 2)
    for ours, theirs in zip(fit_points(points, 125, "eckart"), whole, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("method", METHODS)
def test_the_least_floor_on_a_plane(method):
    plane = clouds(shapes=2, count=200, dtype=torch.float64) * torch.tensor([1.0, 1.0, 0.0])
    check_valid(fit_points(plane, 25, method, covariance_floor=1e-12), 2, 25, 3)


def test_on_a_device_without_compiled_steps(monkeypatch):
    """Other devices run the plain-torch twins."""
    points = clouds(shapes=3, dtype=torch.float64)
    expected = {method: fit_points(points, 25, method) for method in METHODS}
    for name in ("kmeans_plus_plus", "farthest_points", "lloyd"):
        monkeypatch.setattr(module.kmeans, name, getattr(reference, name))
    monkeypatch.setattr(module, "em", reference.em)
    monkeypatch.setattr(hierarchical, "em", reference.em)
    for method, mixture in expected.items():
        for ours, theirs in zip(fit_points(points, 25, method), mixture, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", METHODS)
def test_on_a_gpu(method):
    points = clouds(shapes=5, count=700, dtype=torch.float64)
    here, there = fit_points(points, 25, method), fit_points(points.cuda(), 25, method)
    for ours, theirs in zip(there, here, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-6, atol=1e-8)


def test_kmeans_has_smaller_clusters_than_fps():
    points = clouds(shapes=5, count=300, dtype=torch.float64)
    spread = {}
    for method in ("kmeans", "fps"):
        mixture = fit_points(points, 12, method, em_steps=0, covariance_floor=1e-9)
        trace = mixture.covariances.diagonal(dim1=-2, dim2=-1).sum(-1)
        spread[method] = (mixture.weights * trace).sum(-1)
    assert (spread["kmeans"] < 0.9 * spread["fps"]).all()


BAD = clouds()
BAD[2, 5, 1] = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "kmean"}, "fit_points: 'method' is 'kmean', but must be one of .*; did you mean 'kmeans'"),
        ({"init": "randon"}, "'init' is 'randon', but must be one of .*; did you mean 'random'"),
        ({"method": "random_em", "em_steps": 0}, "em_steps is 0; a random start is no fit"),
        ({"init": "random"}, "init is 'random', but 'kmeans' begins with clusters; EM .* is 'random_em'"),
        (
            {"method": "random_em", "iterations": 50},
            "iterations are those of k-means, which a random start does without",
        ),
        ({"method": "fps", "tolerance": 0.1}, "tolerance ends EM, of which em_steps: 0 takes no step"),
        ({"branching": 5}, "unknown option of the fit 'kmeans' 'branching'"),
        ({"method": "eckart", "n": 124}, "the number of Gaussians is 124; 'eckart' needs a power of its branching 5"),
        ({"method": "eckart", "n": 4, "branching": 1}, "'branching' is 1, but must be at least 2"),
        ({"method": "eckart", "n": 5, "partition_threshold": 0.2}, "partition_threshold is 0.2"),
        ({"method": "points", "n": 121, "names": list("abcd")}, "'a' has fewer than the 121 points"),
        ({"method": "points", "init": "kmeans++"}, "init is 'kmeans\\+\\+'.*'random' or 'farthest'"),
        ({"method": "points", "em_steps": 1}, "unknown option of the fit 'points' 'em_steps'"),
        ({"tolerance": -1.0}, "'tolerance' is -1.0"),
        ({"n": 0}, "'components' is 0"),
        ({"iterations": -1}, "'iterations' is -1"),
        ({"em_steps": -1}, "'em_steps' is -1"),
        ({"covariance_floor": 0.0}, "'covariance_floor' is 0.0"),
        ({"covariance_floor": 1e-18}, "'covariance_floor' is 1e-18, but must be at least 1e-12"),
        ({"covariance_floor": float("inf")}, "'covariance_floor' is inf"),
        ({"points": torch.zeros(4, 5, 4)}, r"shape \[4, 5, 4\]; they must be \[shapes, points, 2 or 3\]"),
        ({"points": torch.zeros(4, 0, 3)}, r"the clouds are empty: points have shape \[4, 0, 3\]"),
        ({"points": torch.zeros(4, 5, 3, dtype=torch.long)}, "must be float32 or float64"),
        ({"points": BAD, "names": list("abcd")}, "'c' has a coordinate or weight that is not finite"),
        ({"points": BAD}, "shape 2 has a coordinate or weight that is not finite"),
        ({"weights": torch.ones(4, 7)}, r"weights have shape \[4, 7\], the points \[4, 120, 3\]"),
        ({"weights": -torch.ones(4, 120)}, "shape 0 has a negative weight"),
        (
            {"weights": torch.tensor([[1.0]] * 3 + [[0.0]]) * torch.ones(120)},
            "shape 3 has no point of positive weight",
        ),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(InputError, match=message):
        fit_points(**({"points": clouds(), "n": 4} | change))


def test_a_fit_has_no_derivative_and_says_so():
    points, images = torch.randn(2, 40, 3), torch.rand(2, 5, 5)
    leaf = points.clone().requires_grad_()
    for use in (
        lambda: fit_points(leaf, 4),
        lambda: fit_points(points, 4, weights=torch.ones(2, 40, requires_grad=True)),
        lambda: fit_images(images.requires_grad_(), 4),
        lambda: torch.func.grad(lambda x: fit_points(x, 4).positions.sum())(points),
        lambda: torch.func.jvp(lambda x: fit_points(x, 4).positions, (points,), (points,)),
    ):
        with pytest.raises(InputError, match=r"are tracked by autograd, but a fit has no derivative; give \w+\.detach"):
            use()
    with torch.no_grad():
        assert not fit_points(leaf, 4).positions.requires_grad


def test_no_shapes_and_no_tensors():
    mixture = fit_points(clouds(0), 5)
    assert [list(tensor.shape) for tensor in mixture] == [[0, 5], [0, 5, 3], [0, 5, 3, 3]]
    with pytest.raises(InputError, match="points are ndarray; they must be a tensor"):
        fit_points(clouds().numpy(), 5)
