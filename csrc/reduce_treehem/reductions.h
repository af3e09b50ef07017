// TreeHEM for a batch of mixtures from any source on the CPU: one task per mixture.
#pragma once

#include <optional>

#include "operation.h"
#include "reduction.h"

namespace gmcn {

// The tree of mixture b; nothing where a value of it is unusable.
template <typename T, int D, typename Source>
std::optional<Reduction<T, D>> read_mixture(const Batch<Source>& mixtures, std::int64_t b, const TreehemOptions& o) {
  std::optional<Reduction<T, D>> reduction;
  reduction.emplace(mixtures.n, o.wanted, o.t, MergeOptions<T>{T(o.kl_threshold), T(o.virtual_samples)});
  if (!reduction->read([&](std::int32_t i) { return mixtures.source(b, i); })) reduction.reset();
  return reduction;
}

inline void check_values(std::int64_t bad_mixture) {
  require(bad_mixture < 0, "reduce_treehem: mixture ", bad_mixture,
          " (leading dimensions flattened) has a negative weight, a covariance that is not positive definite, "
          "or a value that is not finite");
}

struct ReductionsOnCpu {
  template <typename T, int D, typename Source>
  static void forward(const Batch<Source>& mixtures, const TreehemOptions& options, const Rows<T, D>& result) {
    check_values(run_tasks(mixtures.b, [&](std::int64_t b) {
      auto reduction = read_mixture<T, D>(mixtures, b, options);
      if (reduction) reduction->forward(result, b * options.wanted);
      return reduction.has_value();
    }));
  }
};

}  // namespace gmcn
