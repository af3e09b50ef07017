// relu_fit of a convolved mixture that is never stored: one task per mixture builds its components, fits and forgets
// them.
#include "../common/convolved.h"
#include "../relu_fit/dense_fit.h"
#include "operation.h"

namespace gmcn {

namespace {

struct Cpu : FitsOnCpu {
  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, const FitOptions& options,
                       const FitRows<const T>& upstream, const Rows<T, D>& of_data, const Rows<T, D>& of_kernels) {
    const std::int64_t n = mixtures.n;
    ConvolvedGradients<T, D> gradients(s, mixtures.source);
    check_positive_definite(gradients.add([&](std::int64_t b, Gaussian<T, D>* result) {
      DenseFit<T, D> fit(options);
      if (!fit.read(n, [&](std::int32_t i) { return mixtures.source(b, i); })) return false;
      fit.backward(upstream.weights + b * n, upstream.f + b * n, upstream.g + b * n, result);
      return true;
    }));
    gradients.write(of_data, of_kernels);
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("convolve_relu_fit", TORCH_BOX(&ConvolveReluFit<Cpu>::forward));
  m.impl("convolve_relu_fit_backward", TORCH_BOX(&ConvolveReluFit<Cpu>::backward));
}

}  // namespace gmcn
