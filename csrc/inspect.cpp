// A small pybind11 module: what was built, which code path is in use and how fast it could be at most, and reduction
// trees for tests and pictures.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "common/cpu_path.h"
#include "common/morton.h"
#include "common/radix_tree.h"
#include "vector_rate.h"

namespace py = pybind11;

namespace {

// The radix tree over the centres: leaf order, and for every inner node (root first is not implied) its two children.
// Leaves are 0..N-1 in Morton order; the inner node that splits after leaf g is N + g.
template <int D>
py::dict tree_of(const double* positions, std::int32_t n) {
  double low[D], high[D];
  for (int d = 0; d < D; ++d) {
    low[d] = high[d] = positions[d];
    for (std::int32_t i = 1; i < n; ++i) {
      low[d] = std::min(low[d], positions[i * D + d]), high[d] = std::max(high[d], positions[i * D + d]);
    }
  }
  std::vector<std::uint32_t> codes(n);
  for (std::int32_t i = 0; i < n; ++i) codes[i] = gmcn::morton_code<double, D>(positions + i * D, low, high);
  std::vector<std::int32_t> order;
  gmcn::sort_codes(codes.data(), n, 30, order);
  std::vector<std::uint64_t> keys(n);
  for (std::int32_t k = 0; k < n; ++k)
    keys[k] = static_cast<std::uint64_t>(codes[order[k]]) << 32 | static_cast<std::uint32_t>(order[k]);
  gmcn::RadixTree tree;
  tree.build(keys);
  py::dict result;
  result["leaf_order"] = order;
  result["left"] = tree.left;
  result["right"] = tree.right;
  result["root"] = tree.root;
  return result;
}

py::dict tree(const py::array_t<double, py::array::c_style | py::array::forcecast>& positions) {
  if (positions.ndim() != 2 || positions.shape(0) < 1 || (positions.shape(1) != 2 && positions.shape(1) != 3))
    throw py::value_error("expected positions [N, 2] or [N, 3] with N >= 1");
  const auto n = static_cast<std::int32_t>(positions.shape(0));
  return positions.shape(1) == 2 ? tree_of<2>(positions.data(), n) : tree_of<3>(positions.data(), n);
}

}  // namespace

PYBIND11_MODULE(_inspect, m) {
  m.doc() = "Build information and reduction trees of gmcn's kernels.";
  m.def("tree", &tree, py::arg("positions"),
        "The radix tree over centres [N, D]: leaf_order, left and right children of inner nodes, root.");
  m.def("cpu_path", &gmcn::cpu_path, "The instruction set in use: avx512, avx2 or baseline.");
  m.def("vector_rate", &gmcn::vector_rate, py::arg("seconds") = 0.1, py::call_guard<py::gil_scoped_release>(),
        "Single-precision multiply-adds per second, counted per lane, that the calling thread can do.");
  m.attr("sources") = GMCN_SOURCES;  // a digest, by setup.py
#if defined(__VERSION__)
  m.attr("compiler") = __VERSION__;
#endif
}
