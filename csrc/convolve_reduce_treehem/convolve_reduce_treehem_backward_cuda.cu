// The gradient of convolve_reduce_treehem on CUDA, in a file of its own: it compiles for minutes. The gradients of the
// convolved components of a part of the batch at a time are stored for as long as it takes to add them up.
#include "../common/convolved.cuh"
#include "../reduce_treehem/launch_reduction.cuh"
#include "operation.h"

namespace gmcn {

namespace {

struct Cuda {
  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<ReweightedConvolved<T, D>>& mixtures,
                       const TreehemOptions& options, const Stored<T, D>& upstream, T* of_weights,
                       const Rows<T, D>& of_data, const Rows<T, D>& of_kernels) {
    const OnDevice on(mixtures.like);
    const Batch<Convolved<T, D>> all{mixtures.source.source, mixtures.b, mixtures.n, mixtures.like};
    for_parts(all, GradientRows<T, D>::kBytes, kWorkingSpace, [&](const Batch<Convolved<T, D>>& part, std::int64_t b) {
      const std::int64_t row = b * s.g * part.n;
      const GradientRows<T, D> rows(part.like, part.b * part.n, of_weights + row);
      const ReweightedConvolved<T, D> source{mixtures.source.weights + row, part.n, part.source};
      ReductionsOnCuda::backward(Batch<ReweightedConvolved<T, D>>{source, part.b, part.n, part.like}, options,
                                 from_row(upstream, b * s.g * options.wanted), rows.to_write());
      gather(part.source, part.b / s.g, rows.to_read(part.n), on, from_row(of_data, b * s.f * s.n), of_kernels, b == 0);
    });
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) { m.impl("convolve_reduce_treehem_backward", TORCH_BOX(&ConvolveReduceTreehem<Cuda>::backward)); }

}  // namespace gmcn
