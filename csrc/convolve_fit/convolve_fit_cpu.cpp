// Fused convolution and fitting (section 6, appendix A): the convolved mixture is sorted and cut into n groups, each of
// which becomes one Gaussian of the same mass, mean and second moment. Its components are never stored: they are made
// from a data and a kernel Gaussian where they are needed.
#include <algorithm>
#include <bit>
#include <queue>

#include "../common/moments.h"
#include "../common/morton.h"
#include "../common/radix_tree.h"
#include "sizes.h"

namespace gmcn {

namespace {

using convolving::check;
using convolving::Sizes;

// Gaussians of a contiguous tensor, with packed covariances.
template <typename T, int D>
std::vector<Gaussian<T, D>> read(const Tensor& weights, const Tensor& positions, const Tensor& covariances,
                                 std::int64_t begin, std::int64_t count) {
  std::vector<Gaussian<T, D>> result(count);
  const T* const w = weights.const_data_ptr<T>() + begin;
  const T* const p = positions.const_data_ptr<T>() + begin * D;
  const T* const c = covariances.const_data_ptr<T>() + begin * D * D;
  for (std::int64_t i = 0; i < count; ++i) {
    result[i].weight = w[i];
    std::copy_n(p + i * D, D, result[i].position);
    pack<T, D>(c + i * D * D, result[i].covariance);
  }
  return result;
}

// Adds gradients to the rows of contiguous tensors.
template <typename T, int D>
void add_to(const std::vector<Gaussian<T, D>>& gradients, std::int64_t begin, const Tensor& weights,
            const Tensor& positions, const Tensor& covariances) {
  T* const w = weights.mutable_data_ptr<T>() + begin;
  T* const p = positions.mutable_data_ptr<T>() + begin * D;
  T* const c = covariances.mutable_data_ptr<T>() + begin * D * D;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    T full[D * D];
    unpack<T, D>(gradients[i].covariance, full);
    w[i] += gradients[i].weight;
    for (int d = 0; d < D; ++d) p[i * D + d] += gradients[i].position[d];
    for (int e = 0; e < D * D; ++e) c[i * D * D + e] += full[e];
  }
}

// One output mixture: the components that `data` [F, N] and `kernels` [F, K] of one output channel convolve to, in
// order, and the groups they are cut into. Component index is n + N (f + F k).
template <typename T, int D>
struct Groups {
  const Gaussian<T, D>* data;
  const Gaussian<T, D>* kernels;
  Sizes s;
  std::vector<std::int32_t> order;
  std::vector<std::pair<std::int32_t, std::int32_t>> ranges;  // [begin, end) in that order

  std::int64_t data_index(std::int64_t i) const { return i % (s.n * s.f); }                          // [F, N]
  std::int64_t kernel_index(std::int64_t i) const { return i / s.n % s.f * s.k + i / (s.n * s.f); }  // [F, K]

  void component(std::int64_t i, Gaussian<T, D>& result) const {
    const Gaussian<T, D>&a = data[data_index(i)], &b = kernels[kernel_index(i)];
    result.weight = a.weight * b.weight;
    for (int d = 0; d < D; ++d) result.position[d] = a.position[d] + b.position[d];
    for (int p = 0; p < kPacked<D>; ++p) result.covariance[p] = a.covariance[p] + b.covariance[p];
  }

  // The box that contains all convolved centres: per channel, the sum of the boxes of data and kernels.
  void box(T* low, T* high) const {
    for (int d = 0; d < D; ++d)
      for (std::int64_t f = 0; f < s.f; ++f) {
        const auto less = [d](const Gaussian<T, D>& a, const Gaussian<T, D>& b) {
          return a.position[d] < b.position[d];
        };
        const auto [a, b] = std::minmax_element(data + f * s.n, data + (f + 1) * s.n, less);
        const auto [p, q] = std::minmax_element(kernels + f * s.k, kernels + (f + 1) * s.k, less);
        const T lower = a->position[d] + p->position[d], upper = b->position[d] + q->position[d];
        low[d] = f ? std::min(low[d], lower) : lower;
        high[d] = f ? std::max(high[d], upper) : upper;
      }
  }

