// Overlaps of mixtures under poses, and their ascent, on the CPU. Tasks are rotations or poses; results do not depend
// on the number of threads.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../common/cpu_path.h"
#include "../common/symmetric.h"
#include "../common/tensors.h"
#include "../evaluate/soa.h"
#include "poses.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T> const PoseKernels<T>& pose_kernels();)

namespace {

constexpr int kMotions = 7;  // a turn, a translation, a factor

struct Mixtures {
  Tensor source_weights, source_means, source_covariances;  // [N], [N, 3], [N, 3, 3]
  Tensor target_weights, target_means, target_covariances;  // [N'], [N', 3], [N', 3, 3]

  void check(const char* operation) {
    const std::int64_t n = source_means.size(0), m = target_means.size(0);
    check_count(n, operation), check_count(m, operation);
    check_shape(source_weights, "source weights", {n}), check_shape(source_means, "source means", {n, 3});
    check_shape(source_covariances, "source covariances", {n, 3, 3});
    check_shape(target_weights, "target weights", {m}), check_shape(target_means, "target means", {m, 3});
    check_shape(target_covariances, "target covariances", {m, 3, 3});
    for (const Tensor* other :
         {&source_weights, &source_covariances, &target_weights, &target_means, &target_covariances})
      STD_TORCH_CHECK(other->scalar_type() == source_means.scalar_type(), operation, ": mixtures of other dtypes");
    make_contiguous(
        {&source_weights, &source_means, &source_covariances, &target_weights, &target_means, &target_covariances});
  }
};

// Of a weight; so little that nothing is left of its pairs, and a number.
template <typename T>
inline constexpr T kNothing = T(-1e4);

template <typename T>
T log_of(T weight) {
  return std::max(std::log(weight), kNothing<T>);
}

template <typename T>
struct Target {
  explicit Target(const Mixtures& in) {
    static const PoseKernels<T>& kernels = GMCN_ON_THIS_PATH(pose_kernels<T>());
    const std::int64_t n = in.target_means.size(0), size = (n + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
    const T *const weights = in.target_weights.const_data_ptr<T>(), *const means = in.target_means.const_data_ptr<T>();
    const T* const covariances = in.target_covariances.const_data_ptr<T>();
    numbers.resize(10 * size);
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t own = std::min(i, n - 1);
      T packed_covariance[6];
      pack<T, 3>(covariances + own * 9, packed_covariance);
      numbers[i] = i < n ? log_of(weights[i]) : kNothing<T>;
      for (int d = 0; d < 3; ++d) numbers[(1 + d) * size + i] = means[own * 3 + d];
      for (int k = 0; k < 6; ++k) numbers[(4 + k) * size + i] = packed_covariance[k];
    }
    view = {size, numbers.data(), {}, {}};
    for (int d = 0; d < 3; ++d) view.means[d] = &numbers[(1 + d) * size];
    for (int k = 0; k < 6; ++k) view.covariances[k] = &numbers[(4 + k) * size];
  }
  std::vector<T> numbers;
  PaddedMixture<T> view;
};

template <typename T>
struct Source {
  explicit Source(const Mixtures& in)
      : n(in.source_means.size(0)),
        logs(n),
        means(n * 3),
        covariances(n * 6),
        posed_means(n * 3),
        posed_covariances(n * 6) {
    const T* const weights = in.source_weights.const_data_ptr<T>();
    for (std::int64_t i = 0; i < n; ++i) {
      logs[i] = log_of(weights[i]);
      pack<T, 3>(in.source_covariances.const_data_ptr<T>() + i * 9, &covariances[i * 6]);
    }
    std::copy_n(in.source_means.const_data_ptr<T>(), n * 3, means.begin());
  }
  PosedMixture<T> pose(const T* rotation, T scale) {
    for (std::int64_t a = 0; a < n; ++a) {
      T full[9], turned[3][3];
      unpack<T, 3>(&covariances[a * 6], full);
      for (int i = 0; i < 3; ++i) {
        posed_means[a * 3 + i] = 0;
        for (int j = 0; j < 3; ++j) {
          posed_means[a * 3 + i] += scale * rotation[i * 3 + j] * means[a * 3 + j];
          turned[i][j] = 0;
          for (int k = 0; k < 3; ++k) turned[i][j] += rotation[i * 3 + k] * full[k * 3 + j];
        }
      }
      for (int i = 0; i < 3; ++i)
        for (int j = i; j < 3; ++j) {
          T sum = 0;
          for (int k = 0; k < 3; ++k) sum += turned[i][k] * rotation[j * 3 + k];
          posed_covariances[a * 6 + packed<3>(i, j)] = scale * scale * sum;
        }
    }
    return {n, logs.data(), posed_means.data(), posed_covariances.data()};
  }
  std::int64_t n;
  std::vector<T> logs, means, covariances, posed_means, posed_covariances;
};

struct Motion {
  double rotation[9], translation[3], scale;
};

// Of the logarithm of the overlap times scale^(3/2), by motions [turn, translation, factor's logarithm].
struct Slope {
  double value = -std::numeric_limits<double>::infinity(), gradient[kMotions] = {};
  double curvature[kMotions][kMotions] =
      {};  // minus the second derivatives, as if motions were straight and covariances stayed
  double bound[kMotions][kMotions] = {};  // the part of it that is positive definite
};

void cross(const double* a, const double* b, double* c) {
  for (int i = 0; i < 3; ++i) c[i] = a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3];
}

