// relu_fit of a convolved mixture that is never stored: one task per mixture builds its components, fits and forgets
// them.
#include "../relu_fit/dense_fit.h"
#include "arguments.h"

namespace gmcn {

using convolved_fit::check;
using convolved_fit::source_of;

// New weights, and the values f and g at the centres, which the gradient needs; all [B, G, N F K].
std::tuple<Tensor, Tensor, Tensor> convolve_relu_fit(Tensor weights,             // [B, F, N]
                                                     Tensor positions,           // [B, F, N, D]
                                                     Tensor covariances,         // [B, F, N, D, D]
                                                     Tensor kernel_weights,      // [G, F, K]
                                                     Tensor kernel_positions,    // [G, F, K, D]
                                                     Tensor kernel_covariances,  // [G, F, K, D, D]
                                                     double offset, double s0, double s1, double cutoff) {
  const auto s = check(weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances);
  make_contiguous({&weights, &positions, &covariances, &kernel_weights, &kernel_positions, &kernel_covariances});
  const std::int64_t count = s.components();
  Tensor result = zeros_like_of(weights, {s.b, s.g, count}), f = zeros_like_of(weights, {s.b, s.g, count});
  Tensor g = zeros_like_of(weights, {s.b, s.g, count});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source =
        source_of<T, D>(s, weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances);
    T* const rows[] = {result.mutable_data_ptr<T>(), f.mutable_data_ptr<T>(), g.mutable_data_ptr<T>()};
    bad = run_tasks(s.mixtures(), [&](std::int64_t b) {
      DenseFit<T, D> fit({offset, s0, s1, cutoff});
      if (!fit.read(count, [&](std::int32_t i) { return source(b, i); })) return false;
      fit.forward(rows[0] + b * count, rows[1] + b * count, rows[2] + b * count);
      return true;
    });
  });
  check_positive_definite(bad);
  return {result, f, g};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> convolve_relu_fit_backward(
    Tensor gradient,  // [B, G, N F K], of the new weights
    Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_weights, Tensor kernel_positions,
    Tensor kernel_covariances,
    Tensor f,  // [B, G, N F K]
    Tensor g,  // [B, G, N F K]
    double offset, double s0, double s1, double cutoff) {
  const auto s = check(weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances);
  const std::int64_t count = s.components();
  for (const Tensor& tensor : {gradient, f, g}) check_shape(tensor, "gradient, f or g", {s.b, s.g, count});
  make_contiguous(
      {&gradient, &weights, &positions, &covariances, &kernel_weights, &kernel_positions, &kernel_covariances, &f, &g});
  Tensor w = empty_like_of(weights, {s.b, s.f, s.n}), p = empty_like_of(weights, {s.b, s.f, s.n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.f, s.n, s.d, s.d}), kw = empty_like_of(weights, {s.g, s.f, s.k});
  Tensor kp = empty_like_of(weights, {s.g, s.f, s.k, s.d}), kc = empty_like_of(weights, {s.g, s.f, s.k, s.d, s.d});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source =
        source_of<T, D>(s, weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances);
    const T* const rows[] = {gradient.const_data_ptr<T>(), f.const_data_ptr<T>(), g.const_data_ptr<T>()};
    ConvolvedGradients<T, D> gradients(s, source);
    bad = gradients.add([&](std::int64_t b, Gaussian<T, D>* result) {
      DenseFit<T, D> fit({offset, s0, s1, cutoff});
      if (!fit.read(count, [&](std::int32_t i) { return source(b, i); })) return false;
      fit.backward(rows[0] + b * count, rows[1] + b * count, rows[2] + b * count, result);
      return true;
    });
    gradients.write(rows_of<T, D>(w, p, c), rows_of<T, D>(kw, kp, kc));
  });
  check_positive_definite(bad);
  return {w, p, c, kw, kp, kc};
}

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("convolve_relu_fit", TORCH_BOX(&convolve_relu_fit));
  m.impl("convolve_relu_fit_backward", TORCH_BOX(&convolve_relu_fit_backward));
}

}  // namespace gmcn
