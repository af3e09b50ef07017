// TreeHEM on the CPU: one task per mixture. The backward pass makes the tree again instead of keeping it.
#include "reduction.h"
#include "sizes.h"

namespace gmcn {

namespace {

using treehem::check;
using treehem::Sizes;

void check_values(std::int64_t bad_mixture) {
  require(bad_mixture < 0, "reduce_treehem: mixture ", bad_mixture,
          " (leading dimensions flattened) has a negative weight, a covariance that is not positive definite, "
          "or a value that is not finite");
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> reduce_treehem(Tensor weights,      // [B, N]
                                                  Tensor positions,    // [B, N, D]
                                                  Tensor covariances,  // [B, N, D, D]
                                                  std::int64_t n, std::int64_t t, double kl_threshold,
                                                  double virtual_samples) {
  const Sizes s = check(weights, positions, covariances, n, t);
  weights = torch::stable::contiguous(weights), positions = torch::stable::contiguous(positions);
  covariances = torch::stable::contiguous(covariances);
  Tensor w = empty_like_of(weights, {s.b, n}), p = empty_like_of(weights, {s.b, n, s.d});
  Tensor c = empty_like_of(weights, {s.b, n, s.d, s.d});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    bad = run_tasks(s.b, [&](std::int64_t b) {
      Reduction<T, D> reduction(s.n, n, t, {T(kl_threshold), T(virtual_samples)});
      if (!reduction.read(weights.const_data_ptr<T>() + b * s.n, positions.const_data_ptr<T>() + b * s.n * D,
                          covariances.const_data_ptr<T>() + b * s.n * D * D))
        return false;
      reduction.fit();
      reduction.write(w.mutable_data_ptr<T>() + b * n, p.mutable_data_ptr<T>() + b * n * D,
                      c.mutable_data_ptr<T>() + b * n * D * D);
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
  for (Tensor* tensor :
       {&weights_gradient, &positions_gradient, &covariances_gradient, &weights, &positions, &covariances})
    *tensor = torch::stable::contiguous(*tensor);
  Tensor w = zeros_like_of(weights, {s.b, s.n}), p = zeros_like_of(weights, {s.b, s.n, s.d});
  Tensor c = zeros_like_of(weights, {s.b, s.n, s.d, s.d});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    bad = run_tasks(s.b, [&](std::int64_t b) {
      Reduction<T, D> reduction(s.n, n, t, {T(kl_threshold), T(virtual_samples)});
      if (!reduction.read(weights.const_data_ptr<T>() + b * s.n, positions.const_data_ptr<T>() + b * s.n * D,
                          covariances.const_data_ptr<T>() + b * s.n * D * D))
        return false;
      reduction.fit();
      reduction.backward(weights_gradient.const_data_ptr<T>() + b * n,
                         positions_gradient.const_data_ptr<T>() + b * n * D,
                         covariances_gradient.const_data_ptr<T>() + b * n * D * D, w.mutable_data_ptr<T>() + b * s.n,
                         p.mutable_data_ptr<T>() + b * s.n * D, c.mutable_data_ptr<T>() + b * s.n * D * D);
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
