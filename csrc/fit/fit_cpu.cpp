// Fitting mixtures to points on the CPU: starts of k-means, Lloyd's iterations, expectation maximisation. One task per
// shape, so that results do not depend on the number of threads. float64 throughout; points of mass 0 do not exist.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "../common/mixtures.h"
#include "../evaluate/soa.h"
#include "steps.h"

namespace gmcn {

namespace {

constexpr double kEmptyMass = 1e-12;   // a component below this share of the mass has no shape of its own
constexpr double kCoincident = 1e-24;  // squared distance from which on a point is not just off its centre by rounding

struct Sizes {
  std::int64_t s, m, d;
};

Sizes check(const Tensor& points, const Tensor& mass) {
  STD_TORCH_CHECK(points.dim() == 3 && points.scalar_type() == torch::headeronly::ScalarType::Double,
                  "fit: expected points [S, M, D] in float64");
  const Sizes sizes{points.size(0), points.size(1), points.size(2)};
  check_shape(mass, "mass", {sizes.s, sizes.m});
  check_count(sizes.m, "fit");
  return sizes;
}

template <typename F>
void in_dimension(std::int64_t d, const F& f) {
  STD_TORCH_CHECK(d == 2 || d == 3, "expected points in 2 or 3 dimensions");
  d == 2 ? f(std::integral_constant<int, 2>()) : f(std::integral_constant<int, 3>());
}

// The points of one shape that have mass, one array per coordinate and one of masses, padded as steps.h wants it.
template <int D>
struct Cloud {
  Cloud(const double* points, const double* mass, std::int64_t m, bool sorted)
      : arrays(choose(points, mass, m, sorted)) {
    for (std::int64_t k = 0; k < arrays.size && size(); ++k) {
      const std::int32_t from = kept[std::min<std::int64_t>(k, size() - 1)];
      for (int d = 0; d < D; ++d) arrays.rows[d][k] = points[from * D + d];
      arrays.rows[D][k] = k < size() ? mass[from] : 0;
    }
  }
  std::int64_t choose(const double* points, const double* mass, std::int64_t m, bool sorted) {
    for (std::int64_t i = 0; i < m; ++i)
      if (mass[i] > 0) kept.push_back(static_cast<std::int32_t>(i));
    // Neighbours in a block: most components are far from all of them.
    if (sorted) sort_by_morton_code<double, D>(kept, [&](std::int32_t i) { return points + std::int64_t{i} * D; });
    return size();
  }
  std::int64_t size() const { return static_cast<std::int64_t>(kept.size()); }
  const double* const* x() const { return arrays.rows; }
  const double* mass() const { return arrays.rows[D]; }
  double coordinate(std::int64_t k, int d) const { return arrays.rows[d][k]; }

