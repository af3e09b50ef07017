"""The likelihood of points on each level of trees of Gaussians, along the path of each point's likeliest component."""

from __future__ import annotations

import math

import pytest
import torch

import gmcn.ops
from gmcn.mixture.covariance import Full
from gmcn.mixture.density import GaussianMixture
from gmcn.mixture.families import Frame
from gmcn.mixture.tree import MixtureTree

from . import checks
from .compiled import compiled
from .workload import random_points, random_rotation

DIMS = pytest.mark.parametrize("dim", [2, 3])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
SIZES = pytest.mark.parametrize("sizes", [(1,), (130,), (1, 1, 3), (3, 3), (2, 4, 12), (8, 32, 128)], ids=str)


def inputs(sizes, dim, points=100, batch=2, thinnest=0.2, seed=0):
    """Children lie around their parent, and are half as large; no whitener is triangular."""
    generator = torch.Generator().manual_seed(seed)
    kind = {"generator": generator, "dtype": torch.float64}
    parts, above = [], torch.zeros(batch, 1, dim, dtype=torch.float64)
    for level, size in enumerate(sizes):
        extent = 0.5**level
        above = above.repeat_interleave(size // above.shape[1], 1)
        above = above + 1.5 * extent * torch.randn(batch, size, dim, **kind)
        deviations = extent * (thinnest + torch.rand(batch, size, dim, **kind))
        whiteners = random_rotation(dim, shape=(batch, size), generator=generator) / deviations[..., None]
        parts.append((torch.randn(batch, size, **kind) - deviations.log().sum(-1), above, whiteners))
    heights, means, whiteners = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    tensors = random_points((batch,), points, dim, seed + 1), heights, means, whiteners
    return [tensor.float().double() for tensor in tensors]


def of(sizes):
    return lambda ops, *tensors: ops.tree_log_prob(*tensors, sizes)


@DIMS
@SIZES
@pytest.mark.parametrize("points", [1, 100])
def test_budget(sizes, dim, points):
    checks.assert_budget(of(sizes), inputs(sizes, dim, points))


@DIMS
@SIZES
@pytest.mark.parametrize("points", [1, 17, 300])
def test_twin(sizes, dim, points):
    checks.assert_twins(of(sizes), inputs(sizes, dim, points), 1e-11)


@DIMS
def test_budget_of_thin_components(dim):
    checks.assert_budget(of((4, 16)), inputs((4, 16), dim, thinnest=1e-3))


@DIMS
@pytest.mark.parametrize("points", [4096, 4097, 9000])
def test_many_points_are_computed_in_slices(dim, points):
    checks.assert_twins(of((3, 6)), inputs((3, 6), dim, points, batch=1), 1e-10)


def test_sums_of_many_slices_are_kept_some_at_a_time():
    checks.assert_twins(of((3, 6)), inputs((3, 6), 2, 4100, batch=65), 1e-10)


@DIMS
@pytest.mark.parametrize("sizes", [(3,), (2, 4, 8)], ids=str)
def test_gradcheck(ops, sizes, dim):
    checks.assert_gradcheck(ops, of(sizes), inputs(sizes, dim, 5))


@pytest.mark.parametrize("sizes", [(30,), (2, 8, 32)], ids=str)
def test_deterministic(sizes):
    checks.assert_deterministic(of(sizes), inputs(sizes, 3, 5000, batch=3))


@pytest.mark.parametrize("sizes", [(30,), (2, 8, 32)], ids=str)
def test_strides_do_not_matter(sizes):
    checks.assert_strides_do_not_matter(of(sizes), inputs(sizes, 3))


@pytest.mark.parametrize("sizes", [[3], [2, 4, 8]], ids=str)
def test_opcheck(sizes):
    tensors = inputs(sizes, 3, 5)
    checks.opcheck("tree_log_prob", *(tensor.requires_grad_() for tensor in tensors), sizes)


def test_opcheck_of_the_gradient():
    tensors, sizes = inputs((2, 4, 8), 2, 5), [2, 4, 8]
    values, *kept = torch.ops.gmcn.tree_log_prob(*tensors, sizes)
    checks.opcheck("tree_log_prob_backward", torch.randn_like(values), *tensors, *kept, sizes)


@pytest.mark.parametrize(("batch", "points"), [(0, 5), (2, 0), (0, 0)])
@pytest.mark.parametrize("sizes", [(3,), (2, 4)], ids=str)
def test_empty(ops, batch, points, sizes):
    tensors = [tensor.requires_grad_() for tensor in inputs(sizes, 3, points, batch)]
    values = ops.tree_log_prob(*tensors, sizes)
    assert values.shape == (batch, points, len(sizes))
    for tensor, gradient in zip(tensors, torch.autograd.grad(values.sum(), tensors), strict=True):
        assert torch.equal(gradient, torch.zeros_like(tensor))


def mixture(heights, means, whiteners):
    """The density whose components have these heights, up to a constant for each mixture, which comes second."""
    dim = means.shape[-1]
    covariances = torch.linalg.inv(whiteners.mT @ whiteners)
    logits = heights + torch.linalg.slogdet(covariances)[1] / 2 + dim / 2 * math.log(2 * math.pi)
    found = GaussianMixture(logits, means, Full.from_dense(covariances))
    return found, logits.logsumexp(-1)


@DIMS
def test_one_level_is_the_density_of_a_mixture(dim):
    points, *components = inputs((50,), dim)
    density, constant = mixture(*components)
    found = compiled.tree_log_prob(points, *components, (50,))[..., 0]
    torch.testing.assert_close(found, density.log_prob(points) + constant[:, None], rtol=1e-9, atol=1e-9)


@DIMS
def test_the_hard_path_of_a_tree(dim):
    """With covariances in frames, and weights among siblings, as PointGMM has them."""
    sizes, generator = (4, 8, 32), torch.Generator().manual_seed(3)
    points, heights, means, _ = inputs(sizes, dim)
    deviations = 0.2 + torch.rand(means.shape, generator=generator, dtype=torch.float64)
    axes = random_rotation(dim, shape=means.shape[:-1], generator=generator)
    levels, within, above = [], [], 1
    for logits, mean, deviation, frame in zip(
        *(tensor.split(sizes, 1) for tensor in (heights, means, deviations, axes)), strict=True
    ):
        levels.append(GaussianMixture(logits, mean, Frame(frame, deviation.square())))
        within.append(logits.unflatten(-1, (above, -1)).log_softmax(-1).flatten(-2))
        above = logits.shape[1]
    scores = torch.cat(within, 1) - deviations.log().sum(-1) - dim / 2 * math.log(2 * math.pi)
    whiteners = axes.mT / deviations[..., None]
    found = compiled.tree_log_prob(points, scores, means, whiteners, sizes)
    expected = MixtureTree.from_siblings(levels).hard_path_log_prob(points)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@DTYPES
def test_a_component_without_a_height_has_no_part_in_anything(ops, dtype):
    """Whatever the rest of it says; and points all of whose candidates are dead have a gradient of zero."""
    sizes, tensors = (2, 4, 12), [tensor.to(dtype) for tensor in inputs((2, 4, 12), 3, 40)]
    _, heights, means, whiteners = tensors
    heights[0, 2:4] = -math.inf  # all children of the first component
    heights[1, :2] = -math.inf  # the whole first level
    heights[1, 10] = -math.inf
    means[1, 10], whiteners[1, 10] = math.nan, math.inf
    leaves = [tensor.requires_grad_() for tensor in tensors]
    values = ops.tree_log_prob(*leaves, sizes)
    assert values[0, :, 0].isfinite().all()
    assert (values[0, :, 1] == -math.inf).any()
    assert values[0, :, 1].isfinite().any()
    assert (values[1, :, 0] == -math.inf).all()
    assert values[1, :, 1].isfinite().all()
    gradients = torch.autograd.grad(values.sum(), leaves)
    assert all(gradient.isfinite().all() for gradient in gradients)
    for gradient in gradients[1:]:
        assert not gradient[0, 2:4].any()
        assert not gradient[1, :2].any()
        assert not gradient[1, 10].any()
    only_dead = torch.autograd.grad(ops.tree_log_prob(*leaves, sizes)[1, :, 0].sum(), leaves)
    assert not any(gradient.any() for gradient in only_dead)


@DTYPES
def test_dead_components_beside_the_twin(dtype):
    sizes, tensors = (8, 32), inputs((8, 32), 3, 200)
    tensors[1][torch.rand(tensors[1].shape, generator=torch.Generator().manual_seed(2)) < 0.5] = -math.inf
    results = []
    for ops in (compiled, gmcn.ops.reference):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors]
        values = ops.tree_log_prob(*leaves, sizes)
        results.append([values, *torch.autograd.grad(values.sum(), leaves)])
    eps = torch.finfo(dtype).eps
    for one, other in zip(*results, strict=True):
        scale = float(other.detach()[other.isfinite()].abs().max())
        torch.testing.assert_close(one, other, rtol=0, atol=1e3 * eps * scale)


