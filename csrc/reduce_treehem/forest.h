// The nodes of several reduction trees and the Gaussians that they keep: bottom-up each node merges what its children
// keep. Merges wait in queues, one for each number of Gaussians, until there are enough for a batch: of one tree's
// nodes few can be merged side by side, of those of many trees enough.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "nodes.h"

namespace gmcn {

template <typename T, int D>
class Forest {
 public:
  struct Node {
    std::int32_t parent;       // -1: a root
    std::int32_t left, right;  // -1: a leaf
    T mass;
    std::uint8_t missing;  // children that are not made yet
    std::uint8_t count;    // Gaussians that it keeps
  };

  // What to merge for a row of the result: `most` Gaussians from there on.
  struct Refit {
    std::int32_t row;
    int m, most;
    std::int32_t in[kMaxMerge];
  };

  // `leaves` is the number of them all; the Gaussians numbered from 0 on are theirs. At most `refitted` Gaussians are
  // made by refits.
  Forest(std::int32_t leaves, std::int32_t refitted, int per_node, const MergeOptions<T>& options, bool for_gradient)
      : nodes(2 * static_cast<std::size_t>(leaves)),
        t_(per_node),
        for_gradient_(for_gradient),
        options_(options),
        made_(leaves),
        kept_(nodes.size() * per_node),
        queues_(2 * per_node + 1) {
    const std::size_t most = static_cast<std::size_t>(leaves) * (1 + t_) + refitted + kBatch;
    gaussians_ = allocate(most, gaussians);
    if (for_gradient) place.reset(new std::int32_t[most]), std::fill_n(place.get(), leaves, 0);
  }

  std::vector<Node> nodes;
  Fields<T, D> gaussians{}, gradients{};
  // Of the gradient of each Gaussian, among `gradients`. Below zero: what merges give. Zero: nothing. Above: what
  // others give, who write it there.
  std::unique_ptr<std::int32_t[]> place;

  const std::int32_t* kept(std::int32_t node) const { return kept_.data() + static_cast<std::size_t>(node) * t_; }
  T mass(std::int32_t node) const { return nodes[node].mass; }

  // Takes a node of which nothing is missing, and all that are complete with it.
  void finish(std::int32_t node) {
    for (node = nodes[node].parent; node >= 0 && --nodes[node].missing == 0; node = nodes[node].parent)
      if (!pass_on(node)) break;
  }
  void set_leaf(std::int32_t node, std::int32_t gaussian) {
    nodes[node].count = 1;
    kept_[static_cast<std::size_t>(node) * t_] = gaussian;
  }

  // What the two children of an inner node keep, without the weightless.
  int collect(std::int32_t node, std::int32_t* collected) const {
    int m = 0;
    for (const std::int32_t child : {nodes[node].left, nodes[node].right})
      for (int k = 0; k < nodes[child].count; ++k) {
        const std::int32_t gaussian = kept(child)[k];
        if (gaussians.data[gaussian] >= T(kMinWeight)) collected[m++] = gaussian;
      }
    return m;
  }

  // Merges until no queue has enough for a batch, or all that wait.
  void merge(bool all) {
    for (;;) {
      Queue* longest = &queues_[0];
      for (Queue& queue : queues_)
        if (queue.owners.size() > longest->owners.size()) longest = &queue;
      const auto size = static_cast<std::int32_t>(longest->owners.size());
      if (size == 0 || (!all && size < kBatch)) return;
      const std::int32_t merges = std::min(size, kBatch), first = size - merges;
      const std::int32_t out = run(*longest, first, merges, t_);
      std::int32_t owners[kBatch];
      std::copy_n(longest->owners.data() + first, merges, owners);
      longest->remove_from(first);
      for (std::int32_t l = 0; l < merges; ++l) {
        std::int32_t* const kept = kept_.data() + static_cast<std::size_t>(owners[l]) * t_;
        for (int k = 0; k < t_; ++k) kept[k] = out + k * merges + l;
        nodes[owners[l]].count = static_cast<std::uint8_t>(t_);
        finish(owners[l]);
      }
    }
  }

  // rows[row + k] becomes the k-th Gaussian of each refit.
  void merge(const std::vector<Refit>& refits, std::int32_t* rows) {
    for (int most = 1; most < 2 * t_; ++most) {
      const auto run_queue = [&](Queue& queue) {
        const auto merges = static_cast<std::int32_t>(queue.owners.size());
        if (merges == 0) return;
        const std::int32_t out = run(queue, 0, merges, most);
        for (std::int32_t l = 0; l < merges; ++l)
          for (int k = 0; k < most; ++k) rows[queue.owners[l] + k] = out + k * merges + l;
        queue.remove_from(0);
      };
      for (const Refit& refit : refits) {
        if (refit.most != most) continue;
        Queue& queue = queues_[refit.m];
        queue.add(refit.row, refit.in, refit.m);
        if (queue.owners.size() == kBatch) run_queue(queue);
      }
      for (Queue& queue : queues_) run_queue(queue);
    }
  }

