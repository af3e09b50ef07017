// TreeHEM for one mixture (section 4.1 and appendix D): a radix tree over the Morton order of the centres; bottom-up
// each node merges what its children keep to t Gaussians; top-down the heaviest nodes are opened until n Gaussians are
// selected.
#pragma once

#include <cmath>
#include <cstdint>
#include <queue>
#include <utility>
#include <vector>

#include "../common/merge.h"
#include "../common/morton.h"
#include "../common/radix_tree.h"

namespace gmcn {

template <typename T, int D>
class Reduction {
 public:
  Reduction(std::int32_t components, std::int32_t wanted, int per_node, MergeOptions<T> options)
      : n_(components), wanted_(wanted), t_(per_node), options_(options) {}

  // Reads the mixture, in units in which its average variance is one. False: a weight or a covariance is unusable.
  bool read(const T* weights, const T* positions, const T* covariances) {
    T low[D], high[D], trace_sum = 0;
    for (int d = 0; d < D; ++d) low[d] = high[d] = positions[d];
    for (std::int32_t i = 0; i < n_; ++i)
      for (int d = 0; d < D; ++d) {
        low[d] = std::min(low[d], positions[i * D + d]), high[d] = std::max(high[d], positions[i * D + d]);
        trace_sum += covariances[(i * D + d) * D + d];
      }
    scale_ = std::sqrt(trace_sum / (T(n_) * D));
    if (!(scale_ > T(0)) || !(scale_ < T(INFINITY))) return false;
    std::vector<std::uint32_t> codes(n_);
    std::vector<Gaussian<T, D>> unsorted(n_);
    for (std::int32_t i = 0; i < n_; ++i) {
      Gaussian<T, D>& g = unsorted[i];
      g.weight = weights[i];
      for (int d = 0; d < D; ++d) g.position[d] = positions[i * D + d] / scale_;
      pack<T, D>(covariances + i * D * D, g.covariance);
      T finite = g.weight;
      for (int d = 0; d < D; ++d) finite += g.position[d];
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] /= scale_ * scale_, finite += g.covariance[p];
      if (!(g.weight >= T(0)) || !std::isfinite(finite) || !is_positive_definite<T, D>(g.covariance)) return false;
      codes[i] = morton_code<T, D>(positions + i * D, low, high);
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

  void fit() {
    ascend();
    descend();
  }

  // Writes exactly `wanted` components; those beyond what the mixture holds have weight 0 and the average covariance.
  void write(T* weights, T* positions, T* covariances) {
    std::int32_t row = 0;
    for (const Selected& s : selected_) {
      Gaussian<T, D> kept[kMaxMerge];
      const int count = keep(s, kept);
      for (int k = 0; k < count; ++k) write_row(kept[k], row++, weights, positions, covariances);
    }
    for (; row < wanted_; ++row) write_row(padding(), row, weights, positions, covariances);
  }

  // Gradients of the mixture, written to all n components.
  void backward(const T* weights_upstream, const T* positions_upstream, const T* covariances_upstream,
                T* weights_gradient, T* positions_gradient, T* covariances_gradient) {
    leaf_gradients_.assign(n_, {});
    node_gradients_.assign(static_cast<std::size_t>(n_ - 1) * t_, {});
    live_.assign(n_ - 1, 0);
    T scale_gradient = 0;
    std::int32_t row = 0;
    const auto read_upstream = [&](const Gaussian<T, D>& value) {
      Gaussian<T, D> g;
      g.weight = weights_upstream[row];
      pack<T, D>(covariances_upstream + row * D * D, g.covariance);
      scale_gradient += 2 * scale_ * inner<T, D>(g.covariance, value.covariance);
      for (int d = 0; d < D; ++d) {
        g.position[d] = positions_upstream[row * D + d];
        scale_gradient += g.position[d] * value.position[d];
        g.position[d] *= scale_;
      }
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] *= scale_ * scale_;
      ++row;
      return g;
    };
    for (const Selected& s : selected_) {
      Gaussian<T, D> kept[kMaxMerge], upstream[kMaxMerge];
      const int count = keep(s, kept);
      for (int k = 0; k < count; ++k) upstream[k] = read_upstream(kept[k]);
      if (s.refit) {
        pass_down(s.node, upstream, count, s.refit);
      } else {
        for (int k = 0; k < count; ++k) add(upstream[k], gradients(s.node)[k]);
        mark(s.node);
      }
    }
    while (row < wanted_) read_upstream(padding());
    for (auto node = tree_.post_order.rbegin(); node != tree_.post_order.rend(); ++node)
      if (live_[*node - n_]) pass_down(*node, gradients(*node), count_[*node - n_], t_);
    write_gradients(scale_gradient, weights_gradient, positions_gradient, covariances_gradient);
  }

