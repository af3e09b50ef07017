// The dense fit of a convolution at the nodes of its positive part, without the convolved mixture: one output mixture
// after the other is made of a data mixture, which stays, and the kernels of a channel.
#include "../common/convolved.h"
#include "convolved_lanes.h"
#include "groups.h"
#include "operation.h"

namespace gmcn {

namespace {

// Kernels [G, F, K], packed.
template <typename T, int D>
std::vector<Gaussian<T, D>> read_kernels(const ConvolvedSizes& s, const Stored<T, D>& from) {
  std::vector<Gaussian<T, D>> result(s.g * s.f * s.k);
  for (std::int64_t i = 0; i < std::ssize(result); ++i) result[i] = from.at(i);
  return result;
}

// What one task works in, for one output mixture after the other.
template <typename T, int D>
struct Workspace {
  explicit Workspace(const ConvolvedSizes& s, std::int64_t n) : lanes(s), nodes(n), scratch(n * kVectors), values(n) {
    group.resize(s.components() + 2 * kLanePadding);
  }
  static constexpr std::int64_t kVectors = D * kAlignment / sizeof(T);  // entries of a vector per coordinate

  ConvolvedLanes<T, D> lanes;
  NodeGroups<T, D> groups;
  Arrays<T, D + 2> nodes;  // coordinates and two upstream gradients
  Arrays<T, 1> scratch;
  Arrays<T, 2> values;
  std::vector<std::int32_t> group;  // of every lane
  std::vector<Gaussian<T, D>> gaussians;
};

template <typename T, int D>
struct Forward {
  const ConvolvedSizes& s;
  std::int64_t n;
  const Rows<T, D>& result;
  const NodeRows<T, std::int16_t>& kept;

  bool operator()(const DataLanes<T, D>& data, const Gaussian<T, D>* kernels, std::int64_t mixture,
                  Workspace<T, D>& work) const {
    work.lanes.build(data, kernels);
    const Lanes<T, D>& lanes = work.lanes.lanes();
    const auto& box = work.lanes.box();
    NodeGroups<T, D>& groups = work.groups;
    const std::int64_t positive = box.empty ? 0 : work.lanes.positive();
    groups.build(lanes, positive, box.low, box.high, static_cast<std::int32_t>(n));
    std::fill_n(work.group.begin(), work.lanes.size(), -1);
    std::vector<Gaussian<T, D>>& nodes = work.gaussians;
    groups.moments(lanes, positive, work.group.data(), nodes);
    for (std::int32_t j = 0; j < groups.size(); ++j)
      for (int d = 0; d < D; ++d) work.nodes.rows[d][j] = nodes[j].position[d];
    if (!evaluate(lanes, groups.size(), work)) return false;
    write(nodes, mixture, work);
    return true;
  }

 private:
  // values: g, and what the other kernels add to it
  bool evaluate(const Lanes<T, D>& lanes, std::int32_t count, Workspace<T, D>& work) const {
    NodePoints<T, D> at{count, {}, nullptr};
    for (int d = 0; d < D; ++d) at.x[d] = work.nodes.rows[d];
    const auto& kernels = lane_kernels<T, D>();
    const std::int64_t positive = work.lanes.positive();
    return kernels.values(lanes, positive, at, work.scratch.rows[0], work.values.rows[0]) &&
           kernels.values(lanes.from(positive), work.lanes.size() - positive, at, work.scratch.rows[0],
                          work.values.rows[1]);
  }

