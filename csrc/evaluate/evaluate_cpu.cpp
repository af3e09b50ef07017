// evaluate on the CPU: equation (2) at any points, and its gradient. Tasks are (mixture, slice) pairs.
#include <numeric>
#include <optional>

#include "../common/tensors.h"
#include "soa.h"

namespace gmcn {

namespace {

struct Sizes {
  std::int64_t b, n, m, d;
};

Sizes check(const Tensor& weights, const Tensor& positions, const Tensor& covariances, const Tensor& points) {
  STD_TORCH_CHECK(weights.dim() == 2 && points.dim() == 3, "evaluate: expected weights [B, N] and points [B, M, D]");
  const Sizes s{weights.size(0), weights.size(1), points.size(1), points.size(2)};
  check_shape(positions, "positions", {s.b, s.n, s.d});
  check_shape(covariances, "covariances", {s.b, s.n, s.d, s.d});
  check_shape(points, "points", {s.b, s.m, s.d});
  return s;
}

// Points in the order in which they are visited: along a Morton curve where far pairs are left out.
template <typename T, int D>
struct Points {
  Points(const T* points, std::int64_t count, double cutoff) : x(count) {
    if (cutoff > 0) {
      check_count(count, "evaluate");
      order.resize(count);
      std::iota(order.begin(), order.end(), 0);
      sort_by_morton_code<T, D>(order, [&](std::int32_t m) { return points + m * D; });
    }
    for (int d = 0; d < D; ++d) {
      if (order.empty())
        for (std::int64_t m = 0; m < count; ++m) x.rows[d][m] = points[m * D + d];
      else
        for (std::int64_t m = 0; m < count; ++m) x.rows[d][m] = points[order[m] * D + d];
      // Padding repeats a real point: another place could overflow.
      std::fill(x.rows[d] + count, x.rows[d] + x.size, count ? x.rows[d][count - 1] : T(0));
    }
    if (cutoff > 0) boxes.emplace(x, pair_kernels<T, D, 1>().group, cutoff);
  }
  std::int64_t place(std::int64_t m) const { return order.empty() ? m : order[m]; }
  const Culling<T, D>* culling() const { return boxes ? boxes->culling() : nullptr; }

  Arrays<T, D> x;
  std::vector<std::int32_t> order;
  std::optional<Boxes<T, D>> boxes;
};

// Rows of stored components from `begin` on, prepared; null where one is not positive definite.
template <typename T, int D>
std::unique_ptr<WeightedGaussian<T, D, 1>[]> prepare_rows(const Stored<T, D>& source, std::int64_t begin,
                                                          std::int64_t count) {
  const auto rows = unfilled<Gaussian<T, D>>(count);
  for (std::int64_t i = 0; i < count; ++i) rows[i] = source.at(begin + i);
  auto result = unfilled<WeightedGaussian<T, D, 1>>(count);
  const T* const weights[] = {source.weights + begin};
  if (!pair_kernels<T, D, 1>().prepare(rows.get(), weights, count, result.get())) result.reset();
  return result;
}

// How many slices the points of a mixture are cut into. A point's exact value does not depend on that, but every
// slice prepares all Gaussians again: only what gives each thread the same work.
std::int64_t point_slices(const Sizes& s, double cutoff) {
  if (cutoff > 0) return std::clamp<std::int64_t>(s.m / 4096, 1, 16);  // what is left out depends on the slices
  const std::int64_t threads = torch::stable::get_num_threads();
  if (s.b % threads == 0 || s.b >= 4 * threads) return 1;
  return std::clamp<std::int64_t>(s.m / kPointPadding, 1, threads);
}

// How many slices the components of a mixture are cut into. Their gradients of the points are added up, so that this
// depends on sizes alone: results must not depend on threads.
std::int64_t component_slices(const Sizes& s) {
  constexpr std::int64_t kPairs = 1 << 19;
  if (s.b >= 8) return 1;
  return std::clamp<std::int64_t>(s.n * s.m / kPairs + 1, 1, std::clamp<std::int64_t>(s.n / 64, 1, 16));
}

}  // namespace

Tensor evaluate(Tensor weights,      // [B, N]
                Tensor positions,    // [B, N, D]
                Tensor covariances,  // [B, N, D, D]
                Tensor points,       // [B, M, D]
                double cutoff) {
  const Sizes s = check(weights, positions, covariances, points);
  make_contiguous({&weights, &positions, &covariances, &points});
  Tensor result = empty_like_of(weights, {s.b, s.m});
  const std::int64_t slices = point_slices(s, cutoff), slice = (s.m + slices - 1) / slices;
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const Stored<T, D> source = stored<T, D>(weights, positions, covariances);
    bad = run_tasks(s.b * slices, [&](std::int64_t task) {
      const std::int64_t b = task / slices, begin = std::min(s.m, task % slices * slice);
      const std::int64_t count = std::min(slice, s.m - begin);
      const auto gaussians = prepare_rows<T, D>(source, b * s.n, s.n);
      if (!gaussians) return false;
      const Points<T, D> at(points.const_data_ptr<T>() + (b * s.m + begin) * D, count, cutoff);
      Arrays<T, 1> values(count);
      pair_kernels<T, D, 1>().evaluate(gaussians.get(), s.n, at.x.rows, at.x.size, at.culling(), values.rows);
      T* const out = result.mutable_data_ptr<T>() + b * s.m + begin;
      if (at.order.empty())
        std::copy_n(values.rows[0], count, out);
      else
        for (std::int64_t m = 0; m < count; ++m) out[at.order[m]] = values.rows[0][m];
      return true;
    });
  });
  check_positive_definite(bad < 0 ? bad : bad / slices);
  return result;
}

