// layer_moments on the CPU. Tasks are components.
#include "operation.h"
#include "rows.h"

namespace gmcn {

namespace {

// Components that are worth a thread of their own: of so many numbers, about 20 microseconds.
template <typename T>
std::int64_t components_of_a_task(const LayerInput<T>& in) {
  return 1 + 65536 / (in.b * (in.r + 2));
}

struct Cpu {
  template <typename T>
  static void forward(const Tensor&, Activation activation, const LayerInput<T>& in, const LayerOutput<T>& out) {
    run_tasks(
        in.k, [&](std::int64_t k) { return row_kernels<T>().forward(activation, in, k, out), true; },
        components_of_a_task(in));
  }

  template <typename T>
  static void backward(const Tensor&, Activation activation, const LayerInput<T>& in,
                       const LayerOutput<const T>& upstream, const LayerGradient<T>& gradient) {
    run_tasks(
        in.k, [&](std::int64_t k) { return row_kernels<T>().backward(activation, in, k, upstream, gradient), true; },
        components_of_a_task(in));
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("layer_moments", TORCH_BOX(&LayerMoments<Cpu>::forward));
  m.impl("layer_moments_backward", TORCH_BOX(&LayerMoments<Cpu>::backward));
}

}  // namespace gmcn
