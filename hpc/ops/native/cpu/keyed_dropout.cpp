// Dropout whose mask is a hash of (key of the sample, row, column): hpc/ops/dropout.py, in one pass.
//
// Rows [B, R, C]: a sample's rows and columns each get a well mixed number; the product of the two
// decides. The integer arithmetic wraps, and the shifts keep the sign, as the framework's do.
#include <vector>

#include "aot.h"
#include "parallel.h"

namespace {

using namespace native;

inline std::int32_t Mix(std::uint32_t x) {
  x = (x ^ static_cast<std::uint32_t>(static_cast<std::int32_t>(x) >> 16)) * 0x7FEB352Du;
  x = (x ^ static_cast<std::uint32_t>(static_cast<std::int32_t>(x) >> 15)) * 0x846CA68Bu;
  return static_cast<std::int32_t>(x);
}

inline std::int32_t MixedNumber(std::int32_t start, std::int64_t number) {
  return Mix(static_cast<std::uint32_t>(start) + static_cast<std::uint32_t>(number + 1) * 0x9E3779B9u);
}

}  // namespace

// x [B, ..., C], start [B] int32, threshold [1] int32, keep scale [1] -> y
NATIVE_OPERATOR(KeyedDropout) {
  if (arguments.count != 5) return kWrongCount;
  if (!arguments.Is(0, "float32") || !arguments.Is(1, "int32") || !arguments.Is(2, "int32")) return kWrongType;
  const float* x = arguments.At<float>(0);
  const std::int32_t* start = arguments.At<std::int32_t>(1);
  const std::int32_t threshold = *arguments.At<std::int32_t>(2);
  const float scale = *arguments.At<float>(3);
  float* y = arguments.At<float>(4);
  const std::int64_t samples = arguments.Dim(0, 0), columns = arguments.Dim(0, -1);
  if (arguments.Size(1) != samples) return kWrongShape;
  const std::int64_t rows = arguments.Size(0) / samples / columns;
  ParallelFor(samples * rows, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> mixed(columns);
    std::int64_t sample = -1;
    for (std::int64_t row = begin; row < end; ++row) {
      if (row / rows != sample) {
        sample = row / rows;
        for (std::int64_t c = 0; c < columns; ++c) mixed[c] = MixedNumber(start[sample], rows + c);
      }
      const std::uint32_t odd = static_cast<std::uint32_t>(MixedNumber(start[sample], row % rows)) | 1u;
      const float* from = x + row * columns;
      float* to = y + row * columns;
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int32_t bits = static_cast<std::int32_t>(odd * static_cast<std::uint32_t>(mixed[c]));
        to[c] = bits >= threshold ? from[c] * scale : 0.0f;
      }
    }
  });
  return kOk;
}
