// convolve_relu_fit on CUDA, a part of the batch at a time. The convolved mixture is read from its factors; the
// backward pass stores the gradients of its components for as long as it takes to add them up.
#include "../common/convolved.cuh"
#include "../common/pieces.cuh"
#include "../relu_fit/dense_fit.cuh"
#include "operation.h"

namespace gmcn {

namespace {

struct Cuda {
  template <typename T, int D>
  static void forward(const Batch<Convolved<T, D>>& mixtures, const FitOptions& options, const FitRows<T>& result) {
    const OnDevice on(mixtures.like);
    using Fit = BatchedDenseFit<T, D, Convolved<T, D>>;
    for_parts(mixtures, Fit::kBytes, kWorkingSpace, [&](const Batch<Convolved<T, D>>& part, std::int64_t b) {
      Fit(part, on, options).forward(from_row(result, b * part.source.channels_out * part.n));
    });
  }

  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, const FitOptions& options,
                       const FitRows<const T>& upstream, const Rows<T, D>& of_data, const Rows<T, D>& of_kernels) {
    const OnDevice on(mixtures.like);
    using Fit = BatchedDenseFit<T, D, Convolved<T, D>>;
    const std::int64_t bytes = Fit::kBytes + Fit::kBackwardBytes + GradientRows<T, D>::kBytes;
    for_parts(mixtures, bytes, kWorkingSpace, [&](const Batch<Convolved<T, D>>& part, std::int64_t b) {
      const GradientRows<T, D> rows(part.like, part.b * part.n);
      Fit(part, on, options).backward(from_row(upstream, b * s.g * part.n), rows.to_write());
      gather(part.source, part.b / s.g, rows.to_read(part.n), on, from_row(of_data, b * s.f * s.n), of_kernels, b == 0);
    });
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_relu_fit", TORCH_BOX(&ConvolveReluFit<Cuda>::forward));
  m.impl("convolve_relu_fit_backward", TORCH_BOX(&ConvolveReluFit<Cuda>::backward));
}

}  // namespace gmcn
