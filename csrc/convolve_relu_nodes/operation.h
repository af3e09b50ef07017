// convolve_relu_nodes in front of every device's code: what it requires and what it returns.
#pragma once

#include <limits>

#include "../common/mixtures.h"

namespace gmcn {

// What a forward pass writes beside the result and a backward pass reads: of every node its mass, the convolution f and
// its positive part g at it [B, G, n]; of every component its node or -1 [B, G, N F K].
template <typename T, typename Index>
struct NodeRows {
  T *mass, *f, *g;
  Index* group;
};

template <typename Backend>
struct ConvolveReluNodes {
  static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> forward(
      Tensor weights,             // [B, F, N]
      Tensor positions,           // [B, F, N, D]
      Tensor covariances,         // [B, F, N, D, D]
      Tensor kernel_weights,      // [G, F, K]
      Tensor kernel_positions,    // [G, F, K, D]
      Tensor kernel_covariances,  // [G, F, K, D, D]
      std::int64_t n) {
    const MixtureTensors data(weights, positions, covariances);
    const MixtureTensors kernels(kernel_weights, kernel_positions, kernel_covariances);
    const ConvolvedSizes s = check(data, kernels, n);
    const Shape shape{s.b, s.g, n};
    const MixtureTensors result(weights, shape, s.d);
    Tensor mass = empty_like_of(weights, shape), f = empty_like_of(weights, shape), g = empty_like_of(weights, shape);
    Tensor group = short_like_of(weights, {s.b, s.g, s.components()});
    dispatch(weights, s.d, [&]<typename T, int D>() {
      Backend::template forward<T, D>(
          s, convolved_batch<T, D>(s, data, kernels), n, result.rows<T, D>(),
          NodeRows<T, std::int16_t>{mass.mutable_data_ptr<T>(), f.mutable_data_ptr<T>(), g.mutable_data_ptr<T>(),
                                    group.mutable_data_ptr<std::int16_t>()});
    });
    return std::tuple_cat(result.tuple(), std::tuple(mass, f, g, group));
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> backward(
      Tensor weights_gradient,      // [B, G, n]
      Tensor positions_gradient,    // [B, G, n, D]
      Tensor covariances_gradient,  // [B, G, n, D, D]
      Tensor weights,               // [B, F, N]
      Tensor positions,             // [B, F, N, D]
      Tensor covariances,           // [B, F, N, D, D]
      Tensor kernel_weights,        // [G, F, K]
      Tensor kernel_positions,      // [G, F, K, D]
      Tensor kernel_covariances,    // [G, F, K, D, D]
      Tensor node_positions,        // [B, G, n, D]
      Tensor node_covariances,      // [B, G, n, D, D]
      Tensor mass,                  // [B, G, n]
      Tensor f,                     // [B, G, n]
      Tensor g,                     // [B, G, n]
      Tensor group,                 // [B, G, N F K]
      std::int64_t n) {
    const MixtureTensors data(weights, positions, covariances);
    const MixtureTensors kernels(kernel_weights, kernel_positions, kernel_covariances);
    const MixtureTensors upstream(weights_gradient, positions_gradient, covariances_gradient);
    const MixtureTensors nodes(mass, node_positions, node_covariances);
    const ConvolvedSizes s = check(data, kernels, n);
    upstream.check(Shape{s.b, s.g, n}, s.d, "", "_gradient");
    nodes.check(Shape{s.b, s.g, n}, s.d, "node_");
    for (const Tensor& tensor : {f, g}) check_shape(tensor, "f or g", {s.b, s.g, n});
    check_shape(group, "group", {s.b, s.g, s.components()});
    make_contiguous({&f, &g, &group});
    MixtureTensors of_data(weights, {s.b, s.f, s.n}, s.d), of_kernels(weights, {s.g, s.f, s.k}, s.d);
    dispatch(weights, s.d, [&]<typename T, int D>() {
      if (s.mixtures() * s.components() == 0) return of_data.zero(), of_kernels.zero();
      Backend::template backward<T, D>(
          s, convolved_batch<T, D>(s, data, kernels), n, upstream.stored<T, D>(), nodes.stored<T, D>(),
          NodeRows<const T, const std::int16_t>{nodes.weights.const_data_ptr<T>(), f.const_data_ptr<T>(),
                                                g.const_data_ptr<T>(), group.const_data_ptr<std::int16_t>()},
          of_data.rows<T, D>(), of_kernels.rows<T, D>());
    });
    return std::tuple_cat(of_data.tuple(), of_kernels.tuple());
  }

 private:
  static ConvolvedSizes check(const MixtureTensors& data, const MixtureTensors& kernels, std::int64_t wanted) {
    const auto s = check_convolved(data.positions, data.covariances, kernels.positions, kernels.covariances,
                                   "convolve_relu_nodes");
    check_shape(data.weights, "weights", {s.b, s.f, s.n});
    check_shape(kernels.weights, "kernel_weights", {s.g, s.f, s.k});
    constexpr std::int64_t most = std::numeric_limits<std::int16_t>::max();  // nodes are numbered in 16 bits
    STD_TORCH_CHECK(0 < wanted && wanted <= most, "convolve_relu_nodes: n must lie in 1 to ", most);
    return s;
  }

  static Tensor short_like_of(const Tensor& like, const Shape& shape) {
    return torch::stable::new_empty(like, torch::headeronly::IntHeaderOnlyArrayRef(shape.data(), shape.size()),
                                    torch::headeronly::ScalarType::Short);
  }
};

}  // namespace gmcn