// Adds J^T p J with J = [-[m]x, I, m], the change of a mean m that a motion makes, above the diagonal.
void add_motions(const double* m, const double* p, double (&to)[kMotions][kMotions]) {
  const double j[kMotions][3] = {{0, -m[2], m[1]}, {m[2], 0, -m[0]}, {-m[1], m[0], 0},  {1, 0, 0},
                                 {0, 1, 0},        {0, 0, 1},        {m[0], m[1], m[2]}};
  for (int r = 0; r < kMotions; ++r) {
    double pj[3];
    multiply<double, 3>(p, j[r], pj);
    for (int c = r; c < kMotions; ++c) to[r][c] += pj[0] * j[c][0] + pj[1] * j[c][1] + pj[2] * j[c][2];
  }
}

template <typename T>
bool slope_at(const Motion& at, Source<T>& source, const PaddedMixture<T>& target, std::vector<T>& scratch,
              Slope& slope) {
  T rotation[9], translation[3];
  std::copy_n(at.rotation, 9, rotation), std::copy_n(at.translation, 3, translation);
  const PosedMixture<T> posed = source.pose(rotation, static_cast<T>(at.scale));
  scratch.resize(posed.n * kPairSums);
  static const PoseKernels<T>& kernels = GMCN_ON_THIS_PATH(pose_kernels<T>());
  if (!kernels.sums(posed, target, translation, scratch.data())) return false;
  slope = {};
  double total = 0;
  for (std::int64_t a = 0; a < posed.n; ++a) {
    double s[kPairSums], m[3], covariance[6];
    std::copy_n(&scratch[a * kPairSums], kPairSums, s);
    std::copy_n(posed.means + a * 3, 3, m), std::copy_n(posed.covariances + a * 6, 6, covariance);
    const double *const g = s + 1, *const p = s + 4, *const gg = s + 10;
    total += s[0];
    // d = g g^T - P is what a change of the covariance meets: of C_a by [w]x C_a + C_a [w]x^T and by 2 C_a.
    double turn[3], product[3][3] = {}, along = 0;
    cross(m, g, turn);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j)
        for (int k = 0; k < 3; ++k)
          product[i][j] += covariance[packed<3>(i, k)] * (gg[packed<3>(k, j)] - p[packed<3>(k, j)]);
    for (int i = 0; i < 3; ++i) {
      const int j = (i + 1) % 3, k = (i + 2) % 3;
      slope.gradient[i] += product[j][k] - product[k][j] - turn[i];
      slope.gradient[3 + i] -= g[i];
      along += product[i][i] - m[i] * g[i];
    }
    slope.gradient[6] += along;
    add_motions(m, p, slope.bound);
    add_motions(m, gg, slope.curvature);
  }
  if (!(total > 0)) return std::isfinite(total);
  slope.value = std::log(total) + 1.5 * std::log(at.scale);
  for (double& value : slope.gradient) value /= total;
  for (int r = 0; r < kMotions; ++r)
    for (int c = r; c < kMotions; ++c) {
      slope.bound[r][c] = slope.bound[c][r] = slope.bound[r][c] / total;
      slope.curvature[r][c] = slope.curvature[c][r] =
          slope.bound[r][c] - slope.curvature[r][c] / total + slope.gradient[r] * slope.gradient[c];
    }
  slope.gradient[6] += 1.5;
  return true;
}

// The motions that are free: rows of [K, 7].
struct Freedom {
  std::int64_t k;
  const double* rows;

