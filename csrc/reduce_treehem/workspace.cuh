// The memory of one block of reduce_treehem: what is touched by dependent steps is on chip where it fits.
#pragma once

#include "../common/components.h"
#include "../common/pieces.cuh"
#include "selection.cuh"

namespace gmcn {

template <typename T>
struct Quick {                 // in shared memory, or, where a mixture is too large, in global memory
  std::uint64_t* keys;         // [N] Morton code and component, until the tree is there
  std::int32_t *left, *right;  // [N - 1]
  T* mass;                     // [N - 1] of inner nodes
  std::uint8_t* count;         // [N - 1] Gaussians an inner node keeps
  std::uint8_t* flag;          // [N - 1] height of an inner node, later whether a gradient reaches it
  // In the memory of others at other times.
  std::int32_t* far;   // [N - 1], of link
  Selected* selected;  // [N]
  std::int32_t* winners;

  GMCN_HD Quick(Pieces& pieces, std::int64_t n) {
    // Behind the keys there is room for the selection's last few.
    const std::int64_t selection = n + Tournament::space(n);
    keys = pieces.take<std::uint64_t>(n > (selection + 1) / 2 ? n : (selection + 1) / 2);
    left = pieces.take<std::int32_t>(n - 1), right = pieces.take<std::int32_t>(n - 1);
    mass = pieces.take<T>(n - 1);
    count = pieces.take<std::uint8_t>(n - 1), flag = pieces.take<std::uint8_t>(n - 1);
    far = reinterpret_cast<std::int32_t*>(mass);
    selected = reinterpret_cast<Selected*>(keys);
    winners = reinterpret_cast<std::int32_t*>(keys) + n;
  }
};

template <typename T, int D>
struct Slow {               // in global memory
  Gaussian<T, D>* nodes;    // [N - 1, t] what inner nodes keep, later its gradients
  std::int32_t* order;      // [N] component of each leaf
  std::int32_t* by_height;  // [N - 1]
  std::int32_t* row;        // [N] where the Gaussians of a selected node begin in the result

  GMCN_HD Slow(Pieces& pieces, std::int64_t n, int t) {
    nodes = pieces.take<Gaussian<T, D>>((n - 1) * t);
    order = pieces.take<std::int32_t>(n), by_height = pieces.take<std::int32_t>(n - 1);
    row = pieces.take<std::int32_t>(n);
  }
};

}  // namespace gmcn
