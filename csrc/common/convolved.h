// Convolved mixtures on the CPU without storing them: adding up the gradients of their factors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "mixtures.h"

namespace gmcn {

// Gradients of data and kernels, added up from those of the convolved components of all mixtures. Tasks and the order
// of additions depend on sizes alone: results must not depend on threads.
template <typename T, int D>
class ConvolvedGradients {
 public:
  ConvolvedGradients(const ConvolvedSizes& sizes, const Convolved<T, D>& source)
      : s_(sizes),
        source_(source),
        groups_(std::clamp<std::int64_t>(s_.b, 1, kTasks)),
        parts_(std::clamp<std::int64_t>(2 * kTasks / groups_, 1, std::max<std::int64_t>(s_.g, 1))),
        data_(parts_ * s_.b * s_.f * s_.n),
        kernels_(groups_ * s_.g * s_.f * s_.k) {}

  // add(b, begin, end, data, kernels) adds what the channels from begin to end of shape b give to the gradients of its
  // data [F, N], zero so far, and of all kernels [G, F, K].
  template <typename F>
  void add_shapes(const F& add) {
    run_tasks(groups_ * parts_, [&](std::int64_t task) {
      const std::int64_t group = task / parts_, part = task % parts_;
      for (std::int64_t b = group * s_.b / groups_; b < (group + 1) * s_.b / groups_; ++b)
        add(b, part * s_.g / parts_, (part + 1) * s_.g / parts_, data_.data() + (part * s_.b + b) * s_.f * s_.n,
            kernels_.data() + group * s_.g * s_.f * s_.k);
      return true;
    });
  }

  // gradients_of(b, rows) fills the rows [N F K] of mixture b, or returns false. Returns a bad mixture or -1.
  template <typename F>
  std::int64_t add(const F& gradients_of) {
    std::vector<std::int64_t> bad_of(groups_ * parts_);
    const std::int64_t bad = run_tasks(groups_ * parts_, [&](std::int64_t task) {
      const std::int64_t group = task / parts_, part = task % parts_;
      std::vector<Gaussian<T, D>> rows(s_.components());
      for (std::int64_t b = group * s_.b / groups_; b < (group + 1) * s_.b / groups_; ++b)
        for (std::int64_t g = part * s_.g / parts_; g < (part + 1) * s_.g / parts_; ++g) {
          if (!gradients_of(bad_of[task] = b * s_.g + g, rows.data())) return false;
          scatter(rows.data(), b, g, data_.data() + (part * s_.b + b) * s_.f * s_.n,
                  kernels_.data() + (group * s_.g + g) * s_.f * s_.k);
        }
      return true;
    });
    return bad < 0 ? bad : bad_of[bad];
  }

  void write(const Rows<T, D>& data, const Rows<T, D>& kernels) const {
    write_sums(data_, parts_, s_.b * s_.f * s_.n, data);
    write_sums(kernels_, groups_, s_.g * s_.f * s_.k, kernels);
  }

 private:
  static constexpr std::int64_t kTasks = 32;

  void scatter(const Gaussian<T, D>* row, std::int64_t b, std::int64_t g, Gaussian<T, D>* data,
               Gaussian<T, D>* kernels) const {
    const auto weight = [](const Stored<T, D>& of, std::int64_t at) { return of.weights ? of.weights[at] : T(0); };
    for (std::int64_t k = 0; k < s_.k; ++k)
      for (std::int64_t f = 0; f < s_.f; ++f) {
        const T kernel_weight = weight(source_.kernels, (g * s_.f + f) * s_.k + k);
        Gaussian<T, D> of_kernel = {};
        for (std::int64_t n = 0; n < s_.n; ++n, ++row) {
          accumulate(*row, row->weight * kernel_weight, data[f * s_.n + n]);
          accumulate(*row, row->weight * weight(source_.data, (b * s_.f + f) * s_.n + n), of_kernel);
        }
        accumulate(of_kernel, of_kernel.weight, kernels[f * s_.k + k]);
      }
  }

  static void write_sums(const std::vector<Gaussian<T, D>>& partial, std::int64_t parts, std::int64_t count,
                         const Rows<T, D>& to) {
    for (std::int64_t i = 0; i < count; ++i) {
      Gaussian<T, D> sum = {};
      for (std::int64_t p = 0; p < parts; ++p) accumulate(partial[p * count + i], partial[p * count + i].weight, sum);
      to.write(i, sum);
    }
  }

  ConvolvedSizes s_;
  Convolved<T, D> source_;
  std::int64_t groups_, parts_;  // of shapes, and of output channels
  std::vector<Gaussian<T, D>> data_, kernels_;
};

}  // namespace gmcn
