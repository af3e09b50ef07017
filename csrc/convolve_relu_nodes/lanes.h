// Convolved components as arrays, one per entry, and what is done with vectors of them: codes, pairs with a few nodes,
// gradients. Where evaluate has points in its lanes, this has components: nodes are few, and a component that lies in a
// lane is whitened, used and forgotten. Raw pointers only: compiled once per instruction set (lanes_kernel.h) and
// chosen at run time.
#pragma once

#include <cstdint>

#include "../common/components.h"
#include "../common/gaussian.h"

namespace gmcn {

inline constexpr std::int64_t kLanePadding = 16;  // components; a multiple of every vector's lanes

// Components, or gradients of them. Arrays are aligned to the widest vector, and ranges of them begin and end at
// multiples of kLanePadding; the padding has weight 0.
template <typename T, int D>
struct Lanes {
  T* weights;
  T* positions[D];
  T* covariances[kPacked<D>];

  Lanes from(std::int64_t begin) const {
    Lanes result = *this;
    result.weights += begin;
    for (T*& row : result.positions) row += begin;
    for (T*& row : result.covariances) row += begin;
    return result;
  }
};

// Points with upstream gradients of the value there. x[d][j] is coordinate d of the j-th.
template <typename T, int D>
struct NodePoints {
  std::int32_t count;
  const T* x[D];
  const T* upstream;  // [count], of a backward pass
};

// What a backward pass needs of the nodes of groups, for the gradient of a member with weight w, centre x = mean + d
// and covariance C:  d/dw = constant + first d + <second, C + d d^T>,  d/dx = w (first + 2 second d),  d/dC = w second.
template <typename T, int D>
struct MemberGradient {
  T constant, first[D], second[kPacked<D>], mean[D];
};

template <typename T, int D>
struct LaneKernels {
  // codes[i] = cell_code of component i, less than count.
  void (*codes)(const Lanes<T, D>& lanes, std::int64_t count, const T* low, const T* per_unit, std::uint32_t* codes);
  // values[j] = the sum of the first `count` components at node j. False: a covariance is not positive definite.
  // scratch: a vector (64 bytes) per node, aligned.
  bool (*values)(const Lanes<T, D>& lanes, std::int64_t count, const NodePoints<T, D>& nodes, T* scratch, T* values);
  // The gradients of sum_j upstream[j] value(x_j) with respect to components, written to `gradients`, and x_j, added to
  // of_nodes[d][j]. scratch: D vectors per node.
  void (*vjp)(const Lanes<T, D>& lanes, std::int64_t count, const NodePoints<T, D>& nodes, T* scratch,
              const Lanes<T, D>& gradients, T* const of_nodes[D]);
  // Adds the gradients of members; group[i] < 0: none.
  void (*members)(const Lanes<T, D>& lanes, std::int64_t count, const std::int32_t* group,
                  const MemberGradient<T, D>* of_groups, const Lanes<T, D>& gradients);
};

template <typename T, int D>
const LaneKernels<T, D>& lane_kernels();

}  // namespace gmcn
