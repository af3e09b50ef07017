// Instantiates the formulas of csrc/common for the device: they are written once, for g++ and nvcc.
#include "gaussian.h"
#include "merge.h"
#include "morton.h"
#include "relu_fit.h"

using namespace gmcn;

template <typename T, int D>
__global__ void evaluate(const T* positions, const T* covariances, const T* points, T* values, T* gradients) {
  Whitened<T, D> g;
  T covariance[kPacked<D>], t[D], first[D] = {}, second[kPacked<D>] = {};
  pack<T, D>(covariances, covariance);
  if (!whiten<T, D>(positions, covariance, g)) return;
  standardise<D>(points, g.position, g.factor, t);
  values[0] = g.scale * t[0];
  whitened_vjp<T, D>(g, values[0], first, second, gradients, gradients + D);
  values[1] = corrected_weight<T>(coarse_weight(values[0], T(0)), t[0], t[1], T(0), T(0));
  corrected_weight_vjp<T>(values[1], t[0], t[1], t[0], T(0), T(0), values[2], values[3], values[4]);
}

template <typename T, int D>
__global__ void reduce(const Gaussian<T, D>* in, Gaussian<T, D>* out, Gaussian<T, D>* gradient, unsigned* code) {
  Merge<T, D> state;
  const MergeOptions<T> options = {T(0.5), T(4)};
  merge<T, D>(in, 4, 2, options, state, out);
  merge_vjp<T, D>(in, 4, 2, options, state, out, out, gradient);
  *code = morton_code<T, D>(in[0].position, in[1].position, in[2].position);
}

template __global__ void evaluate<float, 2>(const float*, const float*, const float*, float*, float*);
template __global__ void evaluate<float, 3>(const float*, const float*, const float*, float*, float*);
template __global__ void evaluate<double, 3>(const double*, const double*, const double*, double*, double*);
template __global__ void reduce<float, 2>(const Gaussian<float, 2>*, Gaussian<float, 2>*, Gaussian<float, 2>*,
                                          unsigned*);
template __global__ void reduce<float, 3>(const Gaussian<float, 3>*, Gaussian<float, 3>*, Gaussian<float, 3>*,
                                          unsigned*);