  // Room for the gradients of all merges and for `others`.
  void make_gradients(std::int32_t others) {
    gradients_ = allocate(1 + others - lowest_, gradients);
    gradients.data -= lowest_;
    gradients.set(0, {});
  }
  void descend() const {
    for (std::size_t b = batches_.size(); b-- > 0;) {
      const Batch& batch = batches_[b];
      node_kernels<T, D>().merge_vjp(merges_of(batch), options_, gaussians, place.get(), gradients, batch.to);
    }
  }

 private:
  struct Queue {
    std::vector<std::int32_t> owners;  // nodes, or rows of the result
    std::vector<std::int32_t> in;      // [size, m]
    int m = 0;

    void add(std::int32_t owner, const std::int32_t* gaussians, int count) {
      owners.push_back(owner), in.insert(in.end(), gaussians, gaussians + count), m = count;
    }
    void remove_from(std::int32_t first) { owners.resize(first), in.resize(static_cast<std::size_t>(first) * m); }
  };

  struct Delete {
    void operator()(std::byte* memory) const { ::operator delete[](memory, std::align_val_t(kStateAlignment)); }
  };
  using Memory = std::unique_ptr<std::byte[], Delete>;
  static Memory allocate(std::size_t bytes) { return Memory(new (std::align_val_t(kStateAlignment)) std::byte[bytes]); }
  static std::unique_ptr<T[]> allocate(std::size_t count, Fields<T, D>& fields) {
    // A stride that is a power of two would put all fields of a Gaussian into the same few lines of a cache.
    fields.stride = (count + 31) / 32 * 32 + 16;
    std::unique_ptr<T[]> memory(new T[kFields<T, D> * fields.stride]);
    fields.data = memory.get();
    return memory;
  }

  struct Batch {
    std::int32_t merges, out, to;
    int m, t;
    std::size_t in;  // its place in inputs_
    Memory state;
  };
  Merges merges_of(const Batch& b) const {
    return {b.merges, b.m,          b.t, reinterpret_cast<const std::int32_t (*)[kBatch]>(inputs_.data() + b.in),
            b.out,    b.state.get()};
  }

  // Whether the node needs no merge; else it waits for one.
  bool pass_on(std::int32_t node) {
    Node& of = nodes[node];
    of.mass = nodes[of.left].mass + nodes[of.right].mass;
    std::int32_t collected[kMaxMerge];
    const int m = collect(node, collected);
    if (m > t_) {
      queues_[m].add(node, collected, m);
      return false;
    }
    of.count = static_cast<std::uint8_t>(m);
    std::copy_n(collected, m, kept_.data() + static_cast<std::size_t>(node) * t_);
    return true;
  }

  // Merges those in the queue from `first` on to t Gaussians each; returns the first of these.
  std::int32_t run(const Queue& queue, std::int32_t first, std::int32_t merges, int t) {
    const int m = queue.m;
    if (batches_.empty() || for_gradient_) batches_.emplace_back();
    Batch& batch = batches_.back();
    if (!for_gradient_) inputs_.clear();
    batch.merges = merges, batch.out = made_, batch.m = m, batch.t = t, batch.in = inputs_.size();
    inputs_.resize(inputs_.size() + static_cast<std::size_t>(m) * kBatch);
    auto* const in = reinterpret_cast<std::int32_t (*)[kBatch]>(inputs_.data() + batch.in);
    for (int j = 0; j < m; ++j)
      for (int l = 0; l < kBatch; ++l)
        in[j][l] = queue.in[static_cast<std::size_t>(first + std::min(l, merges - 1)) * m + j];
    batch.state = allocate(node_kernels<T, D>().state_size(m, t));
    if (for_gradient_) {
      lowest_ -= m * merges, batch.to = lowest_;
      for (int j = 0; j < m; ++j)
        for (int l = 0; l < merges; ++l) place[in[j][l]] = batch.to + j * merges + l;
      std::fill_n(place.get() + made_, t * merges, 0);
    }
    node_kernels<T, D>().merge(merges_of(batch), options_, gaussians);
    made_ += t * merges;
    return batch.out;
  }

  int t_;
  bool for_gradient_;
  MergeOptions<T> options_;
  std::int32_t made_;               // Gaussians
  std::int32_t lowest_ = -kBatch;   // place of a gradient
  std::vector<std::int32_t> kept_;  // [nodes, t]
  std::vector<Queue> queues_;       // by the number of Gaussians that are merged
  std::vector<std::int32_t> inputs_;
  std::vector<Batch> batches_;  // in order; without a gradient, the last one
  std::unique_ptr<T[]> gaussians_, gradients_;
};

}  // namespace gmcn