  void write(const std::vector<Gaussian<T, D>>& nodes, std::int64_t mixture, const Workspace<T, D>& work) const {
    // What is not a number is no member: without a node it would not be seen.
    const T* const weights = work.lanes.lanes().weights;
    const bool lost = nodes.empty() && std::any_of(weights, weights + work.lanes.size(), [](T w) { return w != w; });
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int64_t row = mixture * n + j;
      Gaussian<T, D> node = {};
      if (j < std::ssize(nodes)) {
        node = nodes[j];
        kept.g[row] = work.values.rows[0][j];
        kept.f[row] = kept.g[row] + work.values.rows[1][j];
      } else {
        // Where the first node is: what comes next must not see that there are fewer.
        if (nodes.empty())
          set_identity<T, D>(T(1), node.covariance);
        else
          node = nodes[0];
        node.weight = kept.g[row] = kept.f[row] = lost ? T(NAN) : T(0);
      }
      kept.mass[row] = node.weight;
      node.weight = node_weight(node.weight, kept.f[row], kept.g[row]);
      result.write(row, node);
    }
    std::int16_t* const group = kept.group + mixture * s.components();
    for (const Run& run : work.lanes.runs())
      std::copy_n(work.group.data() + run.begin, s.n, group + (run.f + s.f * run.k) * s.n);
  }
};

template <typename T, int D>
struct Backward {
  const ConvolvedSizes& s;
  std::int64_t n;
  const Stored<T, D>&upstream, &nodes;
  const NodeRows<const T, const std::int16_t>& kept;

  // Adds to the gradients of the data [F, N] and of the channel's kernels [F, K].
  void operator()(const DataLanes<T, D>& data, const Gaussian<T, D>* kernels, std::int64_t mixture,
                  Workspace<T, D>& work, const Lanes<T, D>& rows, const Lanes<T, D>& of_data,
                  Gaussian<T, D>* of_kernels) const {
    work.lanes.build(data, kernels);
    const Lanes<T, D>& lanes = work.lanes.lanes();
    const std::int64_t positive = work.lanes.positive();
    std::vector<MemberGradient<T, D>> of_groups(n);
    pairs(mixture, work, rows, of_groups);
    const std::int16_t* const group = kept.group + mixture * s.components();
    for (const Run& run : work.lanes.runs())
      std::copy_n(group + (run.f + s.f * run.k) * s.n, s.n, work.group.data() + run.begin);
    lane_kernels<T, D>().members(lanes, positive, work.group.data(), of_groups.data(), rows);
    for (const Run& run : work.lanes.runs())
      lane_kernels<T, D>().scatter(rows.from(run.begin), data.lanes.lanes().weights + run.f * s.n,
                                   kernels[run.f * s.k + run.k].weight, s.n, of_data.from(run.f * s.n),
                                   of_kernels[run.f * s.k + run.k]);
  }

 private:
  // The gradients of components through f and g, and with those of the nodes what members get of their groups.
  void pairs(std::int64_t mixture, Workspace<T, D>& work, const Lanes<T, D>& rows,
             std::vector<MemberGradient<T, D>>& of_groups) const {
    std::vector<std::int32_t> live;
    std::vector<Gaussian<T, D>> gradients(n);
    T *const of_positive = work.nodes.rows[D], *const of_others = work.nodes.rows[D + 1];
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int64_t row = mixture * n + j;
      gradients[j] = upstream.at(row);
      const auto g = node_weight_vjp(gradients[j].weight, kept.mass[row], kept.f[row], kept.g[row]);
      gradients[j].weight = g.of_x;
      if (g.of_f == T(0) && g.of_g == T(0)) continue;
      const std::size_t place = live.size();
      for (int d = 0; d < D; ++d) work.nodes.rows[d][place] = nodes.positions[row * D + d];
      of_positive[place] = g.of_f + g.of_g, of_others[place] = g.of_f;
      live.push_back(static_cast<std::int32_t>(j));
    }
    for (std::int64_t j = n - 1; j > 0 && kept.mass[mixture * n + j] == T(0); --j)  // these repeat the first
      accumulate(gradients[j], T(0), gradients[0]);
    Arrays<T, D> of_nodes(live.size());
    NodePoints<T, D> at{static_cast<std::int32_t>(live.size()), {}, of_positive};
    for (int d = 0; d < D; ++d) at.x[d] = work.nodes.rows[d];
    const Lanes<T, D>& lanes = work.lanes.lanes();
    const std::int64_t positive = work.lanes.positive();
    const auto& kernels = lane_kernels<T, D>();
    kernels.vjp(lanes, positive, at, work.scratch.rows[0], rows, of_nodes.rows);
    at.upstream = of_others;
    kernels.vjp(lanes.from(positive), work.lanes.size() - positive, at, work.scratch.rows[0], rows.from(positive),
                of_nodes.rows);
    for (std::size_t k = 0; k < live.size(); ++k)
      for (int d = 0; d < D; ++d) gradients[live[k]].position[d] += of_nodes.rows[d][k];
    for (std::int64_t j = 0; j < n; ++j) of_groups[j] = of_members(nodes.at(mixture * n + j), gradients[j]);
  }