 private:
  struct Selected {
    std::int32_t node;
    std::int32_t refit;  // 0: what the node keeps; else what its children keep, merged to so many Gaussians
  };

  const Gaussian<T, D>* kept_by(std::int32_t node) const {
    return tree_.is_leaf(node) ? &leaves_[node] : &nodes_[static_cast<std::size_t>(node - n_) * t_];
  }
  Gaussian<T, D>* gradients(std::int32_t node) {
    return tree_.is_leaf(node) ? &leaf_gradients_[node] : &node_gradients_[static_cast<std::size_t>(node - n_) * t_];
  }
  int count(std::int32_t node) const { return tree_.is_leaf(node) ? 1 : count_[node - n_]; }
  T mass(std::int32_t node) const { return tree_.is_leaf(node) ? leaves_[node].weight : mass_[node - n_]; }
  void mark(std::int32_t node) {
    if (!tree_.is_leaf(node)) live_[node - n_] = 1;
  }
  static Gaussian<T, D> padding() {
    Gaussian<T, D> g = {};
    set_identity<T, D>(T(1), g.covariance);
    return g;
  }
  static void add(const Gaussian<T, D>& from, Gaussian<T, D>& to) {
    to.weight += from.weight;
    for (int d = 0; d < D; ++d) to.position[d] += from.position[d];
    add_scaled<T, D>(T(1), from.covariance, to.covariance);
  }

  // What the two children of a node keep, without the weightless; where[j] names the child and its slot.
  int collect(std::int32_t node, Gaussian<T, D>* collected, std::pair<std::int32_t, int>* where) const {
    int m = 0;
    for (const std::int32_t child : {tree_.left[node - n_], tree_.right[node - n_]}) {
      const Gaussian<T, D>* kept = kept_by(child);
      for (int k = 0; k < count(child); ++k)
        if (kept[k].weight >= T(kMinWeight)) where[m] = {child, k}, collected[m++] = kept[k];
    }
    return m;
  }

  // `collected` as at most `most` Gaussians.
  int merge_to(const Gaussian<T, D>* collected, int m, int most, Merge<T, D>& state, Gaussian<T, D>* out) const {
    if (m > most) {
      merge<T, D>(collected, m, most, options_, state, out);
      return most;
    }
    for (int k = 0; k < m; ++k) out[k] = collected[k];
    return m;
  }

  int keep(const Selected& s, Gaussian<T, D>* out) const {
    if (s.refit) {
      Gaussian<T, D> collected[kMaxMerge];
      std::pair<std::int32_t, int> where[kMaxMerge];
      Merge<T, D> state;
      const int m = collect(s.node, collected, where);
      return merge_to(collected, m, s.refit, state, out);
    }
    for (int k = 0; k < count(s.node); ++k) out[k] = kept_by(s.node)[k];
    return count(s.node);
  }

  void ascend() {
    nodes_.resize(static_cast<std::size_t>(n_ - 1) * t_);
    count_.resize(n_ - 1), mass_.resize(n_ - 1);
    Merge<T, D> state;
    for (const std::int32_t node : tree_.post_order) {
      Gaussian<T, D> collected[kMaxMerge];
      std::pair<std::int32_t, int> where[kMaxMerge];
      const int m = collect(node, collected, where);
      count_[node - n_] = merge_to(collected, m, t_, state, &nodes_[static_cast<std::size_t>(node - n_) * t_]);
      mass_[node - n_] = mass(tree_.left[node - n_]) + mass(tree_.right[node - n_]);
    }
  }

