// TreeHEM for one mixture (section 4.1 and appendix D): a radix tree over the Morton order of the centres; bottom-up
// each node merges what its children keep to t Gaussians; top-down the heaviest nodes are opened until n Gaussians are
// selected.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <queue>
#include <utility>
#include <vector>

#include "../common/morton.h"
#include "../common/radix_tree.h"
#include "nodes.h"

namespace gmcn {

template <typename T, int D>
class Reduction {
 public:
  Reduction(std::int32_t components, std::int32_t wanted, int per_node, MergeOptions<T> options)
      : n_(components), wanted_(wanted), t_(per_node), options_(options) {}

  // Takes component(i) for i < n, in units in which the average variance is one. False: a weight or a covariance is
  // unusable.
  template <typename F>
  bool read(const F& component) {
    std::vector<Gaussian<T, D>> unsorted(n_);
    T low[D] = {}, high[D] = {}, trace_sum = 0;
    for (std::int32_t i = 0; i < n_; ++i) {
      unsorted[i] = component(i);
      for (int d = 0; d < D; ++d) {
        const T x = unsorted[i].position[d];
        low[d] = i ? std::min(low[d], x) : x, high[d] = i ? std::max(high[d], x) : x;
        trace_sum += unsorted[i].covariance[packed<D>(d, d)];
      }
    }
    scale_ = std::sqrt(trace_sum / (T(n_) * D));
    if (!(scale_ > T(0)) || !(scale_ < T(INFINITY))) return false;
    std::vector<std::uint32_t> codes(n_);
    for (std::int32_t i = 0; i < n_; ++i) {
      Gaussian<T, D>& g = unsorted[i];
      codes[i] = morton_code<T, D>(g.position, low, high);
      T finite = g.weight;
      for (int d = 0; d < D; ++d) g.position[d] /= scale_, finite += g.position[d];
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] /= scale_ * scale_, finite += g.covariance[p];
      if (!(g.weight >= T(0)) || !std::isfinite(finite) || !is_positive_definite<T, D>(g.covariance)) return false;
    }
    sort_codes(codes.data(), n_, 30, order_);
    std::vector<std::uint64_t> keys(n_);
    leaves_.resize(n_);
    for (std::int32_t k = 0; k < n_; ++k) {
      keys[k] = static_cast<std::uint64_t>(codes[order_[k]]) << 32 | static_cast<std::uint32_t>(order_[k]);
      leaves_[k] = unsorted[order_[k]];
    }
    tree_.build(keys);
    return true;
  }

  // Writes exactly `wanted` components; those beyond what the mixture holds have weight 0 and the average covariance.
  void forward(const Rows<T, D>& result, std::int64_t row) {
    fit(false);
    for (const Selected& s : selected_) {
      Keep keep(*this, s);
      for (int k = 0; k < keep.count; ++k) result.write(row++, in_input_units(keep.out[k]));
      padded_ -= keep.count;
    }
    for (; padded_ > 0; --padded_) result.write(row++, in_input_units(padding()));
  }

