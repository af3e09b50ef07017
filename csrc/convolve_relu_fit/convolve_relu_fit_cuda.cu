// convolve_relu_fit on CUDA. The convolved mixture is read from its factors; the backward pass stores the gradients of
// its components for as long as it takes to add them up.
#include "../common/convolved.cuh"
#include "../relu_fit/dense_fit.cuh"
#include "operation.h"

namespace gmcn {

namespace {

struct Cuda : FitsOnCuda {
  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, const FitOptions& options,
                       const FitRows<const T>& upstream, const Rows<T, D>& of_data, const Rows<T, D>& of_kernels) {
    const OnDevice on(mixtures.like);
    const GradientRows<T, D> rows(mixtures.like, mixtures.b * mixtures.n);
    BatchedDenseFit<T, D, Convolved<T, D>>(mixtures, on, options).backward(upstream, rows.to_write());
    gather(mixtures.source, s.b, rows.to_read(mixtures.n), on, of_data, of_kernels);
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_relu_fit", TORCH_BOX(&ConvolveReluFit<Cuda>::forward));
  m.impl("convolve_relu_fit_backward", TORCH_BOX(&ConvolveReluFit<Cuda>::backward));
}

}  // namespace gmcn
