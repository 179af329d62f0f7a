// How a launch is cut: plain arithmetic, shared by the operator's host side, the emulator and tests.
#ifndef CUBOID_ATTENTION_PLAN_H_
#define CUBOID_ATTENTION_PLAN_H_

#include <algorithm>
#include <cstdint>

#include "../op_kernel/cuboid_attention_tiling.h"

namespace cuboid_plan {

constexpr uint32_t kUnifiedBuffer = 192 * 1024;
constexpr uint32_t kLargestVolume = 64;
constexpr uint32_t kLargestStride = 255;  // of a vector instruction, in blocks

// The operator's attributes and the shapes of its operands.
struct Problem {
  uint32_t batch;
  uint32_t grid[3], block[3], shift[3];
  bool dilated[3];
  uint32_t heads, width, relativeRows;
  uint32_t elementBytes;  // 2 or 4
  bool hasMask, hasDropout;
  float scale;
};

inline uint32_t RoundUp(uint32_t value, uint32_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Rows of scores are 8, 16, 32 or 64 floats, so that whole rows fill a vector repeat.
inline uint32_t PaddedVolume(uint32_t volume) {
  uint32_t padded = 8;
  while (padded < volume) padded *= 2;
  return padded;
}

// Bytes of the unified buffer that a kernel with this tiling takes; mirrors its InitBuffer calls.
inline uint32_t UnifiedBufferBytes(const CuboidAttentionTiling& t, uint32_t elementBytes, bool gradient) {
  const uint32_t rows = t.headsOfTile * t.rowsOfPass, pairs = rows * t.paddedVolume;
  const uint32_t square = t.volume * t.paddedVolume, elements = t.volume * t.headsOfTile * t.width;
  const uint32_t perBlock = 32 / elementBytes, paddedRows = RoundUp(rows, 8);
  uint32_t bytes = t.inputBuffers * RoundUp(t.inputBytes, 32);
  bytes += t.headsOfTile * square * 4;                 // bias
  bytes += pairs * perBlock * 4 + pairs * 4;           // sums, scores
  if (elementBytes < 4) bytes += 2 * pairs * 4 + RoundUp(pairs * elementBytes, 32);
  bytes += paddedRows * 32 + RoundUp(2 * paddedRows * 4, 32);
  if (t.hasMask) bytes += (1 + t.inputBuffers) * square * 4;
  if (t.hasDropout) bytes += t.inputBuffers * t.headsOfTile * t.volume * RoundUp(t.volume, 8) * 4;
  const uint32_t parts = gradient ? 3 : 1;
  bytes += t.outputBuffers * RoundUp(parts * elements * elementBytes, 32);
  if (elementBytes < 4) bytes += parts * elements * 4;
  if (gradient) {
    bytes += t.headsOfTile * square * 4;  // gradient of the bias
    bytes += pairs * 4;                   // gradient of the probabilities
    bytes += pairs * 4;                   // product, probabilities after dropout
    bytes += pairs * 32;                  // weights beside the sums
  }
  return bytes;
}

// Returns null and fills the tiling, or what is wrong with the problem.
inline const char* Plan(const Problem& p, uint32_t cores, bool gradient, CuboidAttentionTiling* result) {
  CuboidAttentionTiling t{};
  t.batch = p.batch;
  t.volume = 1;
  uint32_t cuboids = 1;
  for (int axis = 0; axis < 3; ++axis) {
    if (p.block[axis] == 0 || p.grid[axis] % p.block[axis] != 0) return "the cuboid does not divide the grid";
    if (p.dilated[axis] && p.shift[axis] != 0) return "a dilated axis cannot be shifted";
    if (p.shift[axis] >= p.grid[axis]) return "the shift is not smaller than the grid";
    t.grid[axis] = p.grid[axis];
    t.block[axis] = p.block[axis];
    t.count[axis] = p.grid[axis] / p.block[axis];
    t.shift[axis] = p.shift[axis];
    t.tokenStep[axis] = p.dilated[axis] ? t.count[axis] : 1;
    t.blockStep[axis] = p.dilated[axis] ? 1 : t.block[axis];
    t.volume *= p.block[axis];
    cuboids *= t.count[axis];
  }
  if (t.volume > kLargestVolume) return "a cuboid has more than 64 tokens";
  if (p.width == 0 || p.width % 16 != 0) return "the width of a head is not a multiple of 16";
  if (p.elementBytes != 2 && p.elementBytes != 4) return "the element type is neither float16 nor float32";
  t.heads = p.heads;
  t.width = p.width;
  t.paddedVolume = PaddedVolume(t.volume);
  t.relativeRows = p.relativeRows;
  t.hasMask = p.hasMask;
  t.hasDropout = p.hasDropout;
  t.scale = p.scale;

  double best = 0;
  for (uint32_t heads = 1; heads <= p.heads; ++heads) {
    if (p.heads % heads) continue;
    t.headsOfTile = heads;
    const uint32_t blocks = heads * p.width * p.elementBytes / 32;
    t.rowBlocks = blocks + (blocks % 2 == 0);  // odd: no two tokens of a repeat in one bank group
    if (t.rowBlocks > kLargestStride || heads * p.width / 8 > kLargestStride) continue;
    const uint32_t parts = gradient ? 4 : 3;
    const uint32_t table = RoundUp(p.relativeRows * p.heads, 8) * 4 + t.volume * t.paddedVolume * 4;
    t.inputBytes = std::max(parts * t.volume * t.rowBlocks * 32, table);
    for (uint32_t passes = 1; passes <= t.volume; ++passes) {
      t.rowsOfPass = (t.volume + passes - 1) / passes;
      // First without the second output buffer, then without the second input buffer.
      for (uint32_t spare = 3; spare >= 1; --spare) {
        t.inputBuffers = spare > 1 ? 2 : 1;
        t.outputBuffers = spare > 2 ? 2 : 1;
        if (UnifiedBufferBytes(t, p.elementBytes, gradient) > kUnifiedBuffer) continue;
        // Work of the busiest core, with what every tile and every pass costs beside its repeats.
        const uint64_t tiles = uint64_t(p.batch) * cuboids * (p.heads / heads);
        const double rounds = static_cast<double>((tiles + cores - 1) / cores);
        const double work = static_cast<double>(heads) * t.volume * t.paddedVolume * p.width / 64.0;
        const bool waits = spare == 1 || (spare == 2 && p.elementBytes == 4);
        const double cost = rounds * (5 * work + 500 * passes + (waits ? 1000 : 0));
        if (best == 0 || cost < best) {
          best = cost;
          *result = t;
        }
        break;
      }
    }
  }
  return best > 0 ? nullptr : "no tile of these operands fits the unified buffer";
}

}  // namespace cuboid_plan

#endif  // CUBOID_ATTENTION_PLAN_H_
