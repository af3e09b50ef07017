// relu_fit on CUDA.
#include "dense_fit.cuh"

namespace gmcn {

namespace {

struct Cuda : FitsOnCuda {
  template <typename T, int D>
  static void backward(const Batch<Stored<T, D>>& mixtures, const FitOptions& options, const FitRows<const T>& upstream,
                       const Rows<T, D>& result) {
    const OnDevice on(mixtures.like);
    BatchedDenseFit<T, D, Stored<T, D>>(mixtures, on, options).backward(upstream, result);
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("relu_fit", TORCH_BOX(&ReluFit<Cuda>::forward));
  m.impl("relu_fit_backward", TORCH_BOX(&ReluFit<Cuda>::backward));
}

}  // namespace gmcn
