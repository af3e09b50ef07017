// The nodes of one mixture's reduction tree and what is done at each: merges on the way up, their gradients on the way
// down. Raw pointers only: both ways are compiled once per instruction set (nodes_kernel.h) and chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../common/merge.h"

namespace gmcn {

// Gaussians that meet in a node of T = t, rounded up to a size that merges are compiled for.
inline constexpr int meeting(int t) { return t <= 2 ? 4 : t <= 4 ? 8 : kMaxMerge; }

struct Slot {
  std::int32_t node;
  std::int32_t slot;
};

template <typename T, int D>
struct Nodes {
  std::int32_t n;  // leaves are 0 to n - 1, inner nodes follow
  int t;
  MergeOptions<T> options;
  const std::int32_t *left, *right;  // [n - 1]
  const std::int32_t* post_order;    // [n - 1] inner nodes, children before parents
  const Gaussian<T, D>* leaves;      // [n]
  Gaussian<T, D>* inner;             // [n - 1, t] what inner nodes keep
  std::uint8_t* counts;              // [n - 1] how many that are
  T* masses;                         // [n - 1]
  unsigned char* states;             // [n - 1] of the merges, a Merge<T, D, meeting(t)> each; null: not kept

  // For the gradient.
  Gaussian<T, D>*leaf_gradients, *inner_gradients;  // [n], [n - 1, t]
  std::uint8_t* live;                               // [n - 1] inner nodes that a gradient reaches

  GMCN_HD bool is_leaf(std::int32_t node) const { return node < n; }
  GMCN_HD const Gaussian<T, D>* kept(std::int32_t node) const {
    return is_leaf(node) ? leaves + node : inner + static_cast<std::size_t>(node - n) * t;
  }
  GMCN_HD Gaussian<T, D>* gradients(std::int32_t node) const {
    return is_leaf(node) ? leaf_gradients + node : inner_gradients + static_cast<std::size_t>(node - n) * t;
  }
  GMCN_HD int count(std::int32_t node) const { return is_leaf(node) ? 1 : counts[node - n]; }
  GMCN_HD T mass(std::int32_t node) const { return is_leaf(node) ? leaves[node].weight : masses[node - n]; }

  // What the two children of an inner node keep, without the weightless; places names child and slot of each.
  GMCN_HD int collect(std::int32_t node, Gaussian<T, D>* collected, Slot* places) const {
    int m = 0;
    for (int side = 0; side < 2; ++side) {
      const std::int32_t child = (side ? right : left)[node - n];
      const Gaussian<T, D>* const from = kept(child);
      const int size = count(child);
      for (int k = 0; k < size; ++k)
        if (from[k].weight >= T(kMinWeight)) places[m] = {child, k}, collected[m++] = from[k];
    }
    return m;
  }

  // The gradients of `merged`, which were made of the m collected, added to those of the children. `state` is the
  // merge's, not read where m was few enough.
  template <int M>
  GMCN_HD void pass_down(const Gaussian<T, D>* collected, const Slot* places, int m, int most,
                         const Merge<T, D, M>& state, const Gaussian<T, D>* merged,
                         const Gaussian<T, D>* upstream) const {
    Gaussian<T, D> gradient[M];
    for (int j = 0; j < m; ++j) gradient[j] = m > most ? Gaussian<T, D>{} : upstream[j];
    if (m > most) merge_vjp<T, D>(collected, m, most, options, state, merged, upstream, gradient);
    for (int j = 0; j < m; ++j) {
      Gaussian<T, D>& to = gradients(places[j].node)[places[j].slot];
      to.weight += gradient[j].weight;
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) to.position[d] += gradient[j].position[d];
      add_scaled<T, D>(T(1), gradient[j].covariance, to.covariance);
    }
  }

  GMCN_HD void mark(std::int32_t node) const {
    if (!is_leaf(node)) live[node - n] = 1;
  }
  GMCN_HD void mark_children(std::int32_t node) const {
    mark(left[node - n]);
    mark(right[node - n]);
  }
};

template <typename T, int D>
struct NodeKernels {
  void (*ascend)(const Nodes<T, D>& nodes);   // fills inner, counts, masses and, where kept, states
  void (*descend)(const Nodes<T, D>& nodes);  // needs states; from the live nodes down to the leaves
};

template <typename T, int D>
const NodeKernels<T, D>& node_kernels();

}  // namespace gmcn
