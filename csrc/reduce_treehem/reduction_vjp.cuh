// The gradient of TreeHEM for one mixture by one block, from the selected nodes down to the leaves. The tree is held
// fixed. A node's gradient takes the place of what it keeps: nobody but its parent, who writes it, needs that again.
#pragma once

#include "reduction.cuh"

namespace gmcn {

template <typename T, int D, int M, typename Source>
struct BlockReductionVjp {
  using Reduction = BlockReduction<T, D, M, Source>;
  Reduction& forward;     // after fit
  Stored<T, D> upstream;  // [B, wanted]
  Rows<T, D> gradient;    // [B, N], zeros; up to the end with respect to the scaled mixture
  T scale_gradient = 0;   // this thread's part

  __device__ void run() {
    std::uint8_t* const reached = forward.quick.flag;
    for (std::int32_t gap = threadIdx.x; gap < forward.n - 1; gap += blockDim.x) reached[gap] = 0;
    __syncthreads();
    const Selection& selection = forward.selection;
    for (std::int32_t place = threadIdx.x; place < selection.places; place += blockDim.x) start(place);
    for (std::int32_t row = forward.slow.row[selection.places - 1] + threadIdx.x; row < forward.wanted;
         row += blockDim.x)
      upstream_of(row, Reduction::padding());
    __syncthreads();
    forward.tree.descend([&](std::int32_t gap) {
      if (!reached[gap]) return;
      Gaussian<T, D> own[M];
      const int size = forward.quick.count[gap];
      for (int k = 0; k < size; ++k) own[k] = forward.slots(forward.n + gap)[k];
      pass_down(forward.n + gap, own, forward.t);
    });
    finish();
  }

 private:
  // The upstream gradient of a row with respect to the scaled Gaussian `value`.
  __device__ Gaussian<T, D> upstream_of(std::int32_t row, const Gaussian<T, D>& value) {
    const T scale = forward.scale;
    Gaussian<T, D> g = upstream(forward.mixture, row);
    scale_gradient += 2 * scale * inner<T, D>(g.covariance, value.covariance);
    for (int d = 0; d < D; ++d) {
      scale_gradient += g.position[d] * value.position[d];
      g.position[d] *= scale;
    }
    for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] *= scale * scale;
    return g;
  }

  __device__ void start(std::int32_t place) {
    const Selected s = forward.selection.list[place];
    const auto node = static_cast<std::int32_t>(s.node);
    Gaussian<T, D> kept[M];
    const int size = forward.keep(s, kept);
    for (int k = 0; k < size; ++k) kept[k] = upstream_of(forward.slow.row[place] - size + k, kept[k]);
    if (s.refit)
      pass_down(node, kept, static_cast<int>(s.refit));
    else
      for (int k = 0; k < size; ++k) put(node, k, kept[k]);
  }

  // The gradient of the k-th Gaussian that a node keeps; the first one marks the node.
  __device__ void put(std::int32_t node, int k, const Gaussian<T, D>& g) {
    if (forward.tree.is_leaf(node)) {
      gradient.write(row_of(forward.slow.order[node]), g);
    } else {
      forward.slots(node)[k] = g;
      forward.quick.flag[node - forward.n] = 1;
    }
  }

  // Gradients of what a node's children keep, from those of what merge_to made of it.
  __device__ void pass_down(std::int32_t node, const Gaussian<T, D>* own, int most) {
    typename Reduction::Collected collected;
    Gaussian<T, D> children[M] = {};
    forward.collect(node, collected);
    const int m = collected.count;
    if (m > most)
      merge_once_vjp<T, D, M>(collected.gaussians, m, most, forward.options, own, children);
    else
      for (int k = 0; k < m; ++k) children[k] = own[k];
    int bit = 0, next = 0;
    const std::int32_t gap = node - forward.n;
    for (const std::int32_t child : {forward.tree.left[gap], forward.tree.right[gap]})
      for (int k = 0, size = forward.count(child); k < size; ++k, ++bit)
        put(child, k, collected.used >> bit & 1 ? children[next++] : Gaussian<T, D>{});
  }

  __device__ std::int64_t row_of(std::int32_t component) const { return forward.mixture * forward.n + component; }
  __device__ Gaussian<T, D> written(std::int32_t component) const {
    return Stored<T, D>{gradient.weights, gradient.positions, gradient.covariances, 0}.at(row_of(component));
  }

  // From the scaled mixture to the mixture itself: the scale depends on all covariances.
  __device__ void finish() {
    const T inverse = forward.inverse_scale;
    const std::int32_t n = forward.n;
    for (std::int32_t i = threadIdx.x; i < n; i += blockDim.x) {
      const Gaussian<T, D> g = written(i), leaf = forward.scaled(i);
      for (int d = 0; d < D; ++d) scale_gradient -= g.position[d] * leaf.position[d] * inverse;
      scale_gradient -= 2 * inner<T, D>(g.covariance, leaf.covariance) * inverse;
    }
    const T trace_gradient = block_sum(scale_gradient) * inverse / (2 * T(n) * D);
    for (std::int32_t i = threadIdx.x; i < n; i += blockDim.x) {
      Gaussian<T, D> g = written(i);
      for (int d = 0; d < D; ++d) g.position[d] *= inverse;
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] *= inverse * inverse;
      for (int d = 0; d < D; ++d) g.covariance[packed<D>(d, d)] += trace_gradient;
      gradient.write(row_of(i), g);
    }
  }
};

}  // namespace gmcn
