// TreeHEM on the CPU: one task per mixture. The backward pass makes the tree again instead of keeping it.
#include "reduction.h"
#include "sizes.h"

namespace gmcn {

using treehem::check;
using treehem::check_values;
using treehem::Sizes;

std::tuple<Tensor, Tensor, Tensor> reduce_treehem(Tensor weights,      // [B, N]
                                                  Tensor positions,    // [B, N, D]
                                                  Tensor covariances,  // [B, N, D, D]
                                                  std::int64_t n, std::int64_t t, double kl_threshold,
                                                  double virtual_samples) {
  const Sizes s = check(weights, positions, covariances, n, t);
  make_contiguous({&weights, &positions, &covariances});
  Tensor w = empty_like_of(weights, {s.b, n}), p = empty_like_of(weights, {s.b, n, s.d});
  Tensor c = empty_like_of(weights, {s.b, n, s.d, s.d});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source = stored<T, D>(weights, positions, covariances);
    const auto result = rows_of<T, D>(w, p, c);
    bad = run_tasks(s.b, [&](std::int64_t b) {
      Reduction<T, D> reduction(s.n, n, t, {T(kl_threshold), T(virtual_samples)});
      if (!reduction.read([&](std::int32_t i) { return source(b, i); })) return false;
      reduction.forward(result, b * n);
      return true;
    });
  });
  check_values(bad);
  return {w, p, c};
}

std::tuple<Tensor, Tensor, Tensor> reduce_treehem_backward(Tensor weights_gradient,      // [B, n]
                                                           Tensor positions_gradient,    // [B, n, D]
                                                           Tensor covariances_gradient,  // [B, n, D, D]
                                                           Tensor weights, Tensor positions, Tensor covariances,
                                                           std::int64_t n, std::int64_t t, double kl_threshold,
                                                           double virtual_samples) {
  const Sizes s = check(weights, positions, covariances, n, t);
  check_shape(weights_gradient, "weights_gradient", {s.b, n});
  check_shape(positions_gradient, "positions_gradient", {s.b, n, s.d});
  check_shape(covariances_gradient, "covariances_gradient", {s.b, n, s.d, s.d});
  make_contiguous({&weights_gradient, &positions_gradient, &covariances_gradient, &weights, &positions, &covariances});
  Tensor w = empty_like_of(weights, {s.b, s.n}), p = empty_like_of(weights, {s.b, s.n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.n, s.d, s.d});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source = stored<T, D>(weights, positions, covariances);
    const auto upstream = stored<T, D>(weights_gradient, positions_gradient, covariances_gradient);
    const auto result = rows_of<T, D>(w, p, c);
    bad = run_tasks(s.b, [&](std::int64_t b) {
      Reduction<T, D> reduction(s.n, n, t, {T(kl_threshold), T(virtual_samples)});
      if (!reduction.read([&](std::int32_t i) { return source(b, i); })) return false;
      std::vector<Gaussian<T, D>> gradients(s.n);
      reduction.backward(upstream, b * n, gradients.data());
      for (std::int64_t i = 0; i < s.n; ++i) result.write(b * s.n + i, gradients[i]);
      return true;
    });
  });
  check_values(bad);
  return {w, p, c};
}

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("reduce_treehem", TORCH_BOX(&reduce_treehem));
  m.impl("reduce_treehem_backward", TORCH_BOX(&reduce_treehem_backward));
}

}  // namespace gmcn
