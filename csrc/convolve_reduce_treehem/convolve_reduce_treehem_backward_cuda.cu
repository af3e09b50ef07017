// The gradient of convolve_reduce_treehem on CUDA, in a file of its own: it compiles for minutes. The gradients of the
// convolved components are stored for as long as it takes to add them up.
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
    const GradientRows<T, D> rows(mixtures.like, mixtures.b * mixtures.n);
    const Rows<T, D> to_write{of_weights, rows.positions.data(), rows.covariances.data()};
    ReductionsOnCuda::backward(mixtures, options, upstream, to_write);
    const StoredComponentGradients<T, D> gradients{
        {to_write.weights, to_write.positions, to_write.covariances, mixtures.n}};
    gather(mixtures.source.source, s.b, gradients, OnDevice(mixtures.like), of_data, of_kernels);
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) { m.impl("convolve_reduce_treehem_backward", TORCH_BOX(&ConvolveReduceTreehem<Cuda>::backward)); }

}  // namespace gmcn
