// The channel axis to the front and back: [N, S..., C] <-> [N, C, S...].

#include "aot.h"
#include "parallel.h"

namespace {

using namespace native;

constexpr std::int64_t kTile = 16;

// x [batch, rows, columns] -> y [batch, columns, rows]
void TransposeEach(const float* x, float* y, std::int64_t batch, std::int64_t rows, std::int64_t columns) {
  const std::int64_t strips = (rows + kTile - 1) / kTile;
  ParallelFor(batch * strips, [&](std::int64_t begin, std::int64_t end) {
    float tile[kTile][kTile];
    for (std::int64_t strip = begin; strip < end; ++strip) {
      const std::int64_t at = strip / strips * rows * columns, row = strip % strips * kTile;
      const std::int64_t height = std::min(kTile, rows - row);
      for (std::int64_t column = 0; column < columns; column += kTile) {
        const std::int64_t width = std::min(kTile, columns - column);
        for (std::int64_t r = 0; r < height; ++r) {
          const float* source = x + at + (row + r) * columns + column;
          for (std::int64_t c = 0; c < width; ++c) tile[c][r] = source[c];
        }
        for (std::int64_t c = 0; c < width; ++c) {
          std::copy(tile[c], tile[c] + height, y + at + (column + c) * rows + row);
        }
      }
    }
  });
}

}  // namespace

// x [N, S..., C] -> y [N, C, S...]
NATIVE_OPERATOR(ChannelsFirst) {
  if (arguments.count != 2) return kWrongCount;
  const std::int64_t batch = arguments.Dim(0, 0), columns = arguments.Dim(0, -1);
  const std::int64_t rows = arguments.Size(0) / (batch * columns);
  TransposeEach(arguments.At<float>(0), arguments.At<float>(1), batch, rows, columns);
  return kOk;
}

// x [N, C, S...] -> y [N, S..., C]
NATIVE_OPERATOR(ChannelsLast) {
  if (arguments.count != 2) return kWrongCount;
  const std::int64_t batch = arguments.Dim(0, 0), rows = arguments.Dim(0, 1);
  const std::int64_t columns = arguments.Size(0) / (batch * rows);
  TransposeEach(arguments.At<float>(0), arguments.At<float>(1), batch, rows, columns);
  return kOk;
}
