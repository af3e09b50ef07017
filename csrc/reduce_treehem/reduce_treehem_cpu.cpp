// reduce_treehem on the CPU. The backward pass makes the tree again instead of keeping it.
#include "reductions.h"

namespace gmcn {

namespace {

struct Cpu : ReductionsOnCpu {
  template <typename T, int D>
  static void backward(const Batch<Stored<T, D>>& mixtures, const TreehemOptions& options, const Stored<T, D>& upstream,
                       const Rows<T, D>& result) {
    for_groups<T, D>(mixtures, options, true, [&](Reductions<T, D>& reductions, std::int64_t begin) {
      reductions.backward(upstream, begin * options.wanted,
                          [&](std::int32_t b, std::int32_t i, const Gaussian<T, D>& gradient) {
                            result.write((begin + b) * mixtures.n + i, gradient);
                          });
    });
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("reduce_treehem", TORCH_BOX(&ReduceTreehem<Cpu>::forward));
  m.impl("reduce_treehem_backward", TORCH_BOX(&ReduceTreehem<Cpu>::backward));
}

}  // namespace gmcn
