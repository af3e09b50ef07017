// The dense fit of max(0, f) on the CPU, equations (6) and (7): the mixture with two sets of weights at its own
// centres. One task per mixture.
#include "../common/relu_fit.h"
#include "../common/tensors.h"
#include "../evaluate/soa.h"

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
  return s;
}

// The centres whose coarse weight x is not zero. All others keep the weight 0: with offset 0 about half of them, which
// then cost nothing.
template <typename T>
std::vector<std::int64_t> active_centres(const T* weights, std::int64_t n, T offset) {
  std::vector<std::int64_t> active;
  active.reserve(n);
  for (std::int64_t i = 0; i < n; ++i)
    if (!(coarse_weight(weights[i], offset) <= T(0))) active.push_back(i);
  return active;
}

template <typename T, int D>
Arrays<T, D> gather(const T* positions, const std::vector<std::int64_t>& active) {
  Arrays<T, D> x(active.size());
  for (int d = 0; d < D; ++d)
    for (std::int64_t m = 0; m < x.size; ++m)  // padding repeats the last centre: another place could overflow
      x.rows[d][m] = positions[active[std::min<std::size_t>(m, active.size() - 1)] * D + d];
  return x;
}

template <typename T, int D>
bool prepare_both(std::int64_t n, const T* weights, const T* positions, const T* covariances, T offset,
                  std::vector<WeightedGaussian<T, D, 2>>& gaussians) {
  const auto weight = [&](std::int64_t i, int w) { return w == 0 ? weights[i] : coarse_weight(weights[i], offset); };
  return prepare<T, D, 2>(n, positions, covariances, weight, gaussians);
}

}  // namespace

// New weights, and the values f and g at the centres, which the gradient needs (zero where they were not computed).
std::tuple<Tensor, Tensor, Tensor> relu_fit(Tensor weights,      // [B, N]
                                            Tensor positions,    // [B, N, D]
                                            Tensor covariances,  // [B, N, D, D]
                                            double offset, double s0, double s1) {
  const Sizes s = check(weights, positions, covariances);
  weights = torch::stable::contiguous(weights), positions = torch::stable::contiguous(positions);
  covariances = torch::stable::contiguous(covariances);
  Tensor result = zeros_like_of(weights, {s.b, s.n}), f = zeros_like_of(weights, {s.b, s.n});
  Tensor g = zeros_like_of(weights, {s.b, s.n});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    bad = run_tasks(s.b, [&](std::int64_t b) {
      const T* w = weights.const_data_ptr<T>() + b * s.n;
      const T* p = positions.const_data_ptr<T>() + b * s.n * D;
      std::vector<WeightedGaussian<T, D, 2>> gaussians;
      if (!prepare_both<T, D>(s.n, w, p, covariances.const_data_ptr<T>() + b * s.n * D * D, T(offset), gaussians))
        return false;
      const auto active = active_centres<T>(w, s.n, T(offset));
      const auto x = gather<T, D>(p, active);
      Arrays<T, 2> values(active.size());
      T* const f_out = f.mutable_data_ptr<T>() + b * s.n;
      T* const g_out = g.mutable_data_ptr<T>() + b * s.n;
      T* const out = result.mutable_data_ptr<T>() + b * s.n;
      pair_kernels<T, D, 2>().evaluate(gaussians.data(), s.n, x.rows, x.size, values.rows);
      for (std::size_t m = 0; m < active.size(); ++m) {
        const std::int64_t i = active[m];
        f_out[i] = values.rows[0][m], g_out[i] = values.rows[1][m];
        out[i] = corrected_weight<T>(coarse_weight<T>(w[i], T(offset)), f_out[i], g_out[i], T(s0), T(s1));
      }
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
                                                     double offset, double s0, double s1) {
  const Sizes s = check(weights, positions, covariances);
  check_shape(gradient, "gradient", {s.b, s.n});
  gradient = torch::stable::contiguous(gradient), weights = torch::stable::contiguous(weights);
  positions = torch::stable::contiguous(positions), covariances = torch::stable::contiguous(covariances);
  f = torch::stable::contiguous(f), g = torch::stable::contiguous(g);
  Tensor weights_out = zeros_like_of(weights, {s.b, s.n}), positions_out = zeros_like_of(weights, {s.b, s.n, s.d});
  Tensor covariances_out = empty_like_of(weights, {s.b, s.n, s.d, s.d});
  std::int64_t bad = -1;
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    bad = run_tasks(s.b, [&](std::int64_t b) {
      const T* w = weights.const_data_ptr<T>() + b * s.n;
      const T* p = positions.const_data_ptr<T>() + b * s.n * D;
      T* w_out = weights_out.mutable_data_ptr<T>() + b * s.n;
      T* p_out = positions_out.mutable_data_ptr<T>() + b * s.n * D;
      std::vector<WeightedGaussian<T, D, 2>> gaussians;
      if (!prepare_both<T, D>(s.n, w, p, covariances.const_data_ptr<T>() + b * s.n * D * D, T(offset), gaussians))
        return false;
      const T* const gradient_in = gradient.const_data_ptr<T>() + b * s.n;
      const T* const f_in = f.const_data_ptr<T>() + b * s.n;
      const T* const g_in = g.const_data_ptr<T>() + b * s.n;
      T* const c_out = covariances_out.mutable_data_ptr<T>() + b * s.n * D * D;
      const auto active = active_centres<T>(w, s.n, T(offset));
      const auto x = gather<T, D>(p, active);
      Arrays<T, 2> upstream(active.size());
      Arrays<T, D> x_gradients(active.size());
      for (std::size_t m = 0; m < active.size(); ++m) {
        const std::int64_t i = active[m];
        T coarse_gradient;
        corrected_weight_vjp<T>(gradient_in[i], coarse_weight<T>(w[i], T(offset)), f_in[i], g_in[i], T(s0), T(s1),
                                coarse_gradient, upstream.rows[0][m], upstream.rows[1][m]);
        w_out[i] = coarse_weight_vjp<T>(coarse_gradient, w[i]);
      }
      std::vector<PairSums<T, D, 2>> sums(s.n);
      pair_kernels<T, D, 2>().backward(gaussians.data(), s.n, x.rows, x.size, upstream.rows, sums.data(),
                                       x_gradients.rows);
      for (std::int64_t i = 0; i < s.n; ++i) {
        T both[2];
        component_gradients<T, D, 2>(gaussians[i], sums[i], both, p_out + i * D, c_out + i * D * D);
        w_out[i] += both[0] + coarse_weight_vjp<T>(both[1], w[i]);
      }
      for (std::size_t m = 0; m < active.size(); ++m)
        for (int d = 0; d < D; ++d) p_out[active[m] * D + d] -= T(kLn2Times2) * x_gradients.rows[d][m];
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