  // Positive and negative components are separated first, then along the Morton order.
  void build(std::int32_t wanted) {
    const auto count = static_cast<std::int32_t>(s.convolved());
    if (count == 0) return;  // no group: every slot stays empty
    T low[D], high[D];
    box(low, high);
    std::vector<std::uint32_t> codes(count);
    std::vector<T> weights(count);
    for (std::int32_t i = 0; i < count; ++i) {
      Gaussian<T, D> c;
      component(i, c);
      weights[i] = c.weight;
      codes[i] = morton_code<T, D>(c.position, low, high) | (c.weight > T(0) ? 1u << 30 : 0u);
    }
    sort_codes(codes.data(), count, 31, order);
    std::vector<std::uint64_t> keys(count);
    std::vector<double> sums(count + 1, 0.0);
    for (std::int32_t k = 0; k < count; ++k) {
      keys[k] = static_cast<std::uint64_t>(codes[order[k]]) << 32 | static_cast<std::uint32_t>(k);
      sums[k + 1] = sums[k] + weights[order[k]];
    }
    cut(keys, sums, wanted);
  }

  // From the root of the radix tree, the group of largest |mass| (the first in the list where they tie) is split until
  // there are `wanted`; a single component cannot be split.
  void cut(const std::vector<std::uint64_t>& keys, const std::vector<double>& sums, std::int32_t wanted) {
    ranges.assign(1, {0, static_cast<std::int32_t>(keys.size())});
    std::priority_queue<std::pair<double, std::int32_t>> heaviest;  // |mass|, -(place in the list)
    const auto offer = [&](std::int32_t place) {
      const auto [begin, end] = ranges[place];
      if (end - begin > 1) heaviest.emplace(std::abs(sums[end] - sums[begin]), -place);
    };
    offer(0);
    while (static_cast<std::int32_t>(ranges.size()) < wanted && !heaviest.empty()) {
      const std::int32_t place = -heaviest.top().second;
      heaviest.pop();
      const auto [begin, end] = ranges[place];
      const std::uint64_t bit = std::bit_floor(keys[begin] ^ keys[end - 1]);
      const auto split =
          static_cast<std::int32_t>(std::partition_point(keys.begin() + begin, keys.begin() + end,
                                                         [&](std::uint64_t key) { return !(key & bit); }) -
                                    keys.begin());
      ranges[place] = {begin, split};
      ranges.emplace_back(split, end);
      offer(place);
      offer(static_cast<std::int32_t>(ranges.size()) - 1);
    }
  }

  Gaussian<T, D> moments(const std::pair<std::int32_t, std::int32_t>& range) const {
    Gaussian<T, D> result = {}, c;
    for (std::int32_t k = range.first; k < range.second; ++k) {
      component(order[k], c);
      add_to_mean<T, D>(c, result);
    }
    if (!finish_mean<T, D>(result)) return result;
    for (std::int32_t k = range.first; k < range.second; ++k) {
      component(order[k], c);
      add_to_covariance<T, D>(c, result, result.covariance);
    }
    return result;
  }

  // Gradients of the data and kernel Gaussians behind one group, added.
  void add_gradients(const std::pair<std::int32_t, std::int32_t>& range, const Gaussian<T, D>& upstream,
                     Gaussian<T, D>* data_gradients, Gaussian<T, D>* kernel_gradients) const {
    const Gaussian<T, D> merged = moments(range);
    for (std::int32_t k = range.first; k < range.second; ++k) {
      const std::int64_t i = data_index(order[k]), j = kernel_index(order[k]);
      Gaussian<T, D> c;
      component(order[k], c);
      const Gaussian<T, D> gradient = moments_vjp<T, D>(c, merged, upstream);
      data_gradients[i].weight += gradient.weight * kernels[j].weight;
      kernel_gradients[j].weight += gradient.weight * data[i].weight;
      for (int d = 0; d < D; ++d) {
        data_gradients[i].position[d] += gradient.position[d];
        kernel_gradients[j].position[d] += gradient.position[d];
      }
      add_scaled<T, D>(T(1), gradient.covariance, data_gradients[i].covariance);
      add_scaled<T, D>(T(1), gradient.covariance, kernel_gradients[j].covariance);
    }
  }
};

}  // namespace

