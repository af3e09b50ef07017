// reduce_treehem in front of every device's code: what it requires and what it returns.
#pragma once

#include "../common/merge.h"
#include "../common/mixtures.h"

namespace gmcn {

struct TreehemOptions {
  std::int64_t wanted, t;  // Gaussians of the result, and of each node
  double kl_threshold, virtual_samples;
};

template <typename Backend>
struct ReduceTreehem {
  static std::tuple<Tensor, Tensor, Tensor> forward(Tensor weights,      // [B, N]
                                                    Tensor positions,    // [B, N, D]
                                                    Tensor covariances,  // [B, N, D, D]
                                                    std::int64_t n, std::int64_t t, double kl_threshold,
                                                    double virtual_samples) {
    const MixtureTensors mixtures(weights, positions, covariances);
    const BatchSizes s = check(mixtures, n, t);
    const MixtureTensors result(weights, {s.b, n}, s.d);
    dispatch(weights, s.d, [&]<typename T, int D>() {
      Backend::forward(mixtures.batch<T, D>(), TreehemOptions{n, t, kl_threshold, virtual_samples},
                       result.rows<T, D>());
    });
    return result.tuple();
  }

  static std::tuple<Tensor, Tensor, Tensor> backward(Tensor weights_gradient,      // [B, n]
                                                     Tensor positions_gradient,    // [B, n, D]
                                                     Tensor covariances_gradient,  // [B, n, D, D]
                                                     Tensor weights,               // [B, N]
                                                     Tensor positions,             // [B, N, D]
                                                     Tensor covariances,           // [B, N, D, D]
                                                     std::int64_t n, std::int64_t t, double kl_threshold,
                                                     double virtual_samples) {
    const MixtureTensors mixtures(weights, positions, covariances);
    const MixtureTensors upstream(weights_gradient, positions_gradient, covariances_gradient);
    const BatchSizes s = check(mixtures, n, t);
    upstream.check(Shape{s.b, n}, s.d, "", "_gradient");
    const MixtureTensors result(weights, {s.b, s.n}, s.d);
    dispatch(weights, s.d, [&]<typename T, int D>() {
      Backend::backward(mixtures.batch<T, D>(), TreehemOptions{n, t, kl_threshold, virtual_samples},
                        upstream.stored<T, D>(), result.rows<T, D>());
    });
    return result.tuple();
  }

 private:
  static BatchSizes check(const MixtureTensors& mixtures, std::int64_t wanted, std::int64_t t) {
    const BatchSizes s = check_batch(mixtures, "reduce_treehem");
    STD_TORCH_CHECK(0 < wanted && wanted < s.n, "reduce_treehem: n must be at least 1 and less than N");
    constexpr std::int64_t most = 1 << 27;  // nodes and covariance entries are numbered in 32 bits
    require(s.n <= most, "reduce_treehem: ", s.n, " components are more than ", most);
    STD_TORCH_CHECK(0 < t && t <= kMaxPerNode, "reduce_treehem: t must lie in 1 to ", kMaxPerNode);
    return s;
  }
};

}  // namespace gmcn
