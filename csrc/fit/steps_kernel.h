// The implementation of steps.h for one instruction set. Lanes are points.
#pragma once

#include <cmath>
#include <limits>

#include "../common/simd.h"
#include "steps.h"

namespace gmcn::GMCN_PATH {

using V = Vector<double>;
inline constexpr int kL = kLanes<double>;

// Below 2^-kNegligible of a point's largest density, a component has no part in it that float64 could show.
inline constexpr double kNegligible = 64;

template <int D>
inline __attribute__((always_inline)) V squared_distance(const V* x, const double* centre) {
  V sum = {};
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    const V offset = x[d] - centre[d];
    sum = d == 0 ? offset * offset : sum + offset * offset;
  }
  return sum;
}

template <int D>
void nearest(const double* centres, std::int64_t n, const double* const rows[D], std::int64_t points,
             double* assignment) {
  constexpr int kSide = 4;  // vectors side by side
  for (std::int64_t m = 0; m < points; m += kSide * kL) {
    V x[kSide][D], least[kSide], index[kSide];
    GMCN_UNROLL
    for (int u = 0; u < kSide; ++u) {
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) x[u][d] = load(rows[d] + m + u * kL);
      least[u] = V{} + std::numeric_limits<double>::infinity();
      index[u] = V{};
    }
    V number = {};
    for (std::int64_t j = 0; j < n; ++j, number += 1.0) {
      GMCN_UNROLL
      for (int u = 0; u < kSide; ++u) {
        const V distance = squared_distance<D>(x[u], centres + j * D);
        const auto closer = distance < least[u];
        least[u] = closer ? distance : least[u];
        index[u] = closer ? number : index[u];
      }
    }
    GMCN_UNROLL
    for (int u = 0; u < kSide; ++u) store(assignment + m + u * kL, index[u]);
  }
}

template <int D>
void approach(const double* centre, const double* const rows[D], std::int64_t points, double* distance) {
  for (std::int64_t m = 0; m < points; m += kL) {
    V x[D];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) x[d] = load(rows[d] + m);
    const V now = squared_distance<D>(x, centre), before = load(distance + m);
    store(distance + m, now < before ? now : before);
  }
}

// log2 of the densities of one component at a block of points, and the largest so far.
template <int D>
inline void densities(const EmComponent<D>& component, const double* const x_rows[D], std::int64_t begin,
                      std::int64_t vectors, double* to, V* top) {
  const EmComponent<D> c = component;
  const double* rows[D];
  for (int d = 0; d < D; ++d) rows[d] = x_rows[d] + begin;
  for (std::int64_t v = 0; v < vectors; ++v) {
    V x[D], t[D];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) x[d] = load(rows[d] + v * kL);
    standardise<D>(x, c.gaussian.position, c.gaussian.factor, t);
    V y = V{} + c.log2_weight;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) y -= t[d] * t[d];
    store(to + v * kL, y);
    top[v] = y > top[v] ? y : top[v];
  }
}

// Adds the part of one component in a block: share[v] is mass over the sum of densities, relative[m] this one's.
template <int D>
inline void add_block(const EmComponent<D>& c, const double* const x_rows[D], std::int64_t begin, std::int64_t vectors,
                      const double* relative, const V* share, EmSums<D>& sums) {
  V mass = {}, first[D] = {}, second[kPacked<D>] = {};
  bool touched = false;
  const double* rows[D];
  for (int d = 0; d < D; ++d) rows[d] = x_rows[d] + begin;
  for (std::int64_t v = 0; v < vectors; ++v) {
    const V e = load(relative + v * kL);
    if (!any(e > 0.0)) continue;
    touched = true;
    const V r = e * share[v];
    mass += r;
    V offset[D], part[D];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) {
      offset[d] = load(rows[d] + v * kL) - c.gaussian.position[d];
      part[d] = r * offset[d];
      first[d] += part[d];
    }
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) {
      GMCN_UNROLL
      for (int e2 = d; e2 < D; ++e2) second[packed<D>(d, e2)] += part[d] * offset[e2];
    }
  }
  if (!touched) return;
  sums.mass += sum_of_lanes<double>(mass);
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) sums.first[d] += sum_of_lanes<double>(first[d]);
  GMCN_UNROLL
  for (int p = 0; p < kPacked<D>; ++p) sums.second[p] += sum_of_lanes<double>(second[p]);
}

template <int D>
double expect(const EmComponent<D>* components, std::int64_t n, const double* const x[D], const double* mass,
              std::int64_t points, double* scratch, EmSums<D>* sums) {
  constexpr std::int64_t kVectors = kEmBlock / kL;
  double log_likelihood = 0;
  for (std::int64_t j = 0; j < n; ++j) sums[j] = {};
  for (std::int64_t begin = 0; begin < points; begin += kEmBlock) {
    const std::int64_t vectors = points - begin < kEmBlock ? (points - begin) / kL : kVectors;
    V top[kVectors], total[kVectors] = {}, share[kVectors];
    for (std::int64_t v = 0; v < vectors; ++v) top[v] = V{} - std::numeric_limits<double>::infinity();
    for (std::int64_t j = 0; j < n; ++j) densities<D>(components[j], x, begin, vectors, scratch + j * kEmBlock, top);
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t v = 0; v < vectors; ++v) {
        double* const at = scratch + j * kEmBlock + v * kL;
        const V y = load(at) - top[v];
        V e = {};
        if (any(y > -kNegligible)) e = exp2<double>(y);
        store(at, e);
        total[v] += e;
      }
    }
    for (std::int64_t v = 0; v < vectors; ++v) {
      const V m = load(mass + begin + v * kL);
      share[v] = m / total[v];
      for (int lane = 0; lane < kL; ++lane)
        log_likelihood += m[lane] > 0 ? m[lane] * (top[v][lane] + std::log2(total[v][lane])) : 0.0;
    }
    for (std::int64_t j = 0; j < n; ++j)
      add_block<D>(components[j], x, begin, vectors, scratch + j * kEmBlock, share, sums[j]);
  }
  return log_likelihood;
}

template <int D>
StepKernels<D> steps() {
  return {nearest<D>, approach<D>, expect<D>};
}

template StepKernels<2> steps();
template StepKernels<3> steps();

}  // namespace gmcn::GMCN_PATH