@DTYPES
def test_far_points(dtype):
    """A density that is zero by itself has a logarithm; where even that overflows it is -inf without a gradient."""
    tensors = [tensor.to(dtype) for tensor in inputs((3, 6), 3, 4)]
    huge = 1e25 if dtype == torch.float32 else 1e200
    tensors[0][:, 0], tensors[0][:, 1], tensors[0][:, 2] = 1e3, -1e6, huge
    leaves = [tensor.requires_grad_() for tensor in tensors]
    values = compiled.tree_log_prob(*leaves, (3, 6))
    expected = gmcn.ops.reference.tree_log_prob(*leaves, (3, 6))
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=0)
    assert (values[:, 2] == -math.inf).all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(values.sum(), leaves))


def test_what_is_not_a_number_stays_with_its_point():
    tensors = inputs((3, 6), 3, 50)
    expected = compiled.tree_log_prob(*tensors, (3, 6))
    tensors[0][0, 7, 1] = math.nan
    values = compiled.tree_log_prob(*tensors, (3, 6))
    assert values[0, 7].isnan().all()
    others = torch.ones(2, 50, dtype=torch.bool)
    others[0, 7] = False
    torch.testing.assert_close(values[others], expected[others])


def test_of_equal_components_the_first_is_the_ancestor(ops):
    """They tie at every point; only the children of the first are near."""
    means = torch.tensor([0.0, 0.0, 0.0, 100.0])[None, :, None].expand(1, 4, 2)
    tensors = torch.zeros(1, 3, 2), torch.zeros(1, 4), means, torch.eye(2).expand(1, 4, 2, 2)
    found = ops.tree_log_prob(*tensors, (2, 2))[0]
    torch.testing.assert_close(found, torch.tensor([math.log(2), 0.0]).expand(3, 2), rtol=1e-6, atol=1e-6)


