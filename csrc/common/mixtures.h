// Mixtures as tensors, in front of every device's code: made contiguous, checked, allocated for results.
#pragma once

#include "components.h"
#include "tensors.h"

namespace gmcn {

// Mixtures [B, N] as an operation gives them to a device's code.
template <typename Source>
struct Batch {
  Source source;  // source(b, i) is component i of mixture b
  std::int64_t b, n;
  const Tensor& like;  // of the same dtype and device
};

// Mixtures, or gradients of them.
struct MixtureTensors {
  Tensor weights;      // [..., N]
  Tensor positions;    // [..., N, D]
  Tensor covariances;  // [..., N, D, D]

  // Arguments, made contiguous.
  MixtureTensors(const Tensor& w, const Tensor& p, const Tensor& c)
      : weights(torch::stable::contiguous(w)),
        positions(torch::stable::contiguous(p)),
        covariances(torch::stable::contiguous(c)) {}

  // For results: of unknown content, with weights of that shape.
  MixtureTensors(const Tensor& like, const Shape& shape, std::int64_t d)
      : weights(empty_like_of(like, shape)),
        positions(empty_like_of(like, joined(shape, {d}))),
        covariances(empty_like_of(like, joined(shape, {d, d}))) {}

  // Errors name the arguments with what comes before and behind, as in kernel_weights.
  void check(const Shape& shape, std::int64_t d, const std::string& before = "", const std::string& behind = "") const {
    check_shape(weights, before + "weights" + behind, shape);
    check_shape(positions, before + "positions" + behind, joined(shape, {d}));
    check_shape(covariances, before + "covariances" + behind, joined(shape, {d, d}));
  }

  void zero() {
    for (Tensor* tensor : {&weights, &positions, &covariances}) torch::stable::zero_(*tensor);
  }

  template <typename T, int D>
  Stored<T, D> stored() const {
    return {weights.const_data_ptr<T>(), positions.const_data_ptr<T>(), covariances.const_data_ptr<T>(),
            weights.size(weights.dim() - 1)};
  }
  template <typename T, int D>
  Batch<Stored<T, D>> batch() const {  // of mixtures [B, N]
    return {stored<T, D>(), weights.size(0), weights.size(1), weights};
  }
  template <typename T, int D>
  Rows<T, D> rows() const {
    return {weights.mutable_data_ptr<T>(), positions.mutable_data_ptr<T>(), covariances.mutable_data_ptr<T>()};
  }
  std::tuple<Tensor, Tensor, Tensor> tuple() const { return {weights, positions, covariances}; }

 private:
  static Shape joined(Shape shape, const Shape& more) {
    shape.insert(shape.end(), more.begin(), more.end());
    return shape;
  }
};

struct BatchSizes {
  std::int64_t b, n, d;
};

// Sizes of mixtures [B, N], checked.
inline BatchSizes check_batch(const MixtureTensors& mixtures, const char* operation) {
  STD_TORCH_CHECK(mixtures.weights.dim() == 2 && mixtures.positions.dim() == 3, operation,
                  ": expected weights [B, N] and positions [B, N, D]");
  const BatchSizes s{mixtures.weights.size(0), mixtures.weights.size(1), mixtures.positions.size(2)};
  mixtures.check(Shape{s.b, s.n}, s.d);
  return s;
}

struct ConvolvedSizes {
  std::int64_t b, f, n, g, k, d;
  std::int64_t mixtures() const { return b * g; }
  std::int64_t components() const { return n * f * k; }
};

// Sizes of data [B, F, N] and kernels [G, F, K], checked.
inline ConvolvedSizes check_convolved(const Tensor& positions, const Tensor& covariances,
                                      const Tensor& kernel_positions, const Tensor& kernel_covariances,
                                      const char* operation) {
  STD_TORCH_CHECK(positions.dim() == 4 && kernel_positions.dim() == 4,
                  "expected positions [B, F, N, D] of the data and [G, F, K, D] of the kernels");
  const ConvolvedSizes s{positions.size(0),        positions.size(1),        positions.size(2),
                         kernel_positions.size(0), kernel_positions.size(2), positions.size(3)};
  check_shape(covariances, "covariances", {s.b, s.f, s.n, s.d, s.d});
  check_shape(kernel_positions, "kernel_positions", {s.g, s.f, s.k, s.d});
  check_shape(kernel_covariances, "kernel_covariances", {s.g, s.f, s.k, s.d, s.d});
  std::int64_t count = 0;
  if (__builtin_mul_overflow(s.n, s.f, &count) || __builtin_mul_overflow(count, s.k, &count)) count = INT64_MAX;
  check_count(count, operation);
  require(s.mixtures() <= INT32_MAX, operation, ": ", s.mixtures(), " mixtures (B x G) are more than ", INT32_MAX);
  return s;
}

// The convolution of data [B, F, N] with kernels [G, F, K].
template <typename T, int D>
Batch<Convolved<T, D>> convolved_batch(const ConvolvedSizes& s, const MixtureTensors& data,
                                       const MixtureTensors& kernels) {
  return {{data.stored<T, D>(), kernels.stored<T, D>(), static_cast<std::int32_t>(s.f), static_cast<std::int32_t>(s.g)},
          s.mixtures(),
          s.components(),
          data.weights};
}

}  // namespace gmcn