  std::vector<double> reduce(const double (&full)[kMotions][kMotions]) const {
    std::vector<double> result(k * k);
    for (std::int64_t i = 0; i < k; ++i) {
      double row[kMotions] = {};
      for (int r = 0; r < kMotions; ++r)
        for (int c = 0; c < kMotions; ++c) row[c] += rows[i * kMotions + r] * full[r][c];
      for (std::int64_t j = 0; j < k; ++j)
        for (int c = 0; c < kMotions; ++c) result[i * k + j] += row[c] * rows[j * kMotions + c];
    }
    return result;
  }
  std::vector<double> reduce(const double (&full)[kMotions]) const {
    std::vector<double> result(k);
    for (std::int64_t i = 0; i < k; ++i)
      for (int r = 0; r < kMotions; ++r) result[i] += rows[i * kMotions + r] * full[r];
    return result;
  }
};

// x with a x = y by Cholesky's factors, in the place of y; false where a is not positive definite.
bool solve(std::vector<double> a, std::vector<double>& y) {
  const std::size_t k = y.size();
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = a[i * k + j];
      for (std::size_t l = 0; l < j; ++l) sum -= a[i * k + l] * a[j * k + l];
      if (i == j && !(sum > 0)) return false;
      a[i * k + j] = i == j ? std::sqrt(sum) : sum / a[j * k + j];
    }
  }
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t l = 0; l < i; ++l) y[i] -= a[i * k + l] * y[l];
    y[i] /= a[i * k + i];
  }
  for (std::size_t i = k; i-- > 0;) {
    for (std::size_t l = i + 1; l < k; ++l) y[i] -= a[l * k + i] * y[l];
    y[i] /= a[i * k + i];
  }
  return true;
}

Motion moved(const Motion& at, const Freedom& freedom, const std::vector<double>& step) {
  double by[kMotions] = {};
  for (std::int64_t i = 0; i < freedom.k; ++i)
    for (int r = 0; r < kMotions; ++r) by[r] += step[i] * freedom.rows[i * kMotions + r];
  // Rodrigues' formula; the sines by their limits near 0.
  const double angle = std::sqrt(by[0] * by[0] + by[1] * by[1] + by[2] * by[2]);
  const double first = angle > 1e-6 ? std::sin(angle) / angle : 1;
  const double second = angle > 1e-6 ? (1 - std::cos(angle)) / (angle * angle) : 0.5;
  const double k[3][3] = {{0, -by[2], by[1]}, {by[2], 0, -by[0]}, {-by[1], by[0], 0}};
  double turn[3][3];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      turn[i][j] = (i == j) + first * k[i][j];
      for (int l = 0; l < 3; ++l) turn[i][j] += second * k[i][l] * k[l][j];
    }
  Motion to{};
  for (int i = 0; i < 3; ++i) {
    to.translation[i] = at.translation[i] + by[3 + i];
    for (int j = 0; j < 3; ++j)
      for (int l = 0; l < 3; ++l) to.rotation[i * 3 + j] += turn[i][l] * at.rotation[l * 3 + j];
  }
  to.scale = at.scale * std::exp(by[6]);
  return to;
}

// Levenberg and Marquardt's steps: Newton's where the curvature allows them, else shorter ones along its bound.
template <typename T>
bool ascend(Motion& at, Slope& slope, const Freedom& freedom, std::int64_t steps, double tolerance, Source<T>& source,
            const PaddedMixture<T>& target) {
  std::vector<T> scratch;
  if (!slope_at(at, source, target, scratch, slope)) return false;
  double damping = 0.1;
  for (std::int64_t step = 0; step < steps && std::isfinite(slope.value); ++step) {
    const std::vector<double> curvature = freedom.reduce(slope.curvature), bound = freedom.reduce(slope.bound);
    const std::vector<double> gradient = freedom.reduce(slope.gradient);
    double gain = -1;
    for (int attempt = 0; attempt < 8 && gain < 0; ++attempt, damping *= 4) {
      std::vector<double> system = curvature, change = gradient;
      for (std::size_t i = 0; i < system.size(); ++i) system[i] += damping * bound[i];
      if (!solve(system, change)) continue;
      const Motion next = moved(at, freedom, change);
      Slope there;
      // A factor may have left the range of numbers.
      if (!slope_at(next, source, target, scratch, there) || !(there.value >= slope.value)) continue;
      gain = there.value - slope.value;
      at = next, slope = there;
    }
    damping = std::max(damping / 16, 1e-3);  // less by a factor of 4 after a first attempt
    if (gain < tolerance) break;
  }
  return true;
}

