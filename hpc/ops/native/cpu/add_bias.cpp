// A bias a channel, added to rows [N, C]: one for all rows, or one for each of G equal groups of rows.

#include "aot.h"
#include "row_partials.h"

namespace {

using namespace native;

struct Groups {
  std::int64_t width, rows, count;

  // x [N..., C] with bias [C] or [G, C].
  Groups(const Arguments& arguments, int x, int bias)
      : width(arguments.Dim(x, -1)),
        rows(arguments.Size(x) / width),
        count(arguments.Size(bias) / width) {}

  bool Fit(const Arguments& arguments, int bias) const {
    return arguments.Dim(bias, -1) == width && count > 0 && rows % count == 0;
  }
};

}  // namespace

// x [N..., C], bias [C] or [G, C] -> y
NATIVE_OPERATOR(AddBias) {
  if (arguments.count != 3) return kWrongCount;
  const Groups groups(arguments, 0, 1);
  if (!groups.Fit(arguments, 1)) return kWrongShape;
  const float* x = arguments.At<float>(0);
  const float* bias = arguments.At<float>(1);
  float* y = arguments.At<float>(2);
  const std::int64_t width = groups.width, in_group = groups.rows / groups.count;
  ParallelFor(groups.rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* added = bias + r / in_group * width;
      for (std::int64_t c = 0; c < width; ++c) y[r * width + c] = x[r * width + c] + added[c];
    }
  });
  return kOk;
}

// bias (for its shape), dy -> dbias
NATIVE_OPERATOR(AddBiasGrad) {
  if (arguments.count != 3) return kWrongCount;
  const Groups groups(arguments, 1, 0);
  if (!groups.Fit(arguments, 0)) return kWrongShape;
  const std::int64_t width = groups.width, in_group = groups.rows / groups.count;
  for (std::int64_t g = 0; g < groups.count; ++g) {
    const float* dy = arguments.At<float>(1) + g * in_group * width;
    SumOverRows(in_group, width, arguments.At<float>(2) + g * width,
                [&](std::int64_t begin, std::int64_t end, float* sums) {
                  for (std::int64_t r = begin; r < end; ++r) {
                    for (std::int64_t c = 0; c < width; ++c) sums[c] += dy[r * width + c];
                  }
                });
  }
  return kOk;
}
