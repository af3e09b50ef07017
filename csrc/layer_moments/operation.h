// layer_moments in front of every device's code: what it requires and what it returns.
#pragma once

#include <tuple>

#include "../common/tensors.h"
#include "moments.h"

namespace gmcn {

template <typename Backend>
struct LayerMoments {
  static std::tuple<Tensor, Tensor> forward(Tensor mean,      // [K, B]
                                            Tensor variance,  // [K, B], of z less that of its factors
                                            Tensor along,     // [K, R, B]
                                            Tensor weights,   // [K]
                                            std::int64_t activation) {
    const Shape shape = check(mean, variance, along, weights, activation);
    Tensor value = empty_like_of(mean, {shape[0], shape[2]}), reach = empty_like_of(mean, shape);
    dispatch(mean, [&]<typename T>() {
      if (shape[0] * shape[2] == 0) return;
      Backend::template forward<T>(mean, static_cast<Activation>(activation),
                                   input<T>(mean, variance, along, weights, shape),
                                   LayerOutput<T>{value.mutable_data_ptr<T>(), reach.mutable_data_ptr<T>()});
    });
    return {value, reach};
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor> backward(Tensor value_gradient,  // [K, B]
                                                             Tensor reach_gradient,  // [K, R, B]
                                                             Tensor mean,            // [K, B]
                                                             Tensor variance,        // [K, B]
                                                             Tensor along,           // [K, R, B]
                                                             Tensor weights,         // [K]
                                                             std::int64_t activation) {
    const Shape shape = check(mean, variance, along, weights, activation), row = {shape[0], shape[2]};
    check_shape(value_gradient, "the gradient of value", row);
    check_shape(reach_gradient, "the gradient of reach", shape);
    arrange({&value_gradient, &reach_gradient});
    Tensor of_mean = empty_like_of(mean, row), of_variance = empty_like_of(mean, row);
    Tensor of_along = empty_like_of(mean, shape), of_weights = empty_like_of(mean, {shape[0]});
    dispatch(mean, [&]<typename T>() {
      if (shape[0] * shape[2] == 0) return torch::stable::zero_(of_weights), void();
      Backend::template backward<T>(
          mean, static_cast<Activation>(activation), input<T>(mean, variance, along, weights, shape),
          LayerOutput<const T>{value_gradient.const_data_ptr<T>(), reach_gradient.const_data_ptr<T>()},
          LayerGradient<T>{of_mean.mutable_data_ptr<T>(), of_variance.mutable_data_ptr<T>(),
                           of_along.mutable_data_ptr<T>(), of_weights.mutable_data_ptr<T>()});
    });
    return {of_mean, of_variance, of_along, of_weights};
  }

 private:
  static Shape check(Tensor& mean, Tensor& variance, Tensor& along, Tensor& weights, std::int64_t activation) {
    require(activation >= 0 && activation <= static_cast<std::int64_t>(Activation::gelu), "layer_moments: ", activation,
            " is no activation (call gmcn.ops, which knows their names)");
    STD_TORCH_CHECK(along.dim() == 3, "layer_moments: along must be [K, R, B]");
    const Shape shape = {along.size(0), along.size(1), along.size(2)};
    check_shape(mean, "mean", {shape[0], shape[2]});
    check_shape(variance, "variance", {shape[0], shape[2]});
    check_shape(weights, "weights", {shape[0]});
    arrange({&mean, &variance, &along, &weights});
    return shape;
  }

  // To ask first is faster: a call of torch takes as long as a thousand numbers here.
  static void arrange(std::initializer_list<Tensor*> tensors) {
    for (Tensor* tensor : tensors)
      if (!tensor->is_contiguous()) make_contiguous({tensor});
  }

  template <typename T>
  static LayerInput<T> input(const Tensor& mean, const Tensor& variance, const Tensor& along, const Tensor& weights,
                             const Shape& shape) {
    return {mean.const_data_ptr<T>(),
            variance.const_data_ptr<T>(),
            along.const_data_ptr<T>(),
            weights.const_data_ptr<T>(),
            shape[0],
            shape[1],
            shape[2]};
  }
};

}  // namespace gmcn