  // Opens the heaviest full node (the first in the list where masses tie) until `wanted` Gaussians are selected. Where
  // opening a node gives more than are left to place, what its children keep is merged to just as many.
  void descend() {
    selected_.assign(1, {tree_.root, 0});
    std::int32_t total = count(tree_.root);
    std::priority_queue<std::pair<T, std::int32_t>> heaviest;  // mass, -(place in the list)
    const auto offer = [&](std::int32_t place) {
      const std::int32_t node = selected_[place].node;
      if (!tree_.is_leaf(node) && count(node) == t_) heaviest.emplace(mass(node), -place);
    };
    if (total > wanted_)
      selected_[0].refit = total = wanted_;
    else
      offer(0);
    while (total < wanted_ && !heaviest.empty()) {
      const std::int32_t place = -heaviest.top().second, node = selected_[place].node;
      heaviest.pop();
      const std::int32_t left = tree_.left[node - n_], right = tree_.right[node - n_];
      const std::int32_t more = count(left) + count(right) - t_;
      if (more > wanted_ - total) {
        Gaussian<T, D> unused[kMaxMerge];
        selected_[place].refit = t_ + wanted_ - total;
        total += keep(selected_[place], unused) - t_;
        continue;
      }
      selected_[place].node = left;
      selected_.push_back({right, 0});
      total += more;
      offer(place);
      offer(static_cast<std::int32_t>(selected_.size()) - 1);
    }
  }

  // Gradients of what a node's children keep, from those of what `merge_to` made of it.
  void pass_down(std::int32_t node, const Gaussian<T, D>* upstream, int kept, int most) {
    Gaussian<T, D> collected[kMaxMerge], merged[kMaxMerge], gradient[kMaxMerge] = {};
    std::pair<std::int32_t, int> where[kMaxMerge];
    Merge<T, D> state;
    const int m = collect(node, collected, where);
    merge_to(collected, m, most, state, merged);
    if (m > most)
      merge_vjp<T, D>(collected, m, most, options_, state, merged, upstream, gradient);
    else
      for (int k = 0; k < kept; ++k) gradient[k] = upstream[k];
    for (int j = 0; j < m; ++j) add(gradient[j], gradients(where[j].first)[where[j].second]);
    mark(tree_.left[node - n_]);
    mark(tree_.right[node - n_]);
  }

  void write_row(const Gaussian<T, D>& g, std::int32_t row, T* weights, T* positions, T* covariances) const {
    T covariance[kPacked<D>];
    weights[row] = g.weight;
    for (int d = 0; d < D; ++d) positions[row * D + d] = g.position[d] * scale_;
    for (int p = 0; p < kPacked<D>; ++p) covariance[p] = g.covariance[p] * (scale_ * scale_);
    unpack<T, D>(covariance, covariances + row * D * D);
  }

  void write_gradients(T scale_gradient, T* weights, T* positions, T* covariances) {
    for (std::int32_t k = 0; k < n_; ++k) {
      Gaussian<T, D>& g = leaf_gradients_[k];
      for (int d = 0; d < D; ++d) scale_gradient -= g.position[d] * leaves_[k].position[d] / scale_;
      scale_gradient -= 2 * inner<T, D>(g.covariance, leaves_[k].covariance) / scale_;
    }
    const T trace_gradient = scale_gradient / (2 * scale_ * T(n_) * D);
    for (std::int32_t k = 0; k < n_; ++k) {
      Gaussian<T, D>& g = leaf_gradients_[k];
      const std::int32_t i = order_[k];
      weights[i] = g.weight;
      for (int d = 0; d < D; ++d) positions[i * D + d] = g.position[d] / scale_;
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] /= scale_ * scale_;
      for (int d = 0; d < D; ++d) g.covariance[packed<D>(d, d)] += trace_gradient;
      unpack<T, D>(g.covariance, covariances + i * D * D);
    }
  }

  std::int32_t n_, wanted_;
  int t_;
  MergeOptions<T> options_;
  T scale_ = 1;
  RadixTree tree_;
  std::vector<std::int32_t> order_;             // component of each leaf
  std::vector<Gaussian<T, D>> leaves_, nodes_;  // nodes_: t slots per inner node
  std::vector<T> mass_;                         // of inner nodes
  std::vector<std::uint8_t> count_;             // Gaussians an inner node keeps
  std::vector<Selected> selected_;
  std::vector<Gaussian<T, D>> leaf_gradients_, node_gradients_;
  std::vector<std::uint8_t> live_;  // inner nodes that a gradient reaches
};

}  // namespace gmcn
