// relu_fit in front of every device's code: what it requires and what it returns.
#pragma once

#include "../common/mixtures.h"

namespace gmcn {

struct FitOptions {
  double offset, s0, s1, cutoff;
};

// Of all centres: new weights or their gradients, and the mixture's values f and g.
template <typename T>
struct FitRows {
  T *weights, *f, *g;  // [B, N]
};

template <typename T>
FitRows<T> from_row(const FitRows<T>& all, std::int64_t row) {
  return {all.weights + row, all.f + row, all.g + row};
}

template <typename Backend>
struct ReluFit {
  // New weights, and the values f and g at the centres, which the gradient needs (zero where they were not computed).
  static std::tuple<Tensor, Tensor, Tensor> forward(Tensor weights,      // [B, N]
                                                    Tensor positions,    // [B, N, D]
                                                    Tensor covariances,  // [B, N, D, D]
                                                    double offset, double s0, double s1, double cutoff) {
    const MixtureTensors mixtures(weights, positions, covariances);
    const BatchSizes s = check(mixtures);
    Tensor result = zeros_like_of(weights, {s.b, s.n}), f = zeros_like_of(weights, {s.b, s.n});
    Tensor g = zeros_like_of(weights, {s.b, s.n});
    dispatch(weights, s.d, [&]<typename T, int D>() {
      if (s.b * s.n == 0) return;
      Backend::template forward<T, D>(
          mixtures.batch<T, D>(), FitOptions{offset, s0, s1, cutoff},
          FitRows<T>{result.mutable_data_ptr<T>(), f.mutable_data_ptr<T>(), g.mutable_data_ptr<T>()});
    });
    return {result, f, g};
  }

  static std::tuple<Tensor, Tensor, Tensor> backward(Tensor gradient,     // [B, N], of the new weights
                                                     Tensor weights,      // [B, N]
                                                     Tensor positions,    // [B, N, D]
                                                     Tensor covariances,  // [B, N, D, D]
                                                     Tensor f,            // [B, N]
                                                     Tensor g,            // [B, N]
                                                     double offset, double s0, double s1, double cutoff) {
    const MixtureTensors mixtures(weights, positions, covariances);
    const BatchSizes s = check(mixtures);
    for (const Tensor& tensor : {gradient, f, g}) check_shape(tensor, "gradient, f or g", {s.b, s.n});
    make_contiguous({&gradient, &f, &g});
    const MixtureTensors result(weights, {s.b, s.n}, s.d);
    dispatch(weights, s.d, [&]<typename T, int D>() {
      if (s.b * s.n == 0) return;
      Backend::template backward<T, D>(
          mixtures.batch<T, D>(), FitOptions{offset, s0, s1, cutoff},
          FitRows<const T>{gradient.const_data_ptr<T>(), f.const_data_ptr<T>(), g.const_data_ptr<T>()},
          result.rows<T, D>());
    });
    return result.tuple();
  }

 private:
  static BatchSizes check(const MixtureTensors& mixtures) {
    const BatchSizes s = check_batch(mixtures, "relu_fit");
    check_count(s.n, "relu_fit");
    return s;
  }
};

}  // namespace gmcn
