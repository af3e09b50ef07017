// reduce_treehem on the CPU. The backward pass makes the tree again instead of keeping it.
#include "reductions.h"

namespace gmcn {

namespace {

struct Cpu : ReductionsOnCpu {
  template <typename T, int D>
  static void backward(const Batch<Stored<T, D>>& mixtures, const TreehemOptions& options, const Stored<T, D>& upstream,
                       const Rows<T, D>& result) {
    check_values(run_tasks(mixtures.b, [&](std::int64_t b) {
      auto reduction = read_mixture<T, D>(mixtures, b, options);
      if (!reduction) return false;
      std::vector<Gaussian<T, D>> gradients(mixtures.n);
      reduction->backward(upstream, b * options.wanted, gradients.data());
      for (std::int64_t i = 0; i < mixtures.n; ++i) result.write(b * mixtures.n + i, gradients[i]);
      return true;
    }));
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("reduce_treehem", TORCH_BOX(&ReduceTreehem<Cpu>::forward));
  m.impl("reduce_treehem_backward", TORCH_BOX(&ReduceTreehem<Cpu>::backward));
}

}  // namespace gmcn
