"""Fits in any dimension: against scikit-learn, against themselves, and on what breaks other packages."""

from __future__ import annotations

import concurrent.futures
import multiprocessing

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture as Sklearn

from gmcn import GaussianMixture
from gmcn.errors import InputError
from gmcn.fitting import MixtureEstimator, fit_gmm
from gmcn.fitting.gmm import expectation
from gmcn.fitting.gmm.low_rank import LowRankFamily
from gmcn.fitting.gmm.shares import by_torch
from gmcn.mixture import Diagonal, Full, LowRank

FAMILIES = {"full": "full", "diagonal": "diag", "spherical": "spherical"}  # with scikit-learn's names
ALL = [*FAMILIES, "low-rank"]  # of 4 factors, or of all dimensions but one
METHODS = ["em", "sgd", "kmeans"]


def clouds(points: int = 600, dim: int = 6, groups: int = 3, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    """Points of well separated Gaussians with correlations, in random order."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    labels = torch.randint(groups, (points,), generator=generator)
    roots, means = normal(groups, dim, dim) / 2, 4 * normal(groups, dim)
    return (means[labels] + (roots[labels] @ normal(points, dim, 1))[..., 0]).to(dtype)


def estimator(n: int = 3, *arguments, **options) -> MixtureEstimator:
    return MixtureEstimator(n, *arguments, **{"tolerance": 0, "iterations": 8, **options})


def mean_log_prob(mixture: GaussianMixture, x: torch.Tensor) -> torch.Tensor:
    return mixture.log_prob(x).mean(-1)


def same(one: GaussianMixture, other: GaussianMixture, **tolerances) -> None:
    """Equal weights, means and covariances."""
    torch.testing.assert_close(one.weights, other.weights, **tolerances)
    torch.testing.assert_close(one.means, other.means, **tolerances)
    torch.testing.assert_close(one.covariance.dense(), other.covariance.dense(), **tolerances)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dim", "n"), [(1, 2), (5, 3), (12, 4)])
def test_em_is_that_of_scikit_learn(family, dim, n):
    x = clouds(dim=dim, groups=n)
    start = estimator(n, covariance=family, iterations=1).fit(x).mixture
    first = start.to_sklearn(FAMILIES[family])
    theirs = Sklearn(n, covariance_type=FAMILIES[family], max_iter=12, tol=0, reg_covar=1e-5)
    theirs.set_params(weights_init=first.weights_, means_init=first.means_, precisions_init=first.precisions_)
    theirs.fit(x.numpy())
    ours = estimator(n, covariance=family, iterations=12, floor=1e-5, flooring="add", start=start).fit(x)
    assert mean_log_prob(ours.mixture, x).item() == pytest.approx(theirs.score(x.numpy()), rel=1e-9)
    same(ours.mixture, GaussianMixture.from_sklearn(theirs), rtol=1e-6, atol=1e-8)
    assert ours.report.log_likelihood[-1].item() == pytest.approx(theirs.lower_bound_, rel=1e-6)


def test_convergence_is_decided_as_scikit_learn_decides():
    x = clouds(groups=4)
    start = estimator(3, covariance="full", iterations=1).fit(x).mixture
    first = start.to_sklearn("full")
    theirs = Sklearn(3, max_iter=500, tol=1e-4, reg_covar=1e-6, weights_init=first.weights_, means_init=first.means_)
    theirs.set_params(precisions_init=first.precisions_).fit(x.numpy())
    ours = MixtureEstimator(3, iterations=500, tolerance=1e-4, flooring="add", start=start).fit(x)
    assert ours.report.converged
    assert ours.report.iterations.item() == theirs.n_iter_ == len(ours.report.log_likelihood)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", ALL)
def test_no_iteration_of_em_lowers_the_likelihood(family, dtype):
    x = clouds(groups=5, dtype=dtype)
    found = torch.stack(estimator(4, covariance=family, iterations=40).fit(x).report.log_likelihood)
    assert (found.diff() > (-1e-5 if dtype == torch.float32 else -1e-10)).all()
    assert found[-1] > found[0]


@pytest.mark.parametrize("rank", [5, 6])
def test_low_rank_of_all_but_one_dimension_is_full(rank):
    x = clouds(points=2000)
    full = estimator(iterations=20).fit(x).mixture
    low = estimator(covariance="low-rank", rank=rank, iterations=20).fit(x).mixture
    assert isinstance(low.covariance, LowRank)
    assert low.covariance.rank == rank
    same(low, full, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("options", [{"covariance": "diagonal"}, {"covariance": "low-rank"}, {"method": "kmeans"}])
@pytest.mark.parametrize(("offset", "deviation"), [(10, 0.01), (100, 0.1)])
def test_thin_components_far_out_keep_their_variances_in_float32(options, offset, deviation):
    generator = torch.Generator().manual_seed(0)
    signs = torch.tensor([-1.0, 1.0]).repeat_interleave(500)[:, None]
    x = (signs * offset + deviation * torch.randn(1000, 12, generator=generator)).float()
    options = {"covariance": "diagonal"} | options
    found, expected = fit_gmm(x, 2, **options, seed=1), fit_gmm(x.double(), 2, **options, seed=1)
    variances = found.covariance.dense().double().diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(variances, expected.covariance.dense().diagonal(dim1=-2, dim2=-1), rtol=1e-3, atol=0)
    assert found.to(torch.float64).log_prob(x.double()).mean() == pytest.approx(
        expected.log_prob(x.double()).mean().item(), abs=0.1
    )


def test_factors_that_cannot_be_solved_for_name_their_component():
    family = LowRankFamily(1e-6, "clip", 2)
    sums = {
        "moments": torch.rand(2, 1 + 2 * 4),
        "crossed": torch.rand(2, 5, 2),
        "products": 4 * torch.eye(2).repeat(2, 1, 1),
    }
    sums["crossed"][1] = sums["products"][1] = 0  # no spread of the factors
    _, _, factor = family.solve({name: part.double() for name, part in sums.items()}, torch.ones(2).double())
    assert factor[1].isnan().all()
    assert factor[0].isfinite().all()


def test_low_rank_finds_the_factors_that_made_the_points():
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    z = torch.randn(5000, 2, generator=generator, dtype=torch.float64)
    x = z @ true.mT + 0.5 * torch.randn(5000, 20, generator=generator, dtype=torch.float64)
    found = fit_gmm(x, 1, covariance="low-rank", rank=2, iterations=200, tolerance=1e-7).covariance
    torch.testing.assert_close((found.factor @ found.factor.mT)[0], true @ true.mT, rtol=0.1, atol=0.15)
    torch.testing.assert_close(found.std[0], torch.full_like(found.std[0], 0.5), rtol=0.05, atol=0)


@pytest.mark.parametrize("family", ALL)
def test_weights_are_repeated_points(family):
    x = clouds(points=200)
    often = torch.arange(200) % 4  # also never
    start = estimator(covariance=family, iterations=1).fit(x).mixture
    weighted = estimator(covariance=family, start=start).fit(x, often)
    repeated = estimator(covariance=family, start=start).fit(x.repeat_interleave(often, 0))
    same(weighted.mixture, repeated.mixture, rtol=1e-8, atol=1e-10)
    values = zip(weighted.report.log_likelihood, repeated.report.log_likelihood, strict=True)
    assert all(torch.allclose(*pair, rtol=1e-10) for pair in values)


@pytest.mark.parametrize("method", METHODS)
def test_points_of_mass_zero_do_not_exist(method):
    x = clouds(points=300)
    far = torch.cat([x, torch.full((50, 6), 1e3, dtype=x.dtype)])
    mass = torch.cat([torch.ones(300), torch.zeros(50)])
    fitted = estimator(method=method, batch_size=350 if method == "sgd" else None).fit(far, mass)
    assert fitted.mixture.means.abs().max() < 50
    assert mean_log_prob(fitted.mixture, x) > -13


@pytest.mark.parametrize("rank", [2, 3])
def test_gradients_keep_as_many_factors_as_dimensions(rank):
    x = clouds(dim=3)
    mixture = fit_gmm(x, 3, "sgd", covariance="low-rank", rank=rank, iterations=30)
    assert isinstance(mixture.covariance, LowRank)
    assert mixture.covariance.rank == rank
    assert mean_log_prob(mixture, x) > mean_log_prob(fit_gmm(x, 3), x) - 0.3


@pytest.mark.parametrize("method", METHODS)
def test_equal_masses_change_nothing(method):
    x = clouds()
    masses = estimator(method=method).fit(x, torch.ones(600)).mixture
    same(estimator(method=method).fit(x).mixture, masses, rtol=0, atol=0)


def test_clusters_that_leave_no_distance_have_converged():
    report = MixtureEstimator(2, "kmeans").fit(torch.full((30, 3), 2.5)).report
    assert report.converged
    assert report.iterations == 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ALL)
def test_every_problem_of_a_batch_is_fitted_by_itself(family, method):
    if (family, method) == ("low-rank", "kmeans"):
        pytest.skip("k-means has no factors")
    x = torch.stack([clouds(seed=0), 10 * clouds(seed=1), clouds(seed=2) + 100]).reshape(3, 1, 600, 6)
    options = {"covariance": family, "method": method, "tolerance": 1e-2, "iterations": 40, "batch_size": None}
    together = estimator(**options).fit(x)
    assert together.mixture.batch_shape == (3, 1)
    for place in range(3):
        alone = estimator(**options).fit(x[place, 0])
        if method != "sgd":  # whose scale differs: the same up to rounding at first, then steps tell them apart
            assert together.report.iterations[place, 0] == alone.report.iterations
            same(together.mixture[place, 0], alone.mixture, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(
            mean_log_prob(together.mixture, x)[place, 0], mean_log_prob(alone.mixture, x[place, 0]), rtol=0, atol=1e-3
        )


@pytest.mark.parametrize("family", ALL)
def test_tiles_change_nothing(family, monkeypatch):
    x = clouds()
    whole = estimator(covariance=family).fit(x)
    monkeypatch.setattr(expectation, "TILE", 1000)  # of 30 to 60 points
    tiled = estimator(covariance=family).fit(x)
    same(whole.mixture, tiled.mixture, rtol=1e-9, atol=1e-10)


def test_k_means_is_that_of_scikit_learn():
    x = clouds(groups=6)
    start = estimator(6, covariance="diagonal", iterations=1).fit(x).mixture
    ours = estimator(6, "kmeans", covariance="diagonal", start=start, iterations=100).fit(x)
    theirs = KMeans(6, init=start.means.numpy(), n_init=1, max_iter=100, tol=0).fit(x.numpy())
    torch.testing.assert_close(ours.mixture.means, torch.from_numpy(theirs.cluster_centers_), rtol=1e-9, atol=1e-9)
    assert -ours.report.log_likelihood[-1].item() == pytest.approx(theirs.inertia_ / len(x), rel=1e-9)
    shares = torch.bincount(torch.from_numpy(theirs.labels_).long()).double() / len(x)
    torch.testing.assert_close(ours.mixture.weights, shares)


@pytest.mark.parametrize("family", ALL)
def test_the_start_may_be_random_or_given(family):
    x = clouds()
    random = estimator(covariance=family, start="random", iterations=60).fit(x)
    first, other = (
        estimator(covariance=family, start="random", iterations=1, seed=seed).fit(x).mixture.means for seed in (0, 1)
    )
    assert not torch.equal(first, other)
    again = estimator(covariance=family, start=random.mixture).fit(x)
    assert mean_log_prob(again.mixture, x) >= mean_log_prob(random.mixture, x) - 1e-9
    same(random.mixture, estimator(covariance=family, start="random", iterations=60).fit(x).mixture, rtol=0, atol=0)


def test_progress_and_report_say_what_happened():
    x, seen = clouds(), []
    fitted = estimator(n=3).fit(x, progress=lambda iteration, value: seen.append((iteration, value.item())))
    assert [iteration for iteration, _ in seen] == list(range(1, 9))
    assert [value for _, value in seen] == [value.item() for value in fitted.report.log_likelihood]
    assert not fitted.report.converged
    assert fitted.report.empty == fitted.report.dying == fitted.report.identical == fitted.report.floored == 0


def test_the_floor_is_clipped_or_added():
    x = clouds()
    for family, kind in (("full", Full), ("diagonal", Diagonal), ("spherical", Diagonal)):
        clipped = fit_gmm(x, 3, covariance=family, floor=0.5, iterations=20)
        assert isinstance(clipped.covariance, kind)
        assert torch.linalg.eigvalsh(clipped.covariance.dense()).min() >= 0.5 - 1e-12
        added = fit_gmm(x, 1, covariance=family, floor=0.5, flooring="add", iterations=20)
        plain = fit_gmm(x, 1, covariance=family, floor=1e-9, iterations=20)
        eye = torch.eye(6, dtype=x.dtype) / 2
        torch.testing.assert_close(added.covariance.dense(), plain.covariance.dense() + eye)


# What users of other packages complain of.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("flooring", ["clip", "add"])
@pytest.mark.parametrize("family", ALL)
class TestHardData:
    def fitted(self, x: torch.Tensor, n: int, family: str, flooring: str, mass=None) -> MixtureEstimator:
        found = estimator(n, covariance=family, flooring=flooring, iterations=15).fit(x, mass)
        mixture = found.mixture
        assert mixture.means.dtype == x.dtype
        assert mixture.means.isfinite().all()
        assert mixture.log_prob(x).isfinite().all()
        return found

    def test_singular_covariances(self, family, flooring, dtype):
        x = clouds(dim=2, dtype=dtype) @ torch.randn(2, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
        assert self.fitted(x, 3, family, flooring).report.empty == 0

    def test_about_as_many_points_as_dimensions(self, family, flooring, dtype):
        self.fitted(clouds(points=41, dim=40, groups=1, dtype=dtype), 2, family, flooring)

    def test_duplicates(self, family, flooring, dtype):
        x = clouds(points=4, dtype=dtype).repeat(50, 1)  # four places for six components
        report = self.fitted(x, 6, family, flooring).report
        assert report.identical + report.empty + report.dying >= 2

    def test_one_point(self, family, flooring, dtype):
        found = self.fitted(clouds(points=1, dtype=dtype), 1, family, flooring).mixture
        torch.testing.assert_close(found.means, clouds(points=1, dtype=dtype))

    def test_constant_columns(self, family, flooring, dtype):
        x = clouds(dtype=dtype)
        x[:, 2] = 7.0
        report = self.fitted(x, 3, family, flooring).report
        assert report.floored == (0 if family == "spherical" else 3)

    def test_huge_offsets(self, family, flooring, dtype):
        x = clouds(dtype=dtype) + (1e5 if dtype == torch.float32 else 1e9)
        near = (x - x[0]).double()
        far, whole = self.fitted(x, 3, family, flooring), self.fitted(near, 3, family, flooring)
        tolerance = 0.02 if dtype == torch.float32 else 1e-4
        torch.testing.assert_close(
            far.mixture.covariance.dense().double(), whole.mixture.covariance.dense(), rtol=tolerance, atol=tolerance
        )

    def test_weights_that_are_zero(self, family, flooring, dtype):
        x = clouds(dtype=dtype)
        mass = torch.zeros(600)
        mass[:5] = 1e-3
        self.fitted(x, 3, family, flooring, mass)


def test_empty_and_identical_components_are_counted():
    x = clouds(points=100, dim=2, groups=1)
    means = torch.stack([x.mean(0), x.mean(0), torch.full_like(x[0], 1e4)])
    start = GaussianMixture(torch.zeros(3, dtype=x.dtype), means, Diagonal(torch.ones_like(means)))
    fitted = estimator(3, covariance="diagonal", start=start).fit(x)
    assert (fitted.report.empty, fitted.report.identical, fitted.report.dying) == (1, 1, 0)
    assert fitted.mixture.weights[2] == 0
    assert torch.equal(fitted.mixture.means[2], means[2])
    start = GaussianMixture(
        torch.zeros(3, dtype=x.dtype), means, Diagonal(torch.tensor([[1.0], [2], [3e3]]).double().expand(3, 2))
    )
    report = estimator(3, covariance="diagonal", start=start, iterations=1).fit(x).report
    assert (report.empty, report.dying) == (0, 1)


def _fit_in_a_process(seed: int) -> list[float]:
    torch.set_num_threads(2)
    return fit_gmm(clouds(seed=seed), 3, iterations=10).means.flatten().tolist()


def test_two_processes_at_once():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        found = list(pool.map(_fit_in_a_process, [3, 4]))
    for seed, means in zip((3, 4), found, strict=True):
        expected = fit_gmm(clouds(seed=seed), 3, iterations=10).means.flatten()
        torch.testing.assert_close(torch.tensor(means, dtype=torch.float64), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", ["em", "kmeans"])
def test_numbers_too_large_name_component_and_iteration(method):
    x = 1e30 * clouds(dim=12, dtype=torch.float32)
    with pytest.raises(InputError, match=r"component \d of problem \[0\] is not finite after iteration 1: the points"):
        (fitted := estimator(2, method, covariance="diagonal")).fit(x[None])
    assert fitted.mixture.means.isfinite().all()  # those before the iteration


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n": 0}, "'n' is 0, but must be at least 1"),
        ({"method": "newton"}, "'method' is 'newton'"),
        ({"covariance": "banded"}, "'covariance' is 'banded'"),
        ({"floor": 0.0}, "'floor' is 0.0, but must be greater than 0"),
        ({"rank": 2}, "rank belongs to low-rank covariances"),
        ({"covariance": "low-rank", "rank": 9}, "rank is 9, but must be at most the 6 dimensions"),
        ({"steps": 3}, "'steps'"),
        ({"start": "middle"}, "start is 'middle'"),
        ({"method": "kmeans", "batch_size": 9}, "k-means takes all points at a time"),
        ({"method": "kmeans", "covariance": "low-rank"}, "k-means gives no factors"),
        ({"method": "sgd", "flooring": "add"}, "sgd adds no floor to full covariances"),
        ({"n": 601}, "601 components need as many points, and there are 600"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(options, sentence):
    with pytest.raises(InputError, match=r"^fit_gmm: ") as error:
        MixtureEstimator(**{"n": 3, **options}).fit(clouds())
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("x", "weights", "sentence"),
    [
        (torch.zeros(5), None, r"points have shape \[5\]"),
        (torch.zeros(5, 0), None, r"points have shape \[5, 0\]"),
        (torch.zeros(5, 2, dtype=torch.int32), None, "points are torch.int32"),
        ([[0.0, 1.0]], None, "points are list; they must be a tensor"),
        (torch.zeros(5, 2).double().numpy(), None, "points are ndarray; they must be a tensor of float32 or float64"),
        (torch.zeros(5, 2), [1.0] * 5, "weights are list; they must be a tensor"),
        (torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]), None, r"point at \[1\] has a coordinate that is not finite"),
        (torch.zeros(5, 2), torch.ones(4), r"weights have shape \[4\]"),
        (torch.zeros(5, 2), -torch.ones(5), r"the weight at \[0\] is negative or not finite"),
        (torch.zeros(5, 2), torch.zeros(5), "1 components need as many points, and there are 0 of positive weight"),
        (torch.zeros(5, 2, requires_grad=True), None, "no derivative"),
    ],
)
def test_points_that_cannot_be_fitted_are_one_sentence(x, weights, sentence):
    with pytest.raises(InputError, match=sentence):
        fit_gmm(x, 1, weights=weights)


def test_starts_and_streams_that_do_not_fit_are_one_sentence():
    x = clouds()
    diagonal = fit_gmm(x, 3, covariance="diagonal")
    with pytest.raises(InputError, match="start has 3 components in 6 dimensions; it must have 2 in 6"):
        fit_gmm(x, 2, covariance="diagonal", start=diagonal)
    with pytest.raises(InputError, match="Diagonal, not LowRank"):
        fit_gmm(x, 3, covariance="low-rank", start=diagonal)
    with pytest.raises(InputError, match=r"in 6 dimensions for problems \[2\]; the points have \[\]"):
        fit_gmm(x, 3, covariance="diagonal", start=diagonal.expand(2))
    stream = estimator()
    with pytest.raises(InputError, match="nothing is fitted yet"):
        stream.mixture  # noqa: B018
    stream.partial_fit(x)
    with pytest.raises(InputError, match=r"a batch of torch.float64 \[600, 4\] .* does not continue a stream"):
        stream.partial_fit(x[:, :4])
    with pytest.raises(InputError, match="k-means takes no streams"):
        estimator(3, "kmeans").partial_fit(x)


@pytest.mark.parametrize("family", ALL)
def test_other_devices_compute_the_same(family, monkeypatch):
    x = clouds(dim=12)
    here = estimator(covariance=family).fit(x)
    monkeypatch.setattr(expectation, "share_out", by_torch)
    same(here.mixture, estimator(covariance=family).fit(x).mixture, rtol=1e-9, atol=1e-10)


def test_a_learning_rate_that_leads_nowhere_is_one_sentence():
    with pytest.raises(InputError, match=r"component \d+ is not finite after iteration 1: .* lower the learning_rate"):
        estimator(2, "sgd", covariance="diagonal", learning_rate=1e30).fit(clouds())


@pytest.mark.parametrize("family", ALL)
def test_autocast_rounds_no_fit(family):
    x = clouds(dim=20, dtype=torch.float32)
    expected = estimator(covariance=family).fit(x).mixture
    with torch.autocast("cpu", torch.bfloat16):
        same(estimator(covariance=family).fit(x).mixture, expected, rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_default_device_changes_nothing(method):
    x, options = clouds(), {"batch_size": 200 if method != "kmeans" else None}
    expected = estimator(3, method, **options).fit(x).mixture
    with torch.device("meta"):
        same(estimator(3, method, **options).fit(x).mixture, expected, rtol=0, atol=0)