// Gradients with respect to weights, positions, covariances and, if wanted, points (else empty); slices are ranges of
// components.
std::tuple<Tensor, Tensor, Tensor, Tensor> evaluate_backward(Tensor gradient,  // [B, M]
                                                             Tensor weights, Tensor positions, Tensor covariances,
                                                             Tensor points, double cutoff, bool points_gradient) {
  const Sizes s = check(weights, positions, covariances, points);
  check_shape(gradient, "gradient", {s.b, s.m});
  make_contiguous({&gradient, &weights, &positions, &covariances, &points});
  Tensor weights_out = empty_like_of(weights, {s.b, s.n}), positions_out = empty_like_of(weights, {s.b, s.n, s.d});
  Tensor covariances_out = empty_like_of(weights, {s.b, s.n, s.d, s.d});
  Tensor points_out = zeros_like_of(weights, {points_gradient ? s.b : 0, s.m, s.d});
  const std::int64_t slices = component_slices(s), slice = (s.n + slices - 1) / slices;
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const Stored<T, D> source = stored<T, D>(weights, positions, covariances);
    const Rows<T, D> gradients = rows_of<T, D>(weights_out, positions_out, covariances_out);
    std::vector<std::optional<Arrays<T, D>>> partial(s.b * slices);  // gradients of the points from each slice
    std::vector<std::vector<std::int32_t>> orders(s.b);              // of the points, where they were sorted
    bad = run_tasks(s.b * slices, [&](std::int64_t task) {
      const std::int64_t b = task / slices, begin = b * s.n + std::min(s.n, task % slices * slice);
      const std::int64_t count = std::min(slice, (b + 1) * s.n - begin);
      const auto gaussians = prepare_rows<T, D>(source, begin, count);
      if (!gaussians) return false;
      Points<T, D> at(points.const_data_ptr<T>() + b * s.m * D, s.m, cutoff);
      Arrays<T, D> x_gradients(points_gradient ? s.m : 0);
      Arrays<T, 1> upstream(s.m);
      const T* const gradient_in = gradient.const_data_ptr<T>() + b * s.m;
      for (std::int64_t m = 0; m < s.m; ++m) upstream.rows[0][m] = gradient_in[at.place(m)];
      const auto sums = unfilled<PairSums<T, D, 1>>(count);
      const auto& kernels = pair_kernels<T, D, 1>();
      (points_gradient ? kernels.backward : kernels.backward_of_gaussians)(
          gaussians.get(), count, at.x.rows, at.x.size, at.culling(), upstream.rows, sums.get(), x_gradients.rows);
      for (std::int64_t i = 0; i < count; ++i) {
        T weight_gradient;
        Gaussian<T, D> g = component_gradient<T, D, 1>(gaussians[i], sums[i], &weight_gradient);
        g.weight = weight_gradient;
        gradients.write(begin + i, g);
      }
      if (task % slices == 0) orders[b] = std::move(at.order);
      partial[task] = std::move(x_gradients);
      return true;
    });
    if (bad >= 0 || !points_gradient) return;
    T* out = points_out.mutable_data_ptr<T>();
    run_tasks(s.b, [&](std::int64_t b) {
      for (std::int64_t k = 0; k < slices; ++k)
        for (int d = 0; d < D; ++d)
          for (std::int64_t m = 0; m < s.m; ++m)
            out[(b * s.m + (orders[b].empty() ? m : orders[b][m])) * D + d] -=
                T(kLn2Times2) * partial[b * slices + k]->rows[d][m];
      return true;
    });
  });
  check_positive_definite(bad < 0 ? bad : bad / slices);
  return {weights_out, positions_out, covariances_out, points_out};
}

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("evaluate", TORCH_BOX(&evaluate));
  m.impl("evaluate_backward", TORCH_BOX(&evaluate_backward));
}

}  // namespace gmcn
