// relu_fit on the CPU. One task per mixture.
#include "../common/tensors.h"
#include "dense_fit.h"

namespace gmcn {

namespace {

struct Sizes {
  std::int64_t b, n, d;
};

Sizes check(const Tensor& weights, const Tensor& positions, const Tensor& covariances) {
  STD_TORCH_CHECK(weights.dim() == 2 && positions.dim() == 3,
                  "relu_fit: expected weights [B, N] and positions [B, N, D]");
  const Sizes s{weights.size(0), weights.size(1), positions.size(2)};
  check_shape(positions, "positions", {s.b, s.n, s.d});
  check_shape(covariances, "covariances", {s.b, s.n, s.d, s.d});
  check_count(s.n, "relu_fit");
  return s;
}

}  // namespace

// New weights, and the values f and g at the centres, which the gradient needs (zero where they were not computed).
std::tuple<Tensor, Tensor, Tensor> relu_fit(Tensor weights,      // [B, N]
                                            Tensor positions,    // [B, N, D]
                                            Tensor covariances,  // [B, N, D, D]
                                            double offset, double s0, double s1, double cutoff) {
  const Sizes s = check(weights, positions, covariances);
  make_contiguous({&weights, &positions, &covariances});
  Tensor result = zeros_like_of(weights, {s.b, s.n}), f = zeros_like_of(weights, {s.b, s.n});
  Tensor g = zeros_like_of(weights, {s.b, s.n});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source = stored<T, D>(weights, positions, covariances);
    T* const rows[] = {result.mutable_data_ptr<T>(), f.mutable_data_ptr<T>(), g.mutable_data_ptr<T>()};
    bad = run_tasks(s.b, [&](std::int64_t b) {
      DenseFit<T, D> fit({offset, s0, s1, cutoff});
      if (!fit.read(s.n, [&](std::int32_t i) { return source(b, i); })) return false;
      fit.forward(rows[0] + b * s.n, rows[1] + b * s.n, rows[2] + b * s.n);
      return true;
    });
  });
  check_positive_definite(bad);
  return {result, f, g};
}

std::tuple<Tensor, Tensor, Tensor> relu_fit_backward(Tensor gradient,  // [B, N], of the new weights
                                                     Tensor weights, Tensor positions, Tensor covariances,
                                                     Tensor f,  // [B, N]
                                                     Tensor g,  // [B, N]
                                                     double offset, double s0, double s1, double cutoff) {
  const Sizes s = check(weights, positions, covariances);
  for (const Tensor& tensor : {gradient, f, g}) check_shape(tensor, "gradient, f or g", {s.b, s.n});
  make_contiguous({&gradient, &weights, &positions, &covariances, &f, &g});
  Tensor weights_out = empty_like_of(weights, {s.b, s.n}), positions_out = empty_like_of(weights, {s.b, s.n, s.d});
  Tensor covariances_out = empty_like_of(weights, {s.b, s.n, s.d, s.d});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source = stored<T, D>(weights, positions, covariances);
    const auto gradients = rows_of<T, D>(weights_out, positions_out, covariances_out);
    const T* const rows[] = {gradient.const_data_ptr<T>(), f.const_data_ptr<T>(), g.const_data_ptr<T>()};
    bad = run_tasks(s.b, [&](std::int64_t b) {
      DenseFit<T, D> fit({offset, s0, s1, cutoff});
      if (!fit.read(s.n, [&](std::int32_t i) { return source(b, i); })) return false;
      std::vector<Gaussian<T, D>> result(s.n);
      fit.backward(rows[0] + b * s.n, rows[1] + b * s.n, rows[2] + b * s.n, result.data());
      for (std::int64_t i = 0; i < s.n; ++i) gradients.write(b * s.n + i, result[i]);
      return true;
    });
  });
  check_positive_definite(bad);
  return {weights_out, positions_out, covariances_out};
}

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("relu_fit", TORCH_BOX(&relu_fit));
  m.impl("relu_fit_backward", TORCH_BOX(&relu_fit_backward));
}

}  // namespace gmcn