  // Gradients of all components, for those of the result from `row` on.
  void backward(const Stored<T, D>& upstream, std::int64_t row, Gaussian<T, D>* gradients) {
    fit(true);
    leaf_gradients_.assign(n_, {});
    inner_gradients_.assign(static_cast<std::size_t>(n_ - 1) * t_, {});
    live_.assign(n_ - 1, 0);
    nodes_.leaf_gradients = leaf_gradients_.data(), nodes_.inner_gradients = inner_gradients_.data();
    nodes_.live = live_.data();
    T scale_gradient = 0;
    const auto read_upstream = [&](const Gaussian<T, D>& value) {
      Gaussian<T, D> g = upstream.at(row++);
      scale_gradient += 2 * scale_ * inner<T, D>(g.covariance, value.covariance);
      for (int d = 0; d < D; ++d) {
        scale_gradient += g.position[d] * value.position[d];
        g.position[d] *= scale_;
      }
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] *= scale_ * scale_;
      return g;
    };
    for (const Selected& s : selected_) {
      Keep keep(*this, s);
      Gaussian<T, D> of_kept[kMaxMerge];
      for (int k = 0; k < keep.count; ++k) of_kept[k] = read_upstream(keep.out[k]);
      padded_ -= keep.count;
      if (s.refit) {
        nodes_.template pass_down<kMaxMerge>(keep.collected, keep.places, keep.m, s.refit, keep.state, keep.out,
                                             of_kept);
        nodes_.mark_children(s.node);
      } else {
        for (int k = 0; k < keep.count; ++k) nodes_.gradients(s.node)[k] = of_kept[k];
        nodes_.mark(s.node);
      }
    }
    for (; padded_ > 0; --padded_) read_upstream(padding());
    node_kernels<T, D>().descend(nodes_);
    sort_back(scale_gradient, gradients);
  }

 private:
  struct Selected {
    std::int32_t node;
    std::int32_t refit;  // 0: what the node keeps; else what its children keep, merged to so many Gaussians
  };

  // What a selected node contributes.
  struct Keep {
    Keep(const Reduction& reduction, const Selected& s) {
      const Nodes<T, D>& nodes = reduction.nodes_;
      if (!s.refit) {
        count = nodes.count(s.node);
        for (int k = 0; k < count; ++k) out[k] = nodes.kept(s.node)[k];
        return;
      }
      m = nodes.collect(s.node, collected, places);
      count = m < s.refit ? m : s.refit;
      if (m > s.refit)
        merge<T, D>(collected, m, s.refit, nodes.options, state, out);
      else
        for (int k = 0; k < m; ++k) out[k] = collected[k];
    }
    Gaussian<T, D> out[kMaxMerge], collected[kMaxMerge];
    Slot places[kMaxMerge];
    Merge<T, D> state;
    int m = 0, count = 0;
  };

  static Gaussian<T, D> padding() {
    Gaussian<T, D> g = {};
    set_identity<T, D>(T(1), g.covariance);
    return g;
  }

  Gaussian<T, D> in_input_units(Gaussian<T, D> g) const {
    for (int d = 0; d < D; ++d) g.position[d] *= scale_;
    for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] *= scale_ * scale_;
    return g;
  }

  void fit(bool keep_states) {
    inner_.resize(static_cast<std::size_t>(n_ - 1) * t_);
    counts_.resize(n_ - 1), masses_.resize(n_ - 1);
    const std::size_t state_bytes = meeting(t_) == 4   ? sizeof(Merge<T, D, 4>)
                                    : meeting(t_) == 8 ? sizeof(Merge<T, D, 8>)
                                                       : sizeof(Merge<T, D>);
    // As numbers, whose alignment suits.
    if (keep_states) states_.reset(new double[state_bytes * (n_ - 1) / sizeof(double) + 1]);
    nodes_ = {n_,
              t_,
              options_,
              tree_.left.data(),
              tree_.right.data(),
              tree_.post_order.data(),
              leaves_.data(),
              inner_.data(),
              counts_.data(),
              masses_.data(),
              reinterpret_cast<unsigned char*>(states_.get()),
              nullptr,
              nullptr,
              nullptr};
    node_kernels<T, D>().ascend(nodes_);
    select();
    padded_ = wanted_;
  }

  // Opens the heaviest full node (the first in the list where masses tie) until `wanted` Gaussians are selected. Where
  // opening a node gives more than are left to place, what its children keep is merged to just as many.
  void select() {
    selected_.assign(1, {tree_.root, 0});
    std::int32_t total = nodes_.count(tree_.root);
    std::priority_queue<std::pair<T, std::int32_t>> heaviest;  // mass, -(place in the list)
    const auto offer = [&](std::int32_t place) {
      const std::int32_t node = selected_[place].node;
      if (!nodes_.is_leaf(node) && nodes_.count(node) == t_) heaviest.emplace(nodes_.mass(node), -place);
    };
    if (total > wanted_)
      selected_[0].refit = total = wanted_;
    else
      offer(0);
    while (total < wanted_ && !heaviest.empty()) {
      const std::int32_t place = -heaviest.top().second, node = selected_[place].node;
      heaviest.pop();
      const std::int32_t left = tree_.left[node - n_], right = tree_.right[node - n_];
      const std::int32_t more = nodes_.count(left) + nodes_.count(right) - t_;
      if (more > wanted_ - total) {
        selected_[place].refit = t_ + wanted_ - total;
        total += Keep(*this, selected_[place]).count - t_;
        continue;
      }
      selected_[place].node = left;
      selected_.push_back({right, 0});
      total += more;
      offer(place);
      offer(static_cast<std::int32_t>(selected_.size()) - 1);
    }
  }

  // Gradients of leaves as those of components, in the order and the units of the input.
  void sort_back(T scale_gradient, Gaussian<T, D>* gradients) {
    for (std::int32_t k = 0; k < n_; ++k) {
      const Gaussian<T, D>& g = leaf_gradients_[k];
      for (int d = 0; d < D; ++d) scale_gradient -= g.position[d] * leaves_[k].position[d] / scale_;
      scale_gradient -= 2 * inner<T, D>(g.covariance, leaves_[k].covariance) / scale_;
    }
    const T trace_gradient = scale_gradient / (2 * scale_ * T(n_) * D);
    for (std::int32_t k = 0; k < n_; ++k) {
      Gaussian<T, D>& g = gradients[order_[k]] = leaf_gradients_[k];
      for (int d = 0; d < D; ++d) g.position[d] /= scale_;
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] /= scale_ * scale_;
      for (int d = 0; d < D; ++d) g.covariance[packed<D>(d, d)] += trace_gradient;
    }
  }

  std::int32_t n_, wanted_, padded_ = 0;
  int t_;
  MergeOptions<T> options_;
  T scale_ = 1;
  RadixTree tree_;
  std::vector<std::int32_t> order_;             // component of each leaf
  std::vector<Gaussian<T, D>> leaves_, inner_;  // inner_: t slots per inner node
  std::vector<T> masses_;                       // of inner nodes
  std::vector<std::uint8_t> counts_;            // Gaussians an inner node keeps
  std::unique_ptr<double[]> states_;
  Nodes<T, D> nodes_{};
  std::vector<Selected> selected_;
  std::vector<Gaussian<T, D>> leaf_gradients_, inner_gradients_;
  std::vector<std::uint8_t> live_;
};

}  // namespace gmcn
