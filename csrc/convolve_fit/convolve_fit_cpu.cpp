// Fused convolution and fitting (section 6, appendix A): the convolved mixture is sorted and cut into n groups, each of
// which becomes one Gaussian of the same mass, mean and second moment. Its components are never stored: they are made
// from a data and a kernel Gaussian where they are needed.
#include <algorithm>

#include "../common/cut.h"
#include "../common/moments.h"
#include "../common/morton.h"
#include "../common/radix_tree.h"
#include "operation.h"

namespace gmcn {

namespace {

template <typename T, int D>
std::vector<Gaussian<T, D>> read(const Stored<T, D>& from, std::int64_t begin, std::int64_t count) {
  std::vector<Gaussian<T, D>> result(count);
  for (std::int64_t i = 0; i < count; ++i) result[i] = from.at(begin + i);
  return result;
}

template <typename T, int D>
void write(const std::vector<Gaussian<T, D>>& values, std::int64_t begin, const Rows<T, D>& to) {
  for (std::int64_t i = 0; i < std::ssize(values); ++i) to.write(begin + i, values[i]);
}

// One output mixture: the components that `data` [F, N] and `kernels` [F, K] of one output channel convolve to, in
// order, and the groups they are cut into. Component index is n + N (f + F k).
template <typename T, int D>
struct Groups {
  const Gaussian<T, D>* data;
  const Gaussian<T, D>* kernels;
  ConvolvedSizes s;
  std::vector<std::int32_t> order;
  std::vector<Range> ranges;  // in that order

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
    const auto count = static_cast<std::int32_t>(s.components());
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
    // The group of largest |mass| is split first.
    cut(keys, wanted, [&](std::int32_t b, std::int32_t e) { return std::abs(sums[e] - sums[b]); }, ranges);
  }

  Gaussian<T, D> moments(const Range& range) const {
    Gaussian<T, D> result = {}, c;
    for (std::int32_t k = range.begin; k < range.end; ++k) {
      component(order[k], c);
      add_to_mean<T, D>(c, result);
    }
    if (!finish_mean<T, D>(result)) return result;
    for (std::int32_t k = range.begin; k < range.end; ++k) {
      component(order[k], c);
      add_to_covariance<T, D>(c, result, result.covariance);
    }
    return result;
  }

  // Gradients of the data and kernel Gaussians behind one group, added.
  void add_gradients(const Range& range, const Gaussian<T, D>& upstream, Gaussian<T, D>* data_gradients,
                     Gaussian<T, D>* kernel_gradients) const {
    const Gaussian<T, D> merged = moments(range);
    for (std::int32_t k = range.begin; k < range.end; ++k) {
      const std::int64_t i = data_index(order[k]), j = kernel_index(order[k]);
      Gaussian<T, D> c;
      component(order[k], c);
      const Gaussian<T, D> gradient = moments_vjp<T, D>(c, merged, upstream);
      accumulate(gradient, gradient.weight * kernels[j].weight, data_gradients[i]);
      accumulate(gradient, gradient.weight * data[i].weight, kernel_gradients[j]);
    }
  }
};

struct Cpu {
  template <typename T, int D>
  static void forward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, std::int64_t n,
                      const Rows<T, D>& result) {
    run_tasks(mixtures.b, [&](std::int64_t task) {
      const auto data = read(mixtures.source.data, task / s.g * s.f * s.n, s.f * s.n);
      const auto kernels = read(mixtures.source.kernels, task % s.g * s.f * s.k, s.f * s.k);
      Groups<T, D> groups{data.data(), kernels.data(), s, {}, {}};
      groups.build(n);
      std::vector<Gaussian<T, D>> fitted(n);
      for (auto& empty : fitted) set_identity<T, D>(T(1), empty.covariance);
      for (std::size_t i = 0; i < groups.ranges.size(); ++i) fitted[i] = groups.moments(groups.ranges[i]);
      write(fitted, task * n, result);
      return true;
    });
  }

  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, const Stored<T, D>& upstream,
                       const Rows<T, D>& of_data, const Rows<T, D>& of_kernels) {
    // Shapes share kernels: each part of the batch sums its own kernel gradients, and the parts are added in order, so
    // that results do not depend on threads.
    const std::int64_t parts = std::min<std::int64_t>(s.b, 16), kernels_size = s.f * s.k, n = upstream.n;
    std::vector<std::vector<Gaussian<T, D>>> kernel_gradients(parts);
    run_tasks(parts, [&](std::int64_t part) {
      kernel_gradients[part].assign(s.g * kernels_size, {});
      for (std::int64_t b = part * s.b / parts; b < (part + 1) * s.b / parts; ++b) {
        const auto data = read(mixtures.source.data, b * s.f * s.n, s.f * s.n);
        std::vector<Gaussian<T, D>> data_gradients(s.f * s.n);
        for (std::int64_t g = 0; g < s.g; ++g) {
          const auto kernels = read(mixtures.source.kernels, g * kernels_size, kernels_size);
          const auto of_groups = read(upstream, (b * s.g + g) * n, n);
          Groups<T, D> groups{data.data(), kernels.data(), s, {}, {}};
          groups.build(n);
          for (std::size_t i = 0; i < groups.ranges.size(); ++i)
            groups.add_gradients(groups.ranges[i], of_groups[i], data_gradients.data(),
                                 kernel_gradients[part].data() + g * kernels_size);
        }
        write(data_gradients, b * s.f * s.n, of_data);
      }
      return true;
    });
    auto& sum = kernel_gradients[0];
    for (std::int64_t part = 1; part < parts; ++part)
      for (std::size_t i = 0; i < sum.size(); ++i)
        accumulate(kernel_gradients[part][i], kernel_gradients[part][i].weight, sum[i]);
    write(sum, 0, of_kernels);
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("convolve_fit", TORCH_BOX(&ConvolveFit<Cpu>::forward));
  m.impl("convolve_fit_backward", TORCH_BOX(&ConvolveFit<Cpu>::backward));
}

}  // namespace gmcn
