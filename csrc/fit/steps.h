// The steps that fitting points spends its time in: nearest centres, distances to the picked, and expectation. Raw
// pointers and float64 only: compiled once per instruction set (steps_kernel.h) and chosen at run time.
//
// Points are stored as one array per coordinate, padded to kPointPadding with copies of a point of no mass.
#pragma once

#include <cstdint>

#include "../common/gaussian.h"

namespace gmcn {

template <int D>
struct EmComponent {
  Whitened<double, D> gaussian;
  double log2_weight;  // of weight times scale
};

// Sums over points of responsibility times mass, of the offsets from the component's position and their products.
template <int D>
struct EmSums {
  double mass;
  double first[D];
  double second[kPacked<D>];
};

inline constexpr std::int64_t kEmBlock = 128;  // points whose densities stay in the cache; divided by every vector

template <int D>
struct StepKernels {
  // assignment[m] = the nearest of n centres [n, D], the first of equals
  void (*nearest)(const double* centres, std::int64_t n, const double* const x[D], std::int64_t points,
                  double* assignment);
  // distance[m] = min(distance[m], |x_m - centre|^2)
  void (*approach)(const double* centre, const double* const x[D], std::int64_t points, double* distance);
  // One E-step: the sums of every component, and sum_m mass[m] log2(density at x_m). scratch: [n, kEmBlock].
  double (*expect)(const EmComponent<D>* components, std::int64_t n, const double* const x[D], const double* mass,
                   std::int64_t points, double* scratch, EmSums<D>* sums);
};

template <int D>
const StepKernels<D>& step_kernels();

}  // namespace gmcn
