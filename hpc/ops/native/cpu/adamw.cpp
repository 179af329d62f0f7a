// One pass of AdamW and the moving average over a bucket, in place.
// Source: Loshchilov and Hutter 2019; the formula stands in hpc/train/optim.py.
#include <cmath>
#include <vector>

#include "aot.h"
#include "parallel.h"

namespace {

using namespace native;

// What a step's numbers on the device amount to, in the order of the operator's `factors`.
struct Factors {
  float on, clip, gain1, gain2, unbiased, eps, shrink, rate, average_gain;
};
constexpr int kFactors = sizeof(Factors) / sizeof(float);
constexpr int kFirstWeight = 6;

}  // namespace

// gradient, first moment, second moment, average (or one number where none is kept) [R, 1024] each, factors [9],
// something to wait for, the weights whose gradients fill the bucket, in order -> something to wait for [1].
// Overwrites moments, average and weights, unless the step is off.
NATIVE_OPERATOR(AdamWStep) {
  if (arguments.count < kFirstWeight + 2) return kWrongCount;
  if (arguments.Size(4) != kFactors) return kWrongShape;
  Factors f;
  std::memcpy(&f, arguments.At<float>(4), sizeof(f));
  const int last = arguments.count - 1;
  arguments.At<float>(last)[0] = f.on;
  std::vector<std::int64_t> starts{0};
  for (int i = kFirstWeight; i < last; ++i) starts.push_back(starts.back() + arguments.Size(i));
  if (starts.back() > arguments.Size(0)) return kWrongShape;
  if (f.on == 0.0f) return kOk;
  const float* gradient = arguments.At<float>(0);
  float* first = arguments.At<float>(1);
  float* second = arguments.At<float>(2);
  float* average = arguments.Size(3) == arguments.Size(0) ? arguments.At<float>(3) : nullptr;
  ParallelFor(starts.back(), [&](std::int64_t begin, std::int64_t end) {
    for (int i = kFirstWeight; i < last; ++i) {
      const std::int64_t start = starts[i - kFirstWeight];
      float* weights = arguments.At<float>(i) - start;
      const std::int64_t from = std::max(begin, start), to = std::min(end, starts[i - kFirstWeight + 1]);
      for (std::int64_t k = from; k < to; ++k) {
        const float g = gradient[k] * f.clip;
        first[k] += f.gain1 * (g - first[k]);
        second[k] += f.gain2 * (g * g - second[k]);
        const float root = std::sqrt(second[k]) * f.unbiased + f.eps;
        weights[k] = weights[k] * f.shrink - f.rate * (first[k] / root);
      }
      if (average == nullptr) continue;
      for (std::int64_t k = from; k < to; ++k) average[k] += f.average_gain * (weights[k] - average[k]);
    }
  });
  return kOk;
}

// an array, something to wait for -> something to wait for [1]. Overwrites the array by zeros.
NATIVE_OPERATOR(Clear) {
  if (arguments.count != 3) return kWrongCount;
  float* x = arguments.At<float>(0);
  ParallelFor(arguments.Size(0), [&](std::int64_t begin, std::int64_t end) { std::fill(x + begin, x + end, 0.0f); });
  arguments.At<float>(2)[0] = 0.0f;
  return kOk;
}
