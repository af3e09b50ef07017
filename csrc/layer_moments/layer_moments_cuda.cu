// layer_moments on CUDA. A block is a component.
#include "../common/block.cuh"
#include "operation.h"

namespace gmcn {

namespace {

inline constexpr int kThreads = 128;

template <typename T>
struct OneObject {
  using Value = T;
  std::int64_t b;

  __device__ T load(const T* row) const { return row[b]; }
  __device__ void store(T* row, T value) const { row[b] = value; }
};

template <typename T, typename S>
__global__ void __launch_bounds__(kThreads) all_moments(LayerInput<T> in, LayerOutput<T> out) {
  for (std::int64_t b = threadIdx.x; b < in.b; b += kThreads) moments<S>(in, blockIdx.x, OneObject<T>{b}, out);
}

template <typename T, typename S>
__global__ void __launch_bounds__(kThreads)
    all_moments_vjp(LayerInput<T> in, LayerOutput<const T> upstream, LayerGradient<T> gradient) {
  T of_weight = 0;
  for (std::int64_t b = threadIdx.x; b < in.b; b += kThreads)
    of_weight += moments_vjp<S>(in, blockIdx.x, OneObject<T>{b}, upstream, gradient);
  of_weight = block_sum(of_weight);
  if (threadIdx.x == 0) gradient.weights[blockIdx.x] = of_weight;
}

struct Cuda {
  template <typename T>
  static void forward(const Tensor& like, Activation activation, const LayerInput<T>& in, const LayerOutput<T>& out) {
    const OnDevice on(like);
    with(activation, [&]<typename S>() { launch(all_moments<T, S>, in.k, kThreads, 0, on.stream, in, out); });
  }

  template <typename T>
  static void backward(const Tensor& like, Activation activation, const LayerInput<T>& in,
                       const LayerOutput<const T>& upstream, const LayerGradient<T>& gradient) {
    const OnDevice on(like);
    with(activation,
         [&]<typename S>() { launch(all_moments_vjp<T, S>, in.k, kThreads, 0, on.stream, in, upstream, gradient); });
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("layer_moments", TORCH_BOX(&LayerMoments<Cuda>::forward));
  m.impl("layer_moments_backward", TORCH_BOX(&LayerMoments<Cuda>::backward));
}

}  // namespace gmcn
