// TreeHEM of a convolved mixture with weights of its own, which is never stored: what follows convolve_relu_fit.
#include "../common/convolved.h"
#include "../reduce_treehem/reductions.h"
#include "operation.h"

namespace gmcn {

namespace {

struct Cpu : ReductionsOnCpu {
  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<ReweightedConvolved<T, D>>& mixtures,
                       const TreehemOptions& options, const Stored<T, D>& upstream, T* of_weights,
                       const Rows<T, D>& of_data, const Rows<T, D>& of_kernels) {
    ConvolvedGradients<T, D> gradients(s, mixtures.source.source);
    check_values(gradients.add([&](std::int64_t b, Gaussian<T, D>* result) {
      auto reductions = read_mixtures<T, D>(mixtures, b, b + 1, options, true, b);
      if (!reductions) return false;
      reductions->backward(upstream, b * options.wanted,
                           [&](std::int32_t, std::int32_t i, const Gaussian<T, D>& gradient) {
                             result[i] = gradient, of_weights[b * mixtures.n + i] = gradient.weight;
                           });
      return true;
    }));
    gradients.write(of_data, of_kernels);
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("convolve_reduce_treehem", TORCH_BOX(&ConvolveReduceTreehem<Cpu>::forward));
  m.impl("convolve_reduce_treehem_backward", TORCH_BOX(&ConvolveReduceTreehem<Cpu>::backward));
}

}  // namespace gmcn