  std::vector<std::int32_t> kept;  // before the arrays: filled while those are made
  Arrays<double, D + 1> arrays;
};

// An index drawn with probability proportional to the density: the first whose cumulative sum exceeds `uniform` of it.
std::int64_t draw(const std::vector<double>& density, double uniform, std::vector<double>& cumulative) {
  std::partial_sum(density.begin(), density.end(), cumulative.begin());
  const auto found = std::upper_bound(cumulative.begin(), cumulative.end(), uniform * cumulative.back());
  std::int64_t index = std::min<std::int64_t>(found - cumulative.begin(), std::ssize(density) - 1);
  while (index > 0 && !(density[index] > 0)) --index;  // rounding can put the target onto the end
  return index;
}

// Sums of the masses and of mass times position over each cluster, and the means; those of empty clusters stay.
template <int D>
void means(const Cloud<D>& cloud, const std::vector<double>& assignment, std::vector<double>& centres) {
  const std::int64_t n = std::ssize(centres) / D;
  std::vector<double> sums(n * (D + 1), 0.0);
  for (std::int64_t k = 0; k < cloud.size(); ++k) {
    double* const sum = sums.data() + static_cast<std::int64_t>(assignment[k]) * (D + 1);
    const double mass = cloud.mass()[k];
    for (int d = 0; d < D; ++d) sum[d] += mass * cloud.coordinate(k, d);
    sum[D] += mass;
  }
  std::vector<std::int64_t> empty;
  std::vector<double> previous;
  for (std::int64_t j = 0; j < n; ++j)
    if (!(sums[j * (D + 1) + D] > 0)) empty.push_back(j);
  if (!empty.empty()) previous = centres;
  for (std::int64_t j = 0; j < n; ++j)
    for (int d = 0; d < D; ++d)
      if (sums[j * (D + 1) + D] > 0) centres[j * D + d] = sums[j * (D + 1) + d] / sums[j * (D + 1) + D];
  if (empty.empty()) return;
  // The j-th empty one moves to the j-th farthest point, unless that lies on its centre.
  std::vector<double> distance(cloud.size());
  for (std::int64_t k = 0; k < cloud.size(); ++k)
    for (int d = 0; d < D; ++d) {
      const double offset = cloud.coordinate(k, d) - previous[static_cast<std::int64_t>(assignment[k]) * D + d];
      distance[k] += offset * offset;
    }
  std::vector<std::int64_t> order(cloud.size());
  std::iota(order.begin(), order.end(), 0);
  const std::int64_t count = std::min(std::ssize(empty), std::ssize(order));
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](std::int64_t a, std::int64_t b) {
    return distance[a] != distance[b] ? distance[a] > distance[b] : a < b;
  });
  for (std::int64_t j = 0; j < count && distance[order[j]] > kCoincident; ++j)
    for (int d = 0; d < D; ++d) centres[empty[j] * D + d] = cloud.coordinate(order[j], d);
}

// A mixture during EM. Components that lost their mass are no longer among the active.
template <int D>
class Em {
 public:
  Em(const Cloud<D>& cloud, std::vector<Gaussian<double, D>> start, double floor)
      : cloud_(cloud), mixture_(std::move(start)), floor_(floor) {
    scratch_.resize(mixture_.size() * kEmBlock);
  }

  // One step from the current mixture; its log-likelihood, or not-a-number where a covariance is not positive definite.
  double step() {
    components_.clear(), active_.clear();
    for (std::size_t j = 0; j < mixture_.size(); ++j) {
      const Gaussian<double, D>& g = mixture_[j];
      if (!(g.weight > 0)) continue;
      EmComponent<D> c;
      if (!whiten<double, D>(g.position, g.covariance, c.gaussian)) return std::nan("");
      c.log2_weight = std::log2(g.weight * c.gaussian.scale);
      components_.push_back(c), active_.push_back(j);
    }
    sums_.resize(components_.size());
    const double bound = step_kernels<D>().expect(components_.data(), std::ssize(components_), cloud_.x(),
                                                  cloud_.mass(), cloud_.arrays.size, scratch_.data(), sums_.data());
    double total = 0;
    for (std::size_t k = 0; k < active_.size(); ++k) total += maximise(sums_[k], mixture_[active_[k]]);
    for (const std::size_t j : active_) mixture_[j].weight /= total;
    return bound / kLog2E;
  }

  // The mixture, those without mass with the average covariance.
  const std::vector<Gaussian<double, D>>& result() {
    double average[kPacked<D>] = {};
    for (const auto& g : mixture_)
      if (g.weight > 0) add_scaled<double, D>(g.weight, g.covariance, average);
    for (auto& g : mixture_)
      if (!(g.weight > 0)) std::copy_n(average, kPacked<D>, g.covariance);
    return mixture_;
  }

