// Layer normalisation over the last axis, forward and backward. Rows [N, C], any C.
// Source: Ba et al. 2016. The moments are computed again in the backward pass: the row is in the cache.
#include <cmath>

#include "aot.h"
#include "row_partials.h"
#include "vector.h"

namespace {

using namespace native;

struct Moments {
  float mean, inverse_deviation;
};

template <typename F>
float SumOf(std::int64_t width, const F& at) {
  float sum = 0.0f;
  Vec lanes{};
  std::int64_t c = 0;
  for (; c + kWidth <= width; c += kWidth) lanes += at(c, std::true_type{});
  for (; c < width; ++c) sum += at(c, std::false_type{});
  return sum + Sum(lanes);
}

// Reads one element or one vector of them, as the loop of SumOf asks.
inline Vec At(const float* x, std::int64_t c, std::true_type) { return Load(x + c); }
inline float At(const float* x, std::int64_t c, std::false_type) { return x[c]; }

Moments RowMoments(const float* x, std::int64_t width, float epsilon) {
  const float mean = SumOf(width, [&](std::int64_t c, auto wide) { return At(x, c, wide); }) / width;
  const float square = SumOf(width, [&](std::int64_t c, auto wide) {
    const auto centred = At(x, c, wide) - mean;
    return centred * centred;
  });
  return {mean, 1.0f / std::sqrt(square / width + epsilon)};
}

}  // namespace

// x [N..., C], gamma [C], beta [C], epsilon [1] -> y
NATIVE_OPERATOR(LayerNorm) {
  if (arguments.count != 5) return kWrongCount;
  const float* x = arguments.At<float>(0);
  const float* gamma = arguments.At<float>(1);
  const float* beta = arguments.At<float>(2);
  const float epsilon = *arguments.At<float>(3);
  float* y = arguments.At<float>(4);
  const std::int64_t width = arguments.Dim(0, -1), rows = arguments.Size(0) / width;
  ParallelFor(rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* row = x + r * width;
      const Moments m = RowMoments(row, width, epsilon);
      for (std::int64_t c = 0; c < width; ++c) {
        y[r * width + c] = (row[c] - m.mean) * m.inverse_deviation * gamma[c] + beta[c];
      }
    }
  });
  return kOk;
}

// x, gamma, epsilon, dy -> dx, dgamma, dbeta
NATIVE_OPERATOR(LayerNormGrad) {
  if (arguments.count != 7) return kWrongCount;
  const float* x = arguments.At<float>(0);
  const float* gamma = arguments.At<float>(1);
  const float epsilon = *arguments.At<float>(2);
  const float* dy = arguments.At<float>(3);
  float* dx = arguments.At<float>(4);
  const std::int64_t width = arguments.Dim(0, -1), rows = arguments.Size(0) / width;
  std::vector<float> sums(2 * width);
  SumOverRows(rows, 2 * width, sums.data(), [&](std::int64_t begin, std::int64_t end, float* partial) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* row = x + r * width;
      const float* grad = dy + r * width;
      const Moments m = RowMoments(row, width, epsilon);
      const float mean_grad =
          SumOf(width, [&](std::int64_t c, auto wide) { return At(grad, c, wide) * At(gamma, c, wide); }) / width;
      const float mean_product = SumOf(width, [&](std::int64_t c, auto wide) {
        return At(grad, c, wide) * At(gamma, c, wide) * (At(row, c, wide) - m.mean);
      }) * m.inverse_deviation / width;
      float* target = dx + r * width;
      for (std::int64_t c = 0; c < width; ++c) {
        const float normal = (row[c] - m.mean) * m.inverse_deviation;
        target[c] = m.inverse_deviation * (grad[c] * gamma[c] - mean_grad - normal * mean_product);
        partial[c] += grad[c] * normal;
        partial[width + c] += grad[c];
      }
    }
  });
  std::copy(sums.begin(), sums.begin() + width, arguments.At<float>(5));
  std::copy(sums.begin() + width, sums.end(), arguments.At<float>(6));
  return kOk;
}