def test_no_second_derivative():
    checks.assert_no_second_derivative(of((2, 4)), inputs((2, 4), 2, 3))


def test_a_graph_without_breaks():
    tensors = inputs((2, 4), 3, 5)

    def total(*tensors):
        return gmcn.ops.tree_log_prob(*tensors, (2, 4)).square().sum()

    torch._dynamo.reset()
    whole = torch.compile(total, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(whole(*tensors), total(*tensors))


BAD = [
    (0, lambda tensor: tensor[..., :1], r"points must be \[B, M, 2\] or \[B, M, 3\], got \[2, 5, 1\]"),
    (0, lambda tensor: tensor.half(), "points must be float32 or float64, got torch.float16"),
    (1, lambda tensor: tensor[:1], r"heights \[1, 6\] do not fit points \[2, 5, 3\]: expected \[B, N\]"),
    (1, lambda tensor: tensor.float(), "heights .* and points .* must have the same dtype and device"),
    (2, lambda tensor: tensor[:, 1:], r"means \[2, 5, 3\] do not fit heights \[2, 6\] .*: expected \[2, 6, 3\]"),
    (3, lambda tensor: tensor[..., 0], r"whiteners \[2, 6, 3\] do not fit .*: expected \[2, 6, 3, 3\]"),
]


@pytest.mark.parametrize(("place", "change", "message"), BAD)
def test_what_does_not_fit_is_refused(place, change, message):
    tensors = inputs((2, 4), 3, 5)
    tensors[place] = change(tensors[place])
    with pytest.raises(ValueError, match=message):
        gmcn.ops.tree_log_prob(*tensors, (2, 4))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((), r"sizes \[\] must add up to the 6 components"),
        ((2, 3), r"sizes\[1\] must be a multiple of the size before, 2, got 3"),
        ((4, 2), r"sizes\[1\] must be a multiple of the size before, 4, got 2"),
        ((5,), r"sizes \[5\] must add up to the 6 components of heights"),
        ((0, 6), r"sizes\[0\] must be a positive integer, got 0"),
        ((2.0, 4), r"sizes\[0\] must be a positive integer, got 2.0"),
    ],
)
def test_sizes_that_are_no_levels_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        gmcn.ops.tree_log_prob(*inputs((2, 4), 3, 5), sizes)


def test_a_path_that_leads_nowhere_is_refused():
    tensors = inputs((2, 4), 3, 5)
    values, best, totals, path = torch.ops.gmcn.tree_log_prob(*tensors, [2, 4])
    with pytest.raises(RuntimeError, match="a path ends at no component"):
        torch.ops.gmcn.tree_log_prob_backward(values, *tensors, best, totals, path + 2, [2, 4])