 private:
  // The new component from its sums; its mass.
  double maximise(const EmSums<D>& sums, Gaussian<double, D>& g) const {
    if (!(sums.mass > kEmptyMass)) return g.weight = 0;
    double shift[D];
    g.weight = sums.mass;
    for (int d = 0; d < D; ++d) shift[d] = sums.first[d] / sums.mass, g.position[d] += shift[d];
    for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] = sums.second[p] / sums.mass;
    add_outer<double, D>(-1.0, shift, g.covariance);
    for (int d = 0; d < D; ++d) g.covariance[packed<D>(d, d)] += floor_;
    return g.weight;
  }

  const Cloud<D>& cloud_;
  std::vector<Gaussian<double, D>> mixture_;
  double floor_;
  std::vector<EmComponent<D>> components_;
  std::vector<std::size_t> active_;
  std::vector<EmSums<D>> sums_;
  std::vector<double> scratch_;
};

}  // namespace

// Points to start k-means from. See gmcn/fitting/kmeans.py.
Tensor kmeans_start(Tensor points,   // [S, M, D]
                    Tensor mass,     // [S, M]
                    Tensor uniform,  // [S, N]
                    bool farthest) {
  const Sizes s = check(points, mass);
  check_shape(uniform, "uniform", {s.s, uniform.size(1)});
  make_contiguous({&points, &mass, &uniform});
  const std::int64_t n = uniform.size(1);
  Tensor chosen = empty_indices_of(points, {s.s, n});
  const double *x = points.const_data_ptr<double>(), *w = mass.const_data_ptr<double>();
  const double* const u = uniform.const_data_ptr<double>();
  std::int64_t* const out = chosen.mutable_data_ptr<std::int64_t>();
  in_dimension(s.d, [&](auto dimension) {
    constexpr int D = dimension;
    run_tasks(s.s, [&](std::int64_t i) {
      const Cloud<D> cloud(x + i * s.m * D, w + i * s.m, s.m, false);
      const std::int64_t count = cloud.size();
      if (count == 0) return std::fill_n(out + i * n, n, 0), true;
      Arrays<double, 1> distance(count);
      std::fill_n(distance.rows[0], distance.size, std::numeric_limits<double>::infinity());
      std::vector<double> weight(cloud.mass(), cloud.mass() + count), cumulative(count);
      if (farthest) std::fill(weight.begin(), weight.end(), 1.0);
      std::vector<double> density = weight;
      for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t pick = farthest ? std::max_element(density.begin(), density.end()) - density.begin()
                                           : draw(density, u[i * n + k], cumulative);
        out[i * n + k] = cloud.kept[pick];
        double centre[D];
        for (int d = 0; d < D; ++d) centre[d] = cloud.coordinate(pick, d);
        step_kernels<D>().approach(centre, cloud.x(), distance.size, distance.rows[0]);
        double most = 0;
        for (std::int64_t m = 0; m < count; ++m) {
          density[m] = distance.rows[0][m] * weight[m];
          most = std::max(most, density[m]);
        }
        // All points are picked already (fewer distinct ones than n): start again, as duplicates with no mass.
        if (!(most > 0)) density = weight;
      }
      return true;
    });
  });
  return chosen;
}

