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

    using Part = Batch<Convolved<T, D>>;
    for_parts(mixtures, GradientRows<T, D>::kBytes, kNodeSpace, [&](const Part& part, std::int64_t b) {
      const std::int64_t mixture = b * s.g;
      const GradientRows<T, D> rows(part.like, part.b * part.n);
      const WriteComponentGradient<T, D> write{part.source,
                                               from_row(nodes, mixture * n),
                                               from_row(of_nodes, mixture * n),
                                               kept.group + mixture * part.n,
                                               rows.to_write(),
                                               part.n};
      launch_by_rows<kGaussiansPerThread>(part.b, part.n, [&](auto per_thread, std::int64_t blocks) {
        launch(gradients_of_gaussians<T, D, 2, per_thread, PreparedConvolution<T, D>, AllNodes<T, D>,
                                      WriteComponentGradient<T, D>>,
               blocks, kPairThreads, 0, on.stream, PreparedConvolution<T, D>{part.source}, part.n,
               points.data() + mixture * n, AllNodes<T, D>{n}, n, write);
      });
      gather(part.source, part.b / s.g, rows.to_read(part.n), on, from_row(of_data, b * s.f * s.n), of_kernels, b == 0);
    });
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_relu_nodes", TORCH_BOX(&ConvolveReluNodes<Cuda>::forward));
  m.impl("convolve_relu_nodes_backward", TORCH_BOX(&ConvolveReluNodes<Cuda>::backward));
}

}  // namespace gmcn
