// The members of one output mixture's nodes: its components of positive weight in Morton order, cut into groups.
#pragma once

#include <algorithm>
#include <vector>

#include "../common/cut.h"
#include "../common/moments.h"
#include "../common/radix_tree.h"
#include "../common/relu_nodes.h"
#include "lanes.h"

namespace gmcn {

// Used for one mixture after the other: memory stays.
template <typename T, int D>
class NodeGroups {
 public:
  // Of the first `count` components, whose members lie in the box low to high.
  void build(const Lanes<T, D>& lanes, std::int64_t count, const T* low, const T* high, std::int32_t wanted) {
    codes_.resize(count);
    T per_unit[D];
    for (int d = 0; d < D; ++d) per_unit[d] = cells_per_unit(low[d], high[d]);
    lane_kernels<T, D>().codes(lanes, count, low, per_unit, codes_.data());
    members_.clear();
    for (std::int64_t i = 0; i < count; ++i)
      if (lanes.weights[i] > T(0)) codes_[members_.size()] = codes_[i], members_.push_back(i);
    ranges_.clear();
    if (members_.empty()) return;
    sort_codes(codes_.data(), static_cast<std::int32_t>(members_.size()), 30, order_);
    sum_up(lanes, low);
    constexpr int kSums = kSpreadSums<D>;
    const double* const sums = sums_.data();
    cut(
        keys_, wanted,
        [sums](std::int32_t b, std::int32_t e) { return spread_priority<D>(sums + b * kSums, sums + e * kSums); },
        ranges_);
  }

  std::int32_t size() const { return static_cast<std::int32_t>(ranges_.size()); }

  // group[i] = j for the members i of node j.
  void mark(std::int32_t j, std::int32_t* group) const {
    for (std::int32_t k = ranges_[j].first; k < ranges_[j].second; ++k) group[members_[order_[k]]] = j;
  }

  Gaussian<T, D> moments(const Lanes<T, D>& lanes, std::int32_t j) const {
    Gaussian<T, D> result = {};
    for (std::int32_t k = ranges_[j].first; k < ranges_[j].second; ++k) add_to_mean<T, D>(member(lanes, k), result);
    if (!finish_mean<T, D>(result)) return result;
    for (std::int32_t k = ranges_[j].first; k < ranges_[j].second; ++k)
      add_to_covariance<T, D>(member(lanes, k), result, result.covariance);
    return result;
  }

 private:
  Gaussian<T, D> member(const Lanes<T, D>& lanes, std::int32_t k) const {
    const std::int64_t i = members_[order_[k]];
    Gaussian<T, D> g;
    g.weight = lanes.weights[i];
    for (int d = 0; d < D; ++d) g.position[d] = lanes.positions[d][i];
    for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] = lanes.covariances[p][i];
    return g;
  }

  // Keys and running sums along the order.
  void sum_up(const Lanes<T, D>& lanes, const T* low) {
    constexpr int kSums = kSpreadSums<D>;
    const auto count = static_cast<std::int32_t>(members_.size());
    keys_.resize(count);
    sums_.resize((count + 1) * kSums);
    double run[kSums] = {};
    std::copy_n(run, kSums, sums_.data());
    for (std::int32_t k = 0; k < count; ++k) {
      const std::int64_t i = members_[order_[k]];
      keys_[k] = static_cast<std::uint64_t>(codes_[order_[k]]) << 32 | static_cast<std::uint32_t>(k);
      const double w = lanes.weights[i];
      double square = 0;
      run[0] += w;
      for (int d = 0; d < D; ++d) {
        const double c = lanes.positions[d][i] - low[d];
        square += c * c;
        run[1 + d] += w * c;
      }
      run[D + 1] += w * square;
      std::copy_n(run, kSums, sums_.data() + (k + 1) * kSums);
    }
  }

  std::vector<std::uint32_t> codes_;
  std::vector<std::int32_t> members_, order_;  // order_[k]: the k-th along the curve, an index of members_
  std::vector<std::uint64_t> keys_;
  std::vector<double> sums_;
  std::vector<Range> ranges_;
};

}  // namespace gmcn
