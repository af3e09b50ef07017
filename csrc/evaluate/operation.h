// evaluate in front of every device's code: what it requires and what it returns.
#pragma once

#include "../common/mixtures.h"

namespace gmcn {

template <typename Backend>
struct Evaluate {
  static Tensor forward(Tensor weights,      // [B, N]
                        Tensor positions,    // [B, N, D]
                        Tensor covariances,  // [B, N, D, D]
                        Tensor points,       // [B, M, D]
                        double cutoff) {
    const MixtureTensors mixtures(weights, positions, covariances);
    const Sizes s = check(mixtures, points);
    make_contiguous({&points});
    Tensor result = empty_like_of(weights, {s.b, s.m});
    dispatch(weights, s.d, [&]<typename T, int D>() {
      Backend::template forward<T, D>(mixtures.batch<T, D>(), points.const_data_ptr<T>(), s.m, cutoff,
                                      result.mutable_data_ptr<T>());
    });
    return result;
  }

  // Gradients with respect to weights, positions, covariances and, if wanted, points (else empty).
  static std::tuple<Tensor, Tensor, Tensor, Tensor> backward(Tensor gradient,     // [B, M]
                                                             Tensor weights,      // [B, N]
                                                             Tensor positions,    // [B, N, D]
                                                             Tensor covariances,  // [B, N, D, D]
                                                             Tensor points,       // [B, M, D]
                                                             double cutoff, bool points_gradient) {
    const MixtureTensors mixtures(weights, positions, covariances);
    const Sizes s = check(mixtures, points);
    check_shape(gradient, "gradient", {s.b, s.m});
    make_contiguous({&gradient, &points});
    const MixtureTensors result(weights, {s.b, s.n}, s.d);
    Tensor of_points = zeros_like_of(weights, {points_gradient ? s.b : 0, s.m, s.d});
    dispatch(weights, s.d, [&]<typename T, int D>() {
      if (s.b * s.n == 0) return;
      Backend::template backward<T, D>(mixtures.batch<T, D>(), points.const_data_ptr<T>(), s.m, cutoff,
                                       gradient.const_data_ptr<T>(), result.rows<T, D>(),
                                       points_gradient ? of_points.mutable_data_ptr<T>() : nullptr);
    });
    return std::tuple_cat(result.tuple(), std::tuple(of_points));
  }

 private:
  struct Sizes {
    std::int64_t b, n, m, d;
  };

  static Sizes check(const MixtureTensors& mixtures, const Tensor& points) {
    STD_TORCH_CHECK(mixtures.weights.dim() == 2 && points.dim() == 3,
                    "evaluate: expected weights [B, N] and points [B, M, D]");
    const Sizes s{mixtures.weights.size(0), mixtures.weights.size(1), points.size(1), points.size(2)};
    mixtures.check(Shape{s.b, s.n}, s.d);
    check_shape(points, "points", {s.b, s.m, s.d});
    return s;
  }
};

}  // namespace gmcn
