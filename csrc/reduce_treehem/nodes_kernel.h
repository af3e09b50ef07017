// The implementation of nodes.h for one instruction set.
#pragma once

#include "nodes.h"

namespace gmcn::GMCN_PATH {

template <typename T, int D, int M>
void ascend(const Nodes<T, D>& nodes) {
  Merge<T, D, M> unkept;
  for (std::int32_t k = 0; k < nodes.n - 1; ++k) {
    const std::int32_t node = nodes.post_order[k], i = node - nodes.n;
    Gaussian<T, D> collected[M];
    Slot places[M];
    Gaussian<T, D>* const kept = nodes.inner + static_cast<std::size_t>(i) * nodes.t;
    const int m = nodes.collect(node, collected, places);
    if (m > M) __builtin_unreachable();  // two children keep at most t each
    if (m > nodes.t) {
      Merge<T, D, M>& state = nodes.states ? reinterpret_cast<Merge<T, D, M>*>(nodes.states)[i] : unkept;
      merge<T, D>(collected, m, nodes.t, nodes.options, state, kept);
    } else {
      for (int j = 0; j < m; ++j) kept[j] = collected[j];
    }
    nodes.counts[i] = static_cast<std::uint8_t>(m < nodes.t ? m : nodes.t);
    nodes.masses[i] = nodes.mass(nodes.left[i]) + nodes.mass(nodes.right[i]);
  }
}

template <typename T, int D, int M>
void descend(const Nodes<T, D>& nodes) {
  for (std::int32_t k = nodes.n - 2; k >= 0; --k) {
    const std::int32_t node = nodes.post_order[k], i = node - nodes.n;
    if (!nodes.live[i]) continue;
    Gaussian<T, D> collected[M];
    Slot places[M];
    const int m = nodes.collect(node, collected, places);
    if (m > M) __builtin_unreachable();  // two children keep at most t each
    nodes.template pass_down<M>(collected, places, m, nodes.t, reinterpret_cast<const Merge<T, D, M>*>(nodes.states)[i],
                                nodes.kept(node), nodes.gradients(node));
    nodes.mark_children(node);
  }
}

template <typename T, int D>
void ascend_any(const Nodes<T, D>& nodes) {
  meeting(nodes.t) == 4   ? ascend<T, D, 4>(nodes)
  : meeting(nodes.t) == 8 ? ascend<T, D, 8>(nodes)
                          : ascend<T, D, kMaxMerge>(nodes);
}

template <typename T, int D>
void descend_any(const Nodes<T, D>& nodes) {
  meeting(nodes.t) == 4   ? descend<T, D, 4>(nodes)
  : meeting(nodes.t) == 8 ? descend<T, D, 8>(nodes)
                          : descend<T, D, kMaxMerge>(nodes);
}

template <typename T, int D>
NodeKernels<T, D> node_kernels() {
  return {ascend_any<T, D>, descend_any<T, D>};
}

template NodeKernels<float, 2> node_kernels();
template NodeKernels<float, 3> node_kernels();
template NodeKernels<double, 2> node_kernels();
template NodeKernels<double, 3> node_kernels();

}  // namespace gmcn::GMCN_PATH
