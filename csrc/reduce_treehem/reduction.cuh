// TreeHEM for one mixture by one block: what reduction.h does on the CPU, with the nodes of one height at a time.
#pragma once

#include "../common/merge.h"
#include "../common/morton.h"
#include "workspace.cuh"

namespace gmcn {

// The two big functions, once each in the program: they are called from several places and slow to compile.
template <typename T, int D, int M>
__device__ __attribute__((noinline)) void merge_once(const Gaussian<T, D>* in, int m, int t,
                                                     const MergeOptions<T>& options, Gaussian<T, D>* out) {
  Merge<T, D, M> state;
  merge<T, D>(in, m, t, options, state, out);
}

template <typename T, int D, int M>
__device__ __attribute__((noinline)) void merge_once_vjp(const Gaussian<T, D>* in, int m, int t,
                                                         const MergeOptions<T>& options, const Gaussian<T, D>* upstream,
                                                         Gaussian<T, D>* gradient) {
  Merge<T, D, M> state;
  Gaussian<T, D> out[M];
  merge<T, D>(in, m, t, options, state, out);
  merge_vjp<T, D>(in, m, t, options, state, out, upstream, gradient);
}

// M: the most Gaussians that may meet in a node, 2 t or more.
template <typename T, int D, int M, typename Source>
struct BlockReduction {
  Source source;
  MergeOptions<T> options;
  std::int32_t n, wanted;
  int t;
  Quick<T> quick;
  Slow<T, D> slow;
  std::int64_t mixture;
  T scale, inverse_scale;
  BlockTree tree;
  Selection selection;

  struct Collected {
    Gaussian<T, D> gaussians[M];
    int count;
    unsigned used;  // bit k: the k-th of what the children keep has weight
  };

  // Makes the tree. False, for all threads: a weight or a covariance is unusable.
  __device__ bool read() {
    T low[D], high[D], trace_sum = 0;
    bool usable = true;
    for (int d = 0; d < D; ++d) low[d] = T(INFINITY), high[d] = -T(INFINITY);
    const auto smaller = [](T a, T b) { return b < a ? b : a; };
    const auto larger = [](T a, T b) { return b > a ? b : a; };
    for (std::int32_t i = threadIdx.x; i < n; i += blockDim.x) {
      const Gaussian<T, D> g = source(mixture, i);
      for (int d = 0; d < D; ++d) low[d] = smaller(low[d], g.position[d]), high[d] = larger(high[d], g.position[d]);
      trace_sum += trace<T, D>(g.covariance);
    }
    for (int d = 0; d < D; ++d) low[d] = block_reduce(low[d], smaller), high[d] = block_reduce(high[d], larger);
    scale = std::sqrt(block_sum(trace_sum) / (T(n) * D));
    if (!(scale > T(0)) || !(scale < T(INFINITY))) return false;
    inverse_scale = T(1) / scale;
    for (std::int32_t i = threadIdx.x; i < n; i += blockDim.x) {
      const Gaussian<T, D> unscaled = source(mixture, i), g = scaled(unscaled);
      T finite = g.weight;
      for (int d = 0; d < D; ++d) finite += g.position[d];
      for (int p = 0; p < kPacked<D>; ++p) finite += g.covariance[p];
      usable = usable && g.weight >= T(0) && finite - finite == T(0) && is_positive_definite<T, D>(g.covariance);
      const std::uint64_t code = morton_code<T, D>(unscaled.position, low, high);
      quick.keys[i] = code << 32 | static_cast<std::uint32_t>(i);
    }
    if (__syncthreads_or(!usable)) return false;
    block_sort(quick.keys, n);
    for (std::int32_t k = threadIdx.x; k < n; k += blockDim.x) slow.order[k] = static_cast<std::int32_t>(quick.keys[k]);
    tree = {n, 0, quick.left, quick.right, nullptr, nullptr};
    link(tree, quick.keys, quick.far, quick.flag);
    schedule(tree, quick.flag, slow.by_height);
    return true;
  }

