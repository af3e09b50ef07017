// relu_fit on the CPU. One task per mixture.
#include "dense_fit.h"

namespace gmcn {

namespace {

struct Cpu : FitsOnCpu {
  template <typename T, int D>
  static void backward(const Batch<Stored<T, D>>& mixtures, const FitOptions& options, const FitRows<const T>& upstream,
                       const Rows<T, D>& result) {
    const std::int64_t n = mixtures.n;
    check_positive_definite(run_tasks(mixtures.b, [&](std::int64_t b) {
      DenseFit<T, D> fit(options);
      if (!fit.read(n, [&](std::int32_t i) { return mixtures.source(b, i); })) return false;
      std::vector<Gaussian<T, D>> gradients(n);
      fit.backward(upstream.weights + b * n, upstream.f + b * n, upstream.g + b * n, gradients.data());
      for (std::int64_t i = 0; i < n; ++i) result.write(b * n + i, gradients[i]);
      return true;
    }));
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("relu_fit", TORCH_BOX(&ReluFit<Cpu>::forward));
  m.impl("relu_fit_backward", TORCH_BOX(&ReluFit<Cpu>::backward));
}

}  // namespace gmcn