Tensor pose_overlaps(Tensor source_weights, Tensor source_means, Tensor source_covariances, Tensor target_weights,
                     Tensor target_means, Tensor target_covariances,
                     Tensor rotations,       // [P, 3, 3]
                     Tensor translations) {  // [P, C, 3]
  Mixtures in{source_weights, source_means, source_covariances, target_weights, target_means, target_covariances};
  in.check("pose_overlaps");
  const std::int64_t poses = rotations.size(0), count = translations.size(1);
  check_shape(rotations, "rotations", {poses, 3, 3}), check_shape(translations, "translations", {poses, count, 3});
  make_contiguous({&rotations, &translations});
  Tensor values = empty_like_of(in.source_means, {poses, count});
  dispatch(in.source_means, [&]<typename T>() {
    static const PoseKernels<T>& kernels = GMCN_ON_THIS_PATH(pose_kernels<T>());
    const Target<T> target(in);
    const Source<T> all(in);
    const T *const turns = rotations.const_data_ptr<T>(), *const shifts = translations.const_data_ptr<T>();
    T* const to = values.mutable_data_ptr<T>();
    const std::int64_t bad = run_tasks(poses, [&](std::int64_t p) {
      Source<T> source = all;
      const PosedMixture<T> posed = source.pose(turns + p * 9, 1);
      const auto scratch = unfilled<T>(10 * posed.n * target.view.padded);
      return kernels.overlaps(posed, target.view, shifts + p * count * 3, count, scratch.get(), to + p * count);
    });
    require(bad < 0, "pose_overlaps: a covariance is not positive definite or not finite");
  });
  return values;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> ascend_poses(Tensor source_weights, Tensor source_means,
                                                                        Tensor source_covariances,
                                                                        Tensor target_weights, Tensor target_means,
                                                                        Tensor target_covariances,
                                                                        Tensor rotations,     // [P, 3, 3] float64
                                                                        Tensor translations,  // [P, 3] float64
                                                                        Tensor scales,        // [P] float64
                                                                        Tensor motions,       // [K, 7] float64
                                                                        std::int64_t steps, double tolerance) {
  using torch::headeronly::ScalarType;
  Mixtures in{source_weights, source_means, source_covariances, target_weights, target_means, target_covariances};
  in.check("ascend_poses");
  const std::int64_t poses = rotations.size(0), k = motions.size(0);
  check_shape(rotations, "rotations", {poses, 3, 3}), check_shape(translations, "translations", {poses, 3});
  check_shape(scales, "scales", {poses}), check_shape(motions, "motions", {k, kMotions});
  for (const Tensor* other : {&rotations, &translations, &scales, &motions})
    STD_TORCH_CHECK(other->scalar_type() == ScalarType::Double, "ascend_poses: poses and motions are float64");
  make_contiguous({&rotations, &translations, &scales, &motions});
  Tensor turned = empty_like_of(rotations, {poses, 3, 3}), shifted = empty_like_of(rotations, {poses, 3});
  Tensor scaled = empty_like_of(rotations, {poses}), values = empty_like_of(rotations, {poses});
  Tensor gradients = empty_like_of(rotations, {poses, k}), curvatures = empty_like_of(rotations, {poses, k, k});
  dispatch(in.source_means, [&]<typename T>() {
    const Target<T> target(in);
    const Source<T> all(in);
    const Freedom freedom{k, motions.const_data_ptr<double>()};
    const std::int64_t bad = run_tasks(poses, [&](std::int64_t p) {
      Source<T> source = all;
      Motion at;
      std::copy_n(rotations.const_data_ptr<double>() + p * 9, 9, at.rotation);
      std::copy_n(translations.const_data_ptr<double>() + p * 3, 3, at.translation);
      at.scale = scales.const_data_ptr<double>()[p];
      Slope slope;
      if (!ascend(at, slope, freedom, steps, tolerance, source, target.view)) return false;
      std::copy_n(at.rotation, 9, turned.mutable_data_ptr<double>() + p * 9);
      std::copy_n(at.translation, 3, shifted.mutable_data_ptr<double>() + p * 3);
      scaled.mutable_data_ptr<double>()[p] = at.scale, values.mutable_data_ptr<double>()[p] = slope.value;
      std::ranges::copy(freedom.reduce(slope.gradient), gradients.mutable_data_ptr<double>() + p * k);
      std::ranges::copy(freedom.reduce(slope.curvature), curvatures.mutable_data_ptr<double>() + p * k * k);
      return true;
    });
    require(bad < 0, "ascend_poses: a covariance is not positive definite or not finite");
  });
  return {turned, shifted, scaled, values, gradients, curvatures};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("pose_overlaps", TORCH_BOX(&pose_overlaps));
  m.impl("ascend_poses", TORCH_BOX(&ascend_poses));
}

}  // namespace gmcn
