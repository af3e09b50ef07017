// The schemas of all operations; their implementations register themselves beside each device's code.
#include "common/tensors.h"

#if defined(GMCN_EMULATE)  // the CUDA kernels as tests run them on the CPU
STABLE_TORCH_LIBRARY(gmcn_emulated, m) {
#else
STABLE_TORCH_LIBRARY(gmcn, m) {
#endif
  m.def("evaluate(Tensor weights, Tensor positions, Tensor covariances, Tensor points, float cutoff) -> Tensor");
  m.def(
      "evaluate_backward(Tensor gradient, Tensor weights, Tensor positions, Tensor covariances, Tensor points,"
      " float cutoff, bool points_gradient) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "relu_fit(Tensor weights, Tensor positions, Tensor covariances, float offset, float s0, float s1, float cutoff)"
      " -> (Tensor, Tensor, Tensor)");
  m.def(
      "relu_fit_backward(Tensor gradient, Tensor weights, Tensor positions, Tensor covariances, Tensor f, Tensor g,"
      " float offset, float s0, float s1, float cutoff) -> (Tensor, Tensor, Tensor)");
  m.def(
      "convolve_relu_fit(Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_weights,"
      " Tensor kernel_positions, Tensor kernel_covariances, float offset, float s0, float s1, float cutoff)"
      " -> (Tensor, Tensor, Tensor)");
  m.def(
      "convolve_relu_fit_backward(Tensor gradient, Tensor weights, Tensor positions, Tensor covariances,"
      " Tensor kernel_weights, Tensor kernel_positions, Tensor kernel_covariances, Tensor f, Tensor g, float offset,"
      " float s0, float s1, float cutoff) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "reduce_treehem(Tensor weights, Tensor positions, Tensor covariances, int n, int t, float kl_threshold,"
      " float virtual_samples) -> (Tensor, Tensor, Tensor)");
  m.def(
      "reduce_treehem_backward(Tensor weights_gradient, Tensor positions_gradient, Tensor covariances_gradient,"
      " Tensor weights, Tensor positions, Tensor covariances, int n, int t, float kl_threshold, float virtual_samples)"
      " -> (Tensor, Tensor, Tensor)");
  m.def(
      "convolve_reduce_treehem(Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_positions,"
      " Tensor kernel_covariances, int n, int t, float kl_threshold, float virtual_samples)"
      " -> (Tensor, Tensor, Tensor)");
  m.def(
      "convolve_reduce_treehem_backward(Tensor weights_gradient, Tensor positions_gradient,"
      " Tensor covariances_gradient, Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_positions,"
      " Tensor kernel_covariances, int n, int t, float kl_threshold, float virtual_samples)"
      " -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "convolve_fit(Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_weights,"
      " Tensor kernel_positions, Tensor kernel_covariances, int n) -> (Tensor, Tensor, Tensor)");
  m.def(
      "convolve_fit_backward(Tensor weights_gradient, Tensor positions_gradient, Tensor covariances_gradient,"
      " Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_weights, Tensor kernel_positions,"
      " Tensor kernel_covariances, int n) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "convolve_relu_nodes(Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_weights,"
      " Tensor kernel_positions, Tensor kernel_covariances, int n)"
      " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "convolve_relu_nodes_backward(Tensor weights_gradient, Tensor positions_gradient, Tensor covariances_gradient,"
      " Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_weights, Tensor kernel_positions,"
      " Tensor kernel_covariances, Tensor node_positions, Tensor node_covariances, Tensor mass, Tensor f, Tensor g,"
      " Tensor group, int n) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "layer_moments(Tensor mean, Tensor variance, Tensor along, Tensor weights, int activation) -> (Tensor, Tensor)");
  m.def(
      "layer_moments_backward(Tensor value_gradient, Tensor reach_gradient, Tensor mean, Tensor variance, Tensor along,"
      " Tensor weights, int activation) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "tree_log_prob(Tensor points, Tensor heights, Tensor means, Tensor whiteners, int[] sizes)"
      " -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "tree_log_prob_backward(Tensor gradient, Tensor points, Tensor heights, Tensor means, Tensor whiteners,"
      " Tensor best, Tensor totals, Tensor path, int[] sizes) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("largest_rows(Tensor x) -> Tensor");
  // Poses of one mixture that make it overlap another; no gradients. See gmcn/ops/poses.py.
  m.def(
      "pose_overlaps(Tensor source_weights, Tensor source_means, Tensor source_covariances, Tensor target_weights,"
      " Tensor target_means, Tensor target_covariances, Tensor rotations, Tensor translations) -> Tensor");
  m.def(
      "ascend_poses(Tensor source_weights, Tensor source_means, Tensor source_covariances, Tensor target_weights,"
      " Tensor target_means, Tensor target_covariances, Tensor rotations, Tensor translations, Tensor scales,"
      " Tensor motions, int steps, float tolerance) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  // Fitting points; no gradients. What they compute is in gmcn/fitting.
  m.def("kmeans_start(Tensor points, Tensor mass, Tensor uniform, bool farthest) -> Tensor");
  m.def("lloyd(Tensor points, Tensor mass, Tensor centres, int iterations) -> (Tensor, Tensor)");
  m.def("shares(Tensor(a!) logs, Tensor mass) -> Tensor");
  m.def(
      "em(Tensor points, Tensor mass, Tensor weights, Tensor positions, Tensor covariances, float floor,"
      " int most, float tolerance) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  // Training mixtures of any dimension; no gradients of their own, they make one. See gmcn/ops/winners.py.
  m.def("best_scores(Tensor scores, Tensor? grid) -> (Tensor, Tensor)");
  m.def("best_and_shares(Tensor(a!) scores, Tensor? grid, float least) -> (Tensor, Tensor)");
  m.def(
      "sums_by_winner(Tensor x, Tensor winners, Tensor slopes, int components, int kernel_rows, int kernel_columns,"
      " int stride_rows, int stride_columns, bool squares) -> (Tensor, Tensor, Tensor)");
}
