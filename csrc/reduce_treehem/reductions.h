// TreeHEM for a batch of mixtures from any source on the CPU: one task for a few small mixtures, or one large one.
#pragma once

#include <optional>

#include "operation.h"
#include "reduction.h"

namespace gmcn {

// The trees of mixtures begin to end; nothing where a value of one is unusable, which `bad` then names.
template <typename T, int D, typename Source>
std::optional<Reductions<T, D>> read_mixtures(const Batch<Source>& mixtures, std::int64_t begin, std::int64_t end,
                                              const TreehemOptions& o, bool for_gradient, std::int64_t& bad) {
  std::optional<Reductions<T, D>> reductions;
  reductions.emplace(end - begin, mixtures.n, o.wanted, o.t, MergeOptions<T>{T(o.kl_threshold), T(o.virtual_samples)},
                     for_gradient);
  for (std::int64_t b = begin; b < end && reductions; ++b)
    if (!reductions->read(b - begin, [&](std::int32_t i) { return mixtures.source(b, i); }))
      bad = b, reductions.reset();
  return reductions;
}

inline void check_values(std::int64_t bad_mixture) {
  require(bad_mixture < 0, "reduce_treehem: mixture ", bad_mixture,
          " (leading dimensions flattened) has a negative weight, a covariance that is not positive definite, "
          "or a value that is not finite");
}

struct ReductionsOnCpu {
  // use(reductions, begin) for all mixtures, some of them at a time: nodes that can be merged side by side fill lanes,
  // and the working space stays in a core's own cache.
  template <typename T, int D, typename Source, typename F>
  static void for_groups(const Batch<Source>& mixtures, const TreehemOptions& options, bool for_gradient,
                         const F& use) {
    constexpr std::int64_t kLeaves = 2048;
    const std::int64_t size = std::max<std::int64_t>(1, kLeaves / mixtures.n), groups = (mixtures.b + size - 1) / size;
    std::vector<std::int64_t> bad(groups);
    const std::int64_t first_bad = run_tasks(groups, [&](std::int64_t group) {
      const std::int64_t begin = group * size, end = std::min(mixtures.b, begin + size);
      auto reductions = read_mixtures<T, D>(mixtures, begin, end, options, for_gradient, bad[group]);
      if (reductions) use(*reductions, begin);
      return reductions.has_value();
    });
    check_values(first_bad < 0 ? -1 : bad[first_bad]);
  }

  template <typename T, int D, typename Source>
  static void forward(const Batch<Source>& mixtures, const TreehemOptions& options, const Rows<T, D>& result) {
    for_groups<T, D>(mixtures, options, false, [&](Reductions<T, D>& reductions, std::int64_t begin) {
      reductions.forward(result, begin * options.wanted);
    });
  }
};

}  // namespace gmcn