  __device__ void fit() {
    tree.ascend([&](std::int32_t gap) { fit_node(gap); });
    selection = {quick.selected, 0, quick.winners};
    select<T>(
        tree, wanted, t, [&](std::int32_t node) { return count(node); },
        [&](std::int32_t node, int most) {
          Collected collected;
          collect(node, collected);
          return collected.count < most ? collected.count : most;
        },
        [&](std::int32_t node) { return quick.mass[node - n]; }, selection);
    const auto size = [&](std::int32_t place) {
      const Selected s = selection.list[place];
      if (!s.refit) return count(static_cast<std::int32_t>(s.node));
      Collected collected;
      collect(static_cast<std::int32_t>(s.node), collected);
      return collected.count < static_cast<int>(s.refit) ? collected.count : static_cast<int>(s.refit);
    };
    block_scan<std::int32_t>(selection.places, size,
                             [&](std::int32_t place, std::int32_t, std::int32_t end) { slow.row[place] = end; });
  }

  // f(row, Gaussian) for exactly `wanted` rows of the result, in the mixture's own units.
  template <typename F>
  __device__ void write(const F& f) {
    for (std::int32_t place = threadIdx.x; place < selection.places; place += blockDim.x) {
      Gaussian<T, D> kept[M];
      const int size = keep(selection.list[place], kept);
      for (int k = 0; k < size; ++k) f(slow.row[place] - size + k, unscaled(kept[k]));
    }
    for (std::int32_t row = slow.row[selection.places - 1] + threadIdx.x; row < wanted; row += blockDim.x)
      f(row, unscaled(padding()));
  }

  __device__ static Gaussian<T, D> padding() {
    Gaussian<T, D> g = {};
    set_identity<T, D>(T(1), g.covariance);
    return g;
  }
  __device__ Gaussian<T, D> scaled(Gaussian<T, D> g) const {  // to units of an average variance of one
    for (int d = 0; d < D; ++d) g.position[d] *= inverse_scale;
    for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] *= inverse_scale * inverse_scale;
    return g;
  }
  __device__ Gaussian<T, D> scaled(std::int32_t i) const { return scaled(source(mixture, i)); }
  __device__ Gaussian<T, D> unscaled(Gaussian<T, D> g) const {
    for (int d = 0; d < D; ++d) g.position[d] *= scale;
    for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] *= scale * scale;
    return g;
  }

  __device__ int count(std::int32_t node) const { return tree.is_leaf(node) ? 1 : quick.count[node - n]; }
  __device__ Gaussian<T, D>* slots(std::int32_t node) const {
    return slow.nodes + static_cast<std::int64_t>(node - n) * t;
  }
  __device__ Gaussian<T, D> kept_by(std::int32_t node, int k) const {
    return tree.is_leaf(node) ? scaled(slow.order[node]) : slots(node)[k];
  }

  __device__ T weight_of(std::int32_t node, int k) const {
    return tree.is_leaf(node) ? source(mixture, slow.order[node]).weight : slots(node)[k].weight;
  }

  // What the two children of a node keep, without the weightless, of whom nothing else is read.
  __device__ void collect(std::int32_t node, Collected& collected) const {
    collected.count = 0, collected.used = 0;
    int bit = 0;
    for (const std::int32_t child : {tree.left[node - n], tree.right[node - n]})
      for (int k = 0; k < count(child); ++k, ++bit)
        if (weight_of(child, k) >= T(kMinWeight))
          collected.used |= 1u << bit, collected.gaussians[collected.count++] = kept_by(child, k);
  }

  // `collected` as at most `most` Gaussians. Returns how many.
  __device__ int merge_to(const Collected& collected, int most, Gaussian<T, D>* out) const {
    if (collected.count > most) {
      merge_once<T, D, M>(collected.gaussians, collected.count, most, options, out);
      return most;
    }
    for (int k = 0; k < collected.count; ++k) out[k] = collected.gaussians[k];
    return collected.count;
  }

  __device__ T mass(std::int32_t node) const {
    return tree.is_leaf(node) ? source(mixture, slow.order[node]).weight : quick.mass[node - n];
  }

  __device__ void fit_node(std::int32_t gap) {
    Collected collected;
    collect(n + gap, collected);
    quick.count[gap] = static_cast<std::uint8_t>(merge_to(collected, t, slots(n + gap)));
    quick.mass[gap] = mass(tree.left[gap]) + mass(tree.right[gap]);
  }

  __device__ int keep(Selected s, Gaussian<T, D>* out) const {
    const auto node = static_cast<std::int32_t>(s.node);
    if (s.refit) {
      Collected collected;
      collect(node, collected);
      return merge_to(collected, static_cast<int>(s.refit), out);
    }
    for (int k = 0; k < count(node); ++k) out[k] = kept_by(node, k);
    return count(node);
  }
};

}  // namespace gmcn
