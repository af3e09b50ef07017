// convolve_relu_nodes on CUDA: one block cuts an output mixture into nodes, then all components are summed up there.
// The convolved mixture is read from its factors. The backward pass stores the gradients of the components of a part of
// the batch at a time for as long as it takes to add them up.
#include "../common/convolved.cuh"
#include "node_groups.cuh"
#include "node_vjp.cuh"

namespace gmcn {

namespace {

constexpr std::int64_t kNodeSpace = kWorkingSpace / 2;  // bytes beside what is kept and returned

struct Cuda {
  template <typename T, int D>
  static void forward(const ConvolvedSizes&, const Batch<Convolved<T, D>>& mixtures, std::int64_t n,
                      const Rows<T, D>& result, const NodeRows<T, std::int16_t>& kept) {
    const OnDevice on(mixtures.like);
    const Scratch<std::int32_t> used(mixtures.like, mixtures.b);
    GroupsJob<T, D, CutBySpread> job(mixtures, n);
    const GroupsRoom room(job.bytes(), job.tasks, kNodeSpace, mixtures.like);
    room.give(job);
    launch(make_nodes<T, D>, room.blocks, kGroupThreads, room.shared_bytes, on.stream, job, result, kept, used.data());
    add_at_nodes(mixtures, n, on, ValuesAtNodes<T, D>{n, used.data(), result, kept});
  }

  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, std::int64_t n,
                       const Stored<T, D>& upstream, const Stored<T, D>& nodes,
                       const NodeRows<const T, const std::int16_t>& kept, const Rows<T, D>& of_data,
                       const Rows<T, D>& of_kernels) {
    const OnDevice on(mixtures.like);
    const std::int64_t all_nodes = mixtures.b * n;
    const Scratch<UpstreamPoint<T, D, 2>> points(mixtures.like, all_nodes);
    const Scratch<T> of_mass(mixtures.like, all_nodes), of_positions(mixtures.like, all_nodes * D),
        of_covariances(mixtures.like, all_nodes * D * D);
    launch(node_upstream<T, D>, blocks_for(all_nodes, kNodeThreads), kNodeThreads, 0, on.stream,
           Nodes<T, D>{nodes, upstream, kept}, all_nodes, points.data(),
           Rows<T, D>{of_mass.data(), of_positions.data(), of_covariances.data()});
    add_at_nodes(mixtures, n, on, GradientsOfNodes<T, D>{n, points.data(), of_positions.data()});
    const Stored<T, D> of_nodes{of_mass.data(), of_positions.data(), of_covariances.data(), n};

    // The parts depend on shapes alone, and so does the order of all sums.
    const std::int64_t shape_bytes = s.g * mixtures.n * (1 + D + D * D) * std::int64_t(sizeof(T));
    const std::int64_t parts = blocks_for(s.b, at_least_one(kNodeSpace / shape_bytes)), part = blocks_for(s.b, parts);
    const GradientRows<T, D> rows(mixtures.like, part * s.g * mixtures.n);
    for (std::int64_t b = 0; b < s.b; b += part) {
      const std::int64_t size = at_most(part, s.b - b), row = b * s.f * s.n, mixture = b * s.g;
      Convolved<T, D> source = mixtures.source;
      source.data = from_row(source.data, row);
      const WriteComponentGradient<T, D> write{source,
                                               from_row(nodes, mixture * n),
                                               from_row(of_nodes, mixture * n),
                                               kept.group + mixture * mixtures.n,
                                               rows.to_write(),
                                               mixtures.n};
      launch_by_rows<kGaussiansPerThread>(size * s.g, mixtures.n, [&](auto per_thread, std::int64_t blocks) {
        launch(gradients_of_gaussians<T, D, 2, per_thread, PreparedConvolution<T, D>, AllNodes<T, D>,
                                      WriteComponentGradient<T, D>>,
               blocks, kPairThreads, 0, on.stream, PreparedConvolution<T, D>{source}, mixtures.n,
               points.data() + mixture * n, AllNodes<T, D>{n}, n, write);
      });
      gather(source, size, rows.to_read(mixtures.n), on,
             {of_data.weights + row, of_data.positions + row * D, of_data.covariances + row * D * D}, of_kernels,
             b == 0);
    }
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_relu_nodes", TORCH_BOX(&ConvolveReluNodes<Cuda>::forward));
  m.impl("convolve_relu_nodes_backward", TORCH_BOX(&ConvolveReluNodes<Cuda>::backward));
}

}  // namespace gmcn
