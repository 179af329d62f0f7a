// The sum of squares of an array of any size: lanes add up blocks in float, blocks are added in double.
#include "aot.h"
#include "row_partials.h"
#include "vector.h"

namespace {

using namespace native;

constexpr std::int64_t kBlock = 8192;

float BlockSum(const float* x, std::int64_t count) {
  Vec lanes[4] = {};
  std::int64_t k = 0;
  for (; k + 4 * kWidth <= count; k += 4 * kWidth) {
    for (int i = 0; i < 4; ++i) {
      const Vec v = Load(x + k + i * kWidth);
      lanes[i] += v * v;
    }
  }
  float rest = 0.0f;
  for (; k < count; ++k) rest += x[k] * x[k];
  return rest + Sum((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
}

}  // namespace

// x [...] -> [1], the same for any number of threads
NATIVE_OPERATOR(SumOfSquares) {
  if (arguments.count != 2) return kWrongCount;
  const float* x = arguments.At<float>(0);
  SumOverRows(arguments.Size(0), 1, arguments.At<float>(1), [&](std::int64_t begin, std::int64_t end, float* sum) {
    double total = 0.0;
    for (std::int64_t k = begin; k < end; k += kBlock) total += BlockSum(x + k, std::min(kBlock, end - k));
    *sum += static_cast<float>(total);
  });
  return kOk;
}
