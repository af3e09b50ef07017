// evaluate on the CPU: equation (2) at any points, and its gradient. Tasks are (mixture, slice) pairs.
#include <numeric>
#include <optional>

#include "operation.h"
#include "soa.h"

namespace gmcn {

namespace {

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
std::int64_t point_slices(std::int64_t b, std::int64_t m, double cutoff) {
  if (cutoff > 0) return std::clamp<std::int64_t>(m / 4096, 1, 16);  // what is left out depends on the slices
  const std::int64_t threads = torch::stable::get_num_threads();
  if (b % threads == 0 || b >= 4 * threads) return 1;
  return std::clamp<std::int64_t>(m / kPointPadding, 1, threads);
}

// How many slices the components of a mixture are cut into. Their gradients of the points are added up, so that this
// depends on sizes alone: results must not depend on threads.
std::int64_t component_slices(std::int64_t b, std::int64_t n, std::int64_t m) {
  constexpr std::int64_t kPairs = 1 << 19;
  if (b >= 8) return 1;
  return std::clamp<std::int64_t>(n * m / kPairs + 1, 1, std::clamp<std::int64_t>(n / 64, 1, 16));
}

struct Cpu {
  template <typename T, int D>
  static void forward(const Batch<Stored<T, D>>& mixtures,
                      const T* points,  // [B, M, D]
                      std::int64_t m, double cutoff,
                      T* values) {  // [B, M]
    const std::int64_t slices = point_slices(mixtures.b, m, cutoff), slice = (m + slices - 1) / slices;
    const std::int64_t bad = run_tasks(mixtures.b * slices, [&](std::int64_t task) {
      const std::int64_t b = task / slices, begin = std::min(m, task % slices * slice);
      const std::int64_t count = std::min(slice, m - begin);
      const auto gaussians = prepare_rows<T, D>(mixtures.source, b * mixtures.n, mixtures.n);
      if (!gaussians) return false;
      const Points<T, D> at(points + (b * m + begin) * D, count, cutoff);
      Arrays<T, 1> found(count);
      pair_kernels<T, D, 1>().evaluate(gaussians.get(), mixtures.n, at.x.rows, at.x.size, at.culling(), found.rows);
      T* const out = values + b * m + begin;
      if (at.order.empty())
        std::copy_n(found.rows[0], count, out);
      else
        for (std::int64_t i = 0; i < count; ++i) out[at.order[i]] = found.rows[0][i];
      return true;
    });
    check_positive_definite(bad < 0 ? bad : bad / slices);
  }

  // Slices are ranges of components.
  template <typename T, int D>
  static void backward(const Batch<Stored<T, D>>& mixtures,
                       const T* points,  // [B, M, D]
                       std::int64_t m, double cutoff,
                       const T* gradient,  // [B, M]
                       const Rows<T, D>& result,
                       T* of_points) {  // [B, M, D], zeros, or null
    const std::int64_t n = mixtures.n, slices = component_slices(mixtures.b, n, m), slice = (n + slices - 1) / slices;
    std::vector<std::optional<Arrays<T, D>>> partial(mixtures.b * slices);  // gradients of the points from each slice
    std::vector<std::vector<std::int32_t>> orders(mixtures.b);              // of the points, where they were sorted
    const std::int64_t bad = run_tasks(mixtures.b * slices, [&](std::int64_t task) {
      const std::int64_t b = task / slices, begin = b * n + std::min(n, task % slices * slice);
      const std::int64_t count = std::min(slice, (b + 1) * n - begin);
      const auto gaussians = prepare_rows<T, D>(mixtures.source, begin, count);
      if (!gaussians) return false;
      Points<T, D> at(points + b * m * D, m, cutoff);
      Arrays<T, D> x_gradients(of_points ? m : 0);
      Arrays<T, 1> upstream(m);
      for (std::int64_t i = 0; i < m; ++i) upstream.rows[0][i] = gradient[b * m + at.place(i)];
      const auto sums = unfilled<PairSums<T, D, 1>>(count);
      const auto& kernels = pair_kernels<T, D, 1>();
      (of_points ? kernels.backward : kernels.backward_of_gaussians)(
          gaussians.get(), count, at.x.rows, at.x.size, at.culling(), upstream.rows, sums.get(), x_gradients.rows);
      for (std::int64_t i = 0; i < count; ++i) {
        T weight_gradient;
        Gaussian<T, D> g = component_gradient<T, D, 1>(gaussians[i], sums[i], &weight_gradient);
        g.weight = weight_gradient;
        result.write(begin + i, g);
      }
      if (task % slices == 0) orders[b] = std::move(at.order);
      partial[task] = std::move(x_gradients);
      return true;
    });
    check_positive_definite(bad < 0 ? bad : bad / slices);
    if (!of_points) return;
    run_tasks(mixtures.b, [&](std::int64_t b) {
      for (std::int64_t k = 0; k < slices; ++k)
        for (int d = 0; d < D; ++d)
          for (std::int64_t i = 0; i < m; ++i)
            of_points[(b * m + (orders[b].empty() ? i : orders[b][i])) * D + d] -=
                T(kLn2Times2) * partial[b * slices + k]->rows[d][i];
      return true;
    });
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("evaluate", TORCH_BOX(&Evaluate<Cpu>::forward));
  m.impl("evaluate_backward", TORCH_BOX(&Evaluate<Cpu>::backward));
}

}  // namespace gmcn