// Lloyd's iterations: centres [S, N, D] and assignment [S, M].
std::tuple<Tensor, Tensor> lloyd(Tensor points,   // [S, M, D]
                                 Tensor mass,     // [S, M]
                                 Tensor centres,  // [S, N, D]
                                 std::int64_t iterations) {
  const Sizes s = check(points, mass);
  const std::int64_t n = centres.size(1);
  check_shape(centres, "centres", {s.s, n, s.d});
  make_contiguous({&points, &mass, &centres});
  Tensor result = empty_like_of(points, {s.s, n, s.d}), assignments = empty_indices_of(points, {s.s, s.m});
  const double *x = points.const_data_ptr<double>(), *w = mass.const_data_ptr<double>();
  const double* const start = centres.const_data_ptr<double>();
  double* const to = result.mutable_data_ptr<double>();
  std::int64_t* const out = assignments.mutable_data_ptr<std::int64_t>();
  in_dimension(s.d, [&](auto dimension) {
    constexpr int D = dimension;
    run_tasks(s.s, [&](std::int64_t i) {
      const Cloud<D> cloud(x + i * s.m * D, w + i * s.m, s.m, false);
      std::vector<double> at(start + i * n * D, start + (i + 1) * n * D);
      std::vector<double> assignment(cloud.arrays.size), next(cloud.arrays.size);
      const auto& kernels = step_kernels<D>();
      kernels.nearest(at.data(), n, cloud.x(), cloud.arrays.size, assignment.data());
      for (std::int64_t k = 0; k < iterations; ++k) {
        means<D>(cloud, assignment, at);
        kernels.nearest(at.data(), n, cloud.x(), cloud.arrays.size, next.data());
        const bool same = std::equal(next.begin(), next.begin() + cloud.size(), assignment.begin());
        assignment.swap(next);
        if (same) break;
      }
      std::copy(at.begin(), at.end(), to + i * n * D);
      std::fill_n(out + i * s.m, s.m, 0);
      for (std::int64_t k = 0; k < cloud.size(); ++k)
        out[i * s.m + cloud.kept[k]] = static_cast<std::int64_t>(assignment[k]);
      return true;
    });
  });
  return {result, assignments};
}

// EM from a mixture: the fitted one, its steps [S], and the log-likelihood [S] before the last of them.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> em(Tensor points,       // [S, M, D]
                                                      Tensor mass,         // [S, M], sums are 1
                                                      Tensor weights,      // [S, N]
                                                      Tensor positions,    // [S, N, D]
                                                      Tensor covariances,  // [S, N, D, D]
                                                      double floor, std::int64_t most, double tolerance) {
  const Sizes s = check(points, mass);
  const std::int64_t n = weights.size(1);
  const MixtureTensors start(weights, positions, covariances);
  start.check(Shape{s.s, n}, s.d);
  make_contiguous({&points, &mass});
  const MixtureTensors fitted(weights, {s.s, n}, s.d);
  Tensor steps = zeros_like_of(weights, {s.s}), likelihood = zeros_like_of(weights, {s.s});
  const double *x = points.const_data_ptr<double>(), *w = mass.const_data_ptr<double>();
  double *const taken = steps.mutable_data_ptr<double>(), *const bound = likelihood.mutable_data_ptr<double>();
  std::int64_t bad = -1;
  in_dimension(s.d, [&](auto dimension) {
    constexpr int D = dimension;
    const auto source = start.stored<double, D>();
    const auto rows = fitted.rows<double, D>();
    bad = run_tasks(s.s, [&](std::int64_t i) {
      const Cloud<D> cloud(x + i * s.m * D, w + i * s.m, s.m, true);
      std::vector<Gaussian<double, D>> components(n);
      for (std::int64_t j = 0; j < n; ++j) components[j] = source(i, static_cast<std::int32_t>(j));
      Em<D> fit(cloud, std::move(components), floor);
      double before = -std::numeric_limits<double>::infinity();
      for (std::int64_t k = 0; k < most; ++k) {
        const double now = fit.step();
        if (std::isnan(now)) return false;
        taken[i] = static_cast<double>(k + 1), bound[i] = now;
        if (tolerance > 0 && now - before < tolerance) break;
        before = now;
      }
      const auto& result = fit.result();
      for (std::int64_t j = 0; j < n; ++j) rows.write(i * n + j, result[j]);
      return true;
    });
  });
  require(bad < 0, "EM: a covariance of shape ", bad, " is not positive definite; raise covariance_floor");
  return std::tuple_cat(fitted.tuple(), std::tuple(steps, likelihood));
}

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("kmeans_start", TORCH_BOX(&kmeans_start));
  m.impl("lloyd", TORCH_BOX(&lloyd));
  m.impl("em", TORCH_BOX(&em));
}

}  // namespace gmcn
