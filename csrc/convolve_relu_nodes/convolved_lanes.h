// The components of one output mixture as lanes.h wants them, made of the data and the kernels of one output channel.
#pragma once

#include <algorithm>
#include <vector>

#include "../common/mixtures.h"
#include "../evaluate/soa.h"
#include "lanes.h"

namespace gmcn {

template <typename T, int D>
inline constexpr int kEntries = 1 + D + kPacked<D>;

// So many components, zero, and room for a vector more.
template <typename T, int D>
struct LaneArrays {
  explicit LaneArrays(std::int64_t count) : arrays(count + kLanePadding) {}
  Lanes<T, D> lanes() const {
    Lanes<T, D> result;
    result.weights = arrays.rows[0];
    for (int d = 0; d < D; ++d) result.positions[d] = arrays.rows[1 + d];
    for (int p = 0; p < kPacked<D>; ++p) result.covariances[p] = arrays.rows[1 + D + p];
    return result;
  }
  Arrays<T, kEntries<T, D>> arrays;
};

// One shape's data, shared by all output channels.
template <typename T, int D>
struct DataLanes {
  DataLanes(const ConvolvedSizes& s, const Stored<T, D>& source, std::int64_t b) : lanes(s.f * s.n), boxes(s.f) {
    const Lanes<T, D> to = lanes.lanes();
    for (std::int64_t f = 0; f < s.f; ++f)
      for (std::int64_t i = f * s.n; i < (f + 1) * s.n; ++i) {
        const Gaussian<T, D> g = source.at(b * s.f * s.n + i);
        to.weights[i] = g.weight;
        negative = negative || g.weight < T(0);
        for (int d = 0; d < D; ++d) to.positions[d][i] = g.position[d];
        for (int p = 0; p < kPacked<D>; ++p) to.covariances[p][i] = g.covariance[p];
        if (g.weight > T(0)) boxes[f].include(g.position);
      }
  }
  struct Box {
    bool empty = true;
    T low[D], high[D];
    void include(const T* x) {
      for (int d = 0; d < D; ++d) low[d] = empty ? x[d] : std::min(low[d], x[d]);
      for (int d = 0; d < D; ++d) high[d] = empty ? x[d] : std::max(high[d], x[d]);
      empty = false;
    }
  };
  LaneArrays<T, D> lanes;  // [F, N]
  std::vector<Box> boxes;  // of each channel's components with weights above zero
  bool negative = false;   // whether there is a weight below zero
};

// N successive components of one data channel f and one Gaussian k of its kernel. Component index is n + N (f + F k).
struct Run {
  std::int64_t f, k, begin;
};

// Components of kernels with positive weights come first, in the order of their indices, then the others.
template <typename T, int D>
class ConvolvedLanes {
 public:
  explicit ConvolvedLanes(const ConvolvedSizes& sizes)
      : s_(sizes), arrays_(sizes.components() + 2 * kLanePadding), lanes_(arrays_.lanes()) {
    runs_.reserve(s_.f * s_.k);
  }

  // kernels: [F, K]
  void build(const DataLanes<T, D>& data, const Gaussian<T, D>* kernels) {
    runs_.clear();
    box_ = {};
    std::int64_t end = 0;
    for (const bool positive : {true, false}) {
      for (std::int64_t k = 0; k < s_.k; ++k)
        for (std::int64_t f = 0; f < s_.f; ++f) {
          const Gaussian<T, D>& kernel = kernels[f * s_.k + k];
          if ((kernel.weight > T(0)) != positive) continue;
          lane_kernels<T, D>().convolve(data.lanes.lanes().from(f * s_.n), kernel, s_.n, lanes_.from(end));
          if (positive) include(data.boxes[f], kernel);
          runs_.push_back({f, k, end});
          end += s_.n;
        }
      pad(end);
      (positive ? positive_ : end_) = end;
    }
  }

  const Lanes<T, D>& lanes() const { return lanes_; }
  std::int64_t positive() const { return positive_; }  // components before it have positive kernels; with padding
  std::int64_t size() const { return end_; }           // with padding
  const std::vector<Run>& runs() const { return runs_; }
  // Of all components with weights above zero.
  const typename DataLanes<T, D>::Box& box() const { return box_; }

 private:
  void include(const typename DataLanes<T, D>::Box& box, const Gaussian<T, D>& kernel) {
    if (box.empty) return;
    T low[D], high[D];
    for (int d = 0; d < D; ++d) low[d] = box.low[d] + kernel.position[d], high[d] = box.high[d] + kernel.position[d];
    box_.include(low);
    box_.include(high);
  }

  void pad(std::int64_t& end) {
    T identity[kPacked<D>];
    set_identity<T, D>(T(1), identity);
    for (; end % kLanePadding; ++end) {
      lanes_.weights[end] = 0;
      for (int d = 0; d < D; ++d) lanes_.positions[d][end] = 0;
      for (int p = 0; p < kPacked<D>; ++p) lanes_.covariances[p][end] = identity[p];
    }
  }

  ConvolvedSizes s_;
  LaneArrays<T, D> arrays_;
  Lanes<T, D> lanes_;
  std::vector<Run> runs_;
  typename DataLanes<T, D>::Box box_;
  std::int64_t positive_ = 0, end_ = 0;
};

}  // namespace gmcn