std::tuple<Tensor, Tensor, Tensor> convolve_fit(Tensor weights,             // [B, F, N]
                                                Tensor positions,           // [B, F, N, D]
                                                Tensor covariances,         // [B, F, N, D, D]
                                                Tensor kernel_weights,      // [G, F, K]
                                                Tensor kernel_positions,    // [G, F, K, D]
                                                Tensor kernel_covariances,  // [G, F, K, D, D]
                                                std::int64_t n) {
  const Sizes s = check(weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances, n);
  for (Tensor* tensor : {&weights, &positions, &covariances, &kernel_weights, &kernel_positions, &kernel_covariances})
    *tensor = torch::stable::contiguous(*tensor);
  Tensor w = zeros_like_of(weights, {s.b, s.g, n}), p = zeros_like_of(weights, {s.b, s.g, n, s.d});
  Tensor c = zeros_like_of(weights, {s.b, s.g, n, s.d, s.d});
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    run_tasks(s.b * s.g, [&](std::int64_t task) {
      const auto data = read<T, D>(weights, positions, covariances, task / s.g * s.f * s.n, s.f * s.n);
      const auto kernels =
          read<T, D>(kernel_weights, kernel_positions, kernel_covariances, task % s.g * s.f * s.k, s.f * s.k);
      Groups<T, D> groups{data.data(), kernels.data(), s, {}, {}};
      groups.build(n);
      std::vector<Gaussian<T, D>> result(n);
      for (auto& empty : result) set_identity<T, D>(T(1), empty.covariance);
      for (std::size_t i = 0; i < groups.ranges.size(); ++i) result[i] = groups.moments(groups.ranges[i]);
      add_to<T, D>(result, task * n, w, p, c);
      return true;
    });
  });
  return {w, p, c};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> convolve_fit_backward(
    Tensor weights_gradient,      // [B, G, n]
    Tensor positions_gradient,    // [B, G, n, D]
    Tensor covariances_gradient,  // [B, G, n, D, D]
    Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_weights, Tensor kernel_positions,
    Tensor kernel_covariances, std::int64_t n) {
  const Sizes s = check(weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances, n);
  for (Tensor* tensor : {&weights_gradient, &positions_gradient, &covariances_gradient, &weights, &positions,
                         &covariances, &kernel_weights, &kernel_positions, &kernel_covariances})
    *tensor = torch::stable::contiguous(*tensor);
  Tensor w = zeros_like_of(weights, {s.b, s.f, s.n}), p = zeros_like_of(weights, {s.b, s.f, s.n, s.d});
  Tensor c = zeros_like_of(weights, {s.b, s.f, s.n, s.d, s.d}), kw = zeros_like_of(weights, {s.g, s.f, s.k});
  Tensor kp = zeros_like_of(weights, {s.g, s.f, s.k, s.d}), kc = zeros_like_of(weights, {s.g, s.f, s.k, s.d, s.d});
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    // Shapes share kernels: each part of the batch sums its own kernel gradients, and the parts are added in order, so
    // that results do not depend on threads.
    const std::int64_t parts = std::min<std::int64_t>(s.b, 16), kernels_size = s.f * s.k;
    std::vector<std::vector<Gaussian<T, D>>> kernel_gradients(parts);
    run_tasks(parts, [&](std::int64_t part) {
      kernel_gradients[part].assign(s.g * kernels_size, {});
      for (std::int64_t b = part * s.b / parts; b < (part + 1) * s.b / parts; ++b) {
        const auto data = read<T, D>(weights, positions, covariances, b * s.f * s.n, s.f * s.n);
        std::vector<Gaussian<T, D>> data_gradients(s.f * s.n);
        for (std::int64_t g = 0; g < s.g; ++g) {
          const auto kernels =
              read<T, D>(kernel_weights, kernel_positions, kernel_covariances, g * kernels_size, kernels_size);
          const auto upstream =
              read<T, D>(weights_gradient, positions_gradient, covariances_gradient, (b * s.g + g) * n, n);
          Groups<T, D> groups{data.data(), kernels.data(), s, {}, {}};
          groups.build(n);
          for (std::size_t i = 0; i < groups.ranges.size(); ++i)
            groups.add_gradients(groups.ranges[i], upstream[i], data_gradients.data(),
                                 kernel_gradients[part].data() + g * kernels_size);
        }
        add_to<T, D>(data_gradients, b * s.f * s.n, w, p, c);
      }
      return true;
    });
    for (const auto& part : kernel_gradients) add_to<T, D>(part, 0, kw, kp, kc);
  });
  return {w, p, c, kw, kp, kc};
}

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("convolve_fit", TORCH_BOX(&convolve_fit));
  m.impl("convolve_fit_backward", TORCH_BOX(&convolve_fit_backward));
}

}  // namespace gmcn
