// TreeHEM of a convolved mixture with weights of its own, which is never stored: what follows convolve_relu_fit.
#include "../reduce_treehem/reduction.h"
#include "../reduce_treehem/sizes.h"
#include "arguments.h"

namespace gmcn {

using convolved_treehem::check;
using convolved_treehem::source_of;

std::tuple<Tensor, Tensor, Tensor> convolve_reduce_treehem(Tensor weights,             // [B, G, N F K]
                                                           Tensor positions,           // [B, F, N, D]
                                                           Tensor covariances,         // [B, F, N, D, D]
                                                           Tensor kernel_positions,    // [G, F, K, D]
                                                           Tensor kernel_covariances,  // [G, F, K, D, D]
                                                           std::int64_t n, std::int64_t t, double kl_threshold,
                                                           double virtual_samples) {
  const auto s = check(weights, positions, covariances, kernel_positions, kernel_covariances, n, t);
  make_contiguous({&weights, &positions, &covariances, &kernel_positions, &kernel_covariances});
  const std::int64_t count = s.components();
  Tensor w = empty_like_of(weights, {s.b, s.g, n}), p = empty_like_of(weights, {s.b, s.g, n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.g, n, s.d, s.d});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source = source_of<T, D>(s, weights, positions, covariances, kernel_positions, kernel_covariances);
    const auto result = rows_of<T, D>(w, p, c);
    bad = run_tasks(s.mixtures(), [&](std::int64_t b) {
      Reduction<T, D> reduction(count, n, t, {T(kl_threshold), T(virtual_samples)});
      if (!reduction.read([&](std::int32_t i) { return source(b, i); })) return false;
      reduction.forward(result, b * n);
      return true;
    });
  });
  treehem::check_values(bad);
  return {w, p, c};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> convolve_reduce_treehem_backward(
    Tensor weights_gradient,      // [B, G, n]
    Tensor positions_gradient,    // [B, G, n, D]
    Tensor covariances_gradient,  // [B, G, n, D, D]
    Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_positions, Tensor kernel_covariances,
    std::int64_t n, std::int64_t t, double kl_threshold, double virtual_samples) {
  const auto s = check(weights, positions, covariances, kernel_positions, kernel_covariances, n, t);
  check_shape(weights_gradient, "weights_gradient", {s.b, s.g, n});
  check_shape(positions_gradient, "positions_gradient", {s.b, s.g, n, s.d});
  check_shape(covariances_gradient, "covariances_gradient", {s.b, s.g, n, s.d, s.d});
  make_contiguous({&weights_gradient, &positions_gradient, &covariances_gradient, &weights, &positions, &covariances,
                   &kernel_positions, &kernel_covariances});
  const std::int64_t count = s.components();
  Tensor w = empty_like_of(weights, {s.b, s.g, count}), p = empty_like_of(weights, {s.b, s.f, s.n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.f, s.n, s.d, s.d}), kp = empty_like_of(weights, {s.g, s.f, s.k, s.d});
  Tensor kc = empty_like_of(weights, {s.g, s.f, s.k, s.d, s.d});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source = source_of<T, D>(s, weights, positions, covariances, kernel_positions, kernel_covariances);
    const auto upstream = stored<T, D>(weights_gradient, positions_gradient, covariances_gradient);
    T* const of_weights = w.mutable_data_ptr<T>();
    ConvolvedGradients<T, D> gradients(s, source.source);
    bad = gradients.add([&](std::int64_t b, Gaussian<T, D>* result) {
      Reduction<T, D> reduction(count, n, t, {T(kl_threshold), T(virtual_samples)});
      if (!reduction.read([&](std::int32_t i) { return source(b, i); })) return false;
      reduction.backward(upstream, b * n, result);
      for (std::int64_t i = 0; i < count; ++i) of_weights[b * count + i] = result[i].weight;
      return true;
    });
    gradients.write({nullptr, p.mutable_data_ptr<T>(), c.mutable_data_ptr<T>()},
                    {nullptr, kp.mutable_data_ptr<T>(), kc.mutable_data_ptr<T>()});
  });
  treehem::check_values(bad);
  return {w, p, c, kp, kc};
}

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("convolve_reduce_treehem", TORCH_BOX(&convolve_reduce_treehem));
  m.impl("convolve_reduce_treehem_backward", TORCH_BOX(&convolve_reduce_treehem_backward));
}

}  // namespace gmcn