  static MemberGradient<T, D> of_members(const Gaussian<T, D>& node, const Gaussian<T, D>& gradient) {
    MemberGradient<T, D> result = {};
    if (node.weight == T(0)) return result;  // no members
    for (int d = 0; d < D; ++d) {
      result.first[d] = gradient.position[d] / node.weight;
      result.mean[d] = node.position[d];
    }
    for (int p = 0; p < kPacked<D>; ++p) result.second[p] = gradient.covariance[p] / node.weight;
    result.constant = gradient.weight - inner<T, D>(result.second, node.covariance);
    return result;
  }
};

struct Cpu {
  template <typename T, int D>
  static void forward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, std::int64_t n,
                      const Rows<T, D>& result, const NodeRows<T, std::int16_t>& kept) {
    if (s.mixtures() == 0) return;
    const auto kernels = read_kernels(s, mixtures.source.kernels);
    const Forward<T, D> of_mixture{s, n, result, kept};
    // Of a shape's channels: tasks small enough that all threads end together.
    const std::int64_t parts = std::clamp<std::int64_t>(32 * torch::stable::get_num_threads() / s.b, 1, s.g);
    std::atomic<bool> negative = false;
    std::vector<std::int64_t> bad_of(s.b * parts);
    const std::int64_t bad = run_tasks(s.b * parts, [&](std::int64_t task) {
      const std::int64_t b = task / parts, part = task % parts;
      const DataLanes<T, D> data(s, mixtures.source.data, b);
      if (data.negative) negative = true;
      Workspace<T, D> work(s, n);
      for (std::int64_t g = part * s.g / parts; g < (part + 1) * s.g / parts; ++g)
        if (!of_mixture(data, kernels.data() + g * s.f * s.k, bad_of[task] = b * s.g + g, work)) return false;
      return true;
    });
    require(!negative, "convolve_relu_nodes: the data have a negative weight; it takes mixtures of positive weights");
    check_positive_definite(bad < 0 ? bad : bad_of[bad]);
  }

  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, std::int64_t n,
                       const Stored<T, D>& upstream, const Stored<T, D>& nodes,
                       const NodeRows<const T, const std::int16_t>& kept, const Rows<T, D>& of_data,
                       const Rows<T, D>& of_kernels) {
    const auto kernels = read_kernels(s, mixtures.source.kernels);
    const Backward<T, D> of_mixture{s, n, upstream, nodes, kept};
    ConvolvedGradients<T, D> gradients(s, mixtures.source);
    gradients.add_shapes(
        [&](std::int64_t b, std::int64_t begin, std::int64_t end, Gaussian<T, D>* to_data, Gaussian<T, D>* to_kernels) {
          const DataLanes<T, D> data(s, mixtures.source.data, b);
          Workspace<T, D> work(s, n);
          const LaneArrays<T, D> rows(s.components() + 2 * kLanePadding), sums(s.f * s.n);
          for (std::int64_t g = begin; g < end; ++g)
            of_mixture(data, kernels.data() + g * s.f * s.k, b * s.g + g, work, rows.lanes(), sums.lanes(),
                       to_kernels + g * s.f * s.k);
          const Lanes<T, D> from = sums.lanes();
          for (std::int64_t i = 0; i < s.f * s.n; ++i) {
            to_data[i].weight = from.weights[i];
            for (int d = 0; d < D; ++d) to_data[i].position[d] = from.positions[d][i];
            for (int p = 0; p < kPacked<D>; ++p) to_data[i].covariance[p] = from.covariances[p][i];
          }
        });
    gradients.write(of_data, of_kernels);
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("convolve_relu_nodes", TORCH_BOX(&ConvolveReluNodes<Cpu>::forward));
  m.impl("convolve_relu_nodes_backward", TORCH_BOX(&ConvolveReluNodes<Cpu>::backward));
}

}  // namespace gmcn
