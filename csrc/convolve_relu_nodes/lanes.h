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

// What a backward pass needs of a node for the gradient of a member with weight w, centre x = mean + d and covariance
// C: d/dw = constant + first d + <second, C + d d^T>,  d/dx = w (first + 2 second d),  d/dC = w second.
template <typename T, int D>
struct MemberGradient {
  T constant, first[D], second[kPacked<D>], mean[D];
};

// A member's weight, its centre from the low corner of the box, and which component it is.
template <typename T, int D>
struct MemberRow {
  T weight, offset[D];
  std::uint32_t component;
};

template <typename T, int D>
struct LaneKernels {
  // to = n data components, each with the kernel's Gaussian: weights multiply, the rest adds up. A vector more may be
  // read and written.
  void (*convolve)(const Lanes<T, D>& data, const Gaussian<T, D>& kernel, std::int64_t n, const Lanes<T, D>& to);
  // Members, those of `count` components with weights (products, rounded) above zero: keys[k] = cell_code << 32 |
  // component. Returns how many they are.
  std::int32_t (*keys)(const Lanes<T, D>& lanes, std::int64_t count, const T* low, const T* per_unit,
                       std::uint64_t* keys);
  // Of the members in the order of their keys, rows[k], and the running sums of relu_nodes.h before each and after all;
  // in the keys, components become places in that order.
  void (*sums)(const Lanes<T, D>& lanes, std::uint64_t* keys, std::int32_t members, const T* low, MemberRow<T, D>* rows,
               double* sums);
  // nodes[group[i]].covariance += weight (covariance + d d^T) of component i, d from the node's position; group[i] < 0:
  // no member.
  void (*covariances)(const Lanes<T, D>& lanes, std::int64_t count, const std::int32_t* group, Gaussian<T, D>* nodes);
  // values[j] = the sum of the first `count` components at node j. False: a covariance is not positive definite.
  // scratch: a vector (64 bytes) per node, aligned.
  bool (*values)(const Lanes<T, D>& lanes, std::int64_t count, const NodePoints<T, D>& nodes, T* scratch, T* values);
  // The gradients of sum_j upstream[j] value(x_j) with respect to components, written to `gradients`, and x_j, added to
  // of_nodes[d][j]. scratch: D vectors per node.
  void (*vjp)(const Lanes<T, D>& lanes, std::int64_t count, const NodePoints<T, D>& nodes, T* scratch,
              const Lanes<T, D>& gradients, T* const of_nodes[D]);
  // Adds the gradients of members.
  void (*members)(const Lanes<T, D>& lanes, std::int64_t count, const std::int32_t* group,
                  const MemberGradient<T, D>* of_groups, const Lanes<T, D>& gradients);
  // Adds the gradients of n components to those of their data, which have these weights, and of their kernel's
  // Gaussian.
  void (*scatter)(const Lanes<T, D>& gradients, const T* weights, T kernel_weight, std::int64_t n,
                  const Lanes<T, D>& of_data, Gaussian<T, D>& of_kernel);
};

template <typename T, int D>
const LaneKernels<T, D>& lane_kernels();

}  // namespace gmcn
