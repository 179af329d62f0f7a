// How a launch is cut: plain arithmetic, shared by the operator's host side, the emulator and tests.
#ifndef CUBOID_ATTENTION_PLAN_H_
#define CUBOID_ATTENTION_PLAN_H_

#include <algorithm>
#include <cstdint>

#include "../op_kernel/cuboid_attention_tiling.h"

namespace cuboid_plan {

constexpr uint32_t kUnifiedBuffer = 192 * 1024;
constexpr uint32_t kL1 = 512 * 1024 - 128;  // the toolkit keeps the end
constexpr uint32_t kLargestVolume = 64;
constexpr uint32_t kLargestStride = 255;   // of a vector instruction, in blocks
constexpr uint32_t kLineElements = 64;     // products of a line: one vector repeat
constexpr uint32_t kBankRowElements = 128; // floats of one block of each bank group
constexpr uint32_t kLargestHeads = 31;     // of a tile: lines of products have a stride too

// The operator's attributes and the shapes of its operands.
struct Problem {
  uint32_t batch;
  uint32_t grid[3], block[3], shift[3];
  bool dilated[3];
  uint32_t heads, width, relativeRows;
  uint32_t elementBytes;  // 2 or 4
  bool hasMask, hasDropout;
  float scale;
  uint32_t partials;  // slices of the gradient's second output
};

inline uint32_t RoundUp(uint32_t value, uint32_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Rows of scores are 8, 16, 32 or 64 floats, so that whole rows fill a vector repeat.
inline uint32_t PaddedVolume(uint32_t volume) {
  uint32_t padded = 8;
  while (padded < volume) padded *= 2;
  return padded;
}

// The same for a vector core beside a cube core (tiling key 2).
inline uint32_t VectorSideBytes(const CuboidAttentionTiling& t, bool gradient) {
  const uint32_t lines = (t.cuboidsOfRound * t.volume + 1) / 2, line = t.heads * kFractal, square = t.volume * line;
  const uint32_t rows = RoundUp(lines * t.heads, 8), arrays = gradient ? 2 : 1;
  uint32_t bytes = arrays * lines * line * 6 + square * 4;  // scores and weights, bias
  bytes += (RoundUp(t.relativeRows * t.heads, 8) + t.volume * t.paddedVolume + square) * 4;
  bytes += rows * 32 + 2 * rows * 4;
  if (t.hasDropout) bytes += lines * line * 4;
  if (gradient) bytes += lines * line * 4 + square * 4;
  return bytes;
}

// Bytes of L1 that the cube core takes; the other memories hold fixed halves.
inline uint32_t CubeSideBytes(const CuboidAttentionTiling& t, bool gradient) {
  const uint32_t parts = gradient ? 4 : 3, weights = gradient ? 2 : 1;
  return kSlots * t.cuboidsOfRound * (parts * t.heads * t.width + weights * t.heads * kFractal) * kFractal * 2;
}

// Bytes of the workspace, for all blocks.
inline uint64_t WorkspaceBytes(const CuboidAttentionTiling& t, uint32_t cores, bool gradient) {
  if (t.key != kCubeKey) return 0;
  return uint64_t(cores / 2) * kSlots * t.slotElements * 6 * (gradient ? 2 : 1);
}

// Bytes of the unified buffer that a kernel with this tiling takes; mirrors its InitBuffer calls.
inline uint32_t UnifiedBufferBytes(const CuboidAttentionTiling& t, uint32_t elementBytes, bool gradient) {
  if (t.key == kCubeKey) return VectorSideBytes(t, gradient);
  const uint32_t rows = t.headsOfTile * t.rowsOfPass, pairs = rows * t.paddedVolume;
  const uint32_t square = t.volume * t.paddedVolume, part = t.volume * t.headsOfTile * t.width;
  const uint32_t paddedRows = RoundUp(rows, 8), ahead = t.loadAhead ? 2 : 1;
  const bool narrow = elementBytes < 4;
  const uint32_t inputs = gradient ? 4 : 3, results = gradient ? 3 : 1;
  const uint32_t stride = part % kBankRowElements ? part : part + kBankRowElements / 2;
  // Narrow rows come and go a part at a time, and are cast to float.
  uint32_t bytes = narrow ? (t.loadAhead ? inputs : 1) * part * elementBytes + inputs * stride * 4
                          : ahead * inputs * stride * elementBytes;
  bytes += t.headsOfTile * square * 4;                             // bias
  bytes += pairs * 32 + pairs * 4 + t.productElements * 4;         // blocks, scores, products
  if (t.width > kLineElements) bytes += pairs * 4;
  bytes += paddedRows * 32 + RoundUp(2 * paddedRows * 4, 32);
  if (t.hasMask) bytes += ahead * square * 4 + t.rowsOfPass * t.paddedVolume * 4;
  if (t.hasDropout) bytes += ahead * t.headsOfTile * t.volume * RoundUp(t.volume, 8) * 4;
  // Narrow results are taken late and stored part by part; float ones are summed up where they are
  // stored from, of which there are two.
  bytes += (narrow ? (t.loadAhead ? results : 1) : ahead * results) * part * elementBytes;
  if (narrow) bytes += gradient ? 2 * part * 4 + rows * t.width * 4 : part * 4;
  if (gradient) bytes += t.headsOfTile * square * 4 + 2 * pairs * 4;  // of the bias, of p, p as used
  return bytes;
}

constexpr double kBytesOfCycle = 18.5;  // of a core's share of the memory's bandwidth
constexpr double kCopyWait = 500;       // for a copy to begin and end

inline uint32_t Groups(uint32_t all, uint32_t atOnce) { return (all + atOnce - 1) / atOnce; }

// Cycles of a tile by the costs that docs/kernels.md lists: repeats of the products, and a wait for
// every barrier.
inline double CyclesOfTile(const CuboidAttentionTiling& t, bool gradient) {
  constexpr double kDot = 2.3, kWeighted = 2.8, kWait = 24;
  const uint32_t chunks = Groups(t.width, kLineElements), passes = Groups(t.volume, t.rowsOfPass);
  const double repeats = static_cast<double>(t.headsOfTile) * t.volume * t.volume * chunks;
  const uint32_t dots = gradient ? 2 : 1, weighted = gradient ? 3 : 1;
  uint32_t steps = 3;  // halves of a sum
  for (uint32_t left = t.volume; left > 2; left = left > 3 ? (left + 1) / 2 | 1 : left - 1) ++steps;
  const uint32_t lines = t.headsOfTile * t.rowsOfPass;
  const uint32_t groupsOfDot = Groups(lines, t.productElements / (t.volume * kLineElements));
  const uint32_t linesAtOnce =
      std::max(1u, std::min(kLargestHeads / t.headsOfTile, t.productElements / (t.headsOfTile * t.volume * kLineElements)));
  const uint32_t groupsOfSum = Groups(t.rowsOfPass, linesAtOnce);
  const double barriers = passes * (16.0 + dots * chunks * (1 + groupsOfDot) + weighted * chunks * groupsOfSum * steps);
  return repeats * (dots * kDot + weighted * kWeighted) + barriers * kWait + 150;
}

constexpr uint32_t kMostFractals = 64;  // of an operand of all heads: half of L0A or L0B
constexpr uint32_t kMostSums = 128;     // fractals of L0C
constexpr uint32_t kMostHeads = 15;     // a line of scores in a vector stride
constexpr uint32_t kCacheLineElements = 256;  // of two bytes
constexpr uint32_t kWantedRounds = 4;   // rounds that hide each other's waits

// Whether a cube core can compute the products, and in rounds of how many cuboids.
inline bool PlanCube(const Problem& p, uint32_t cores, bool gradient, uint32_t cuboids, CuboidAttentionTiling* t) {
  const uint32_t fractals = p.heads * p.width / kFractal, results = gradient ? 3 : 1;
  if (p.elementBytes != 2 || p.hasMask || t->volume > kFractal || cores % 2 != 0) return false;
  if (p.heads > kMostHeads || fractals > kMostFractals || 2 * p.heads + results * fractals > kMostSums) return false;
  t->key = kCubeKey;
  t->headsOfTile = p.heads;
  const uint32_t ofBlock = Groups(p.batch * cuboids, cores / 2);
  for (t->cuboidsOfRound = Groups(ofBlock, kWantedRounds); t->cuboidsOfRound > 0; --t->cuboidsOfRound) {
    t->slotElements = RoundUp(t->cuboidsOfRound * t->volume * p.heads * kFractal, kCacheLineElements);
    if (CubeSideBytes(*t, gradient) <= kL1 && VectorSideBytes(*t, gradient) <= kUnifiedBuffer) return true;
  }
  return false;
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
  if (p.elementBytes != 2 && p.elementBytes != 4) return "the element type is neither float16, bfloat16 nor float32";
  t.heads = p.heads;
  t.width = p.width;
  t.paddedVolume = PaddedVolume(t.volume);
  t.relativeRows = p.relativeRows;
  t.hasMask = p.hasMask;
  t.hasDropout = p.hasDropout;
  t.scale = p.scale;
  t.partials = p.partials;

  CuboidAttentionTiling withCube = t;
  if (PlanCube(p, cores, gradient, cuboids, &withCube)) {
    *result = withCube;
    return nullptr;
  }
  t.key = kVectorKey;
  double best = 0;
  for (uint32_t heads = 1; heads <= p.heads; ++heads) {
    if (p.heads % heads) continue;
    t.headsOfTile = heads;
    if (heads > kLargestHeads || heads * p.width / 8 > kLargestStride) continue;
    // Products of one line a head. The table with its indices is loaded through this buffer, or through
    // that of the rows.
    const uint32_t table = RoundUp(p.relativeRows * p.heads, 8) + t.volume * t.paddedVolume;
    const uint32_t line = (heads | 1) * t.volume * kLineElements, held = (gradient ? 4 : 3) * t.volume * heads * p.width;
    const uint32_t least = p.elementBytes < 4 && held >= table ? line : std::max(line, RoundUp(table, kLineElements));
    for (uint32_t passes = 1; passes <= t.volume; ++passes) {
      t.rowsOfPass = Groups(t.volume, passes);
      for (uint32_t ahead = 2; ahead-- > 0;) {
        t.loadAhead = ahead;
        t.productElements = 0;
        const uint32_t bytes = UnifiedBufferBytes(t, p.elementBytes, gradient);
        if (bytes + least * 4 > kUnifiedBuffer) continue;
        t.productElements =
            std::min((kUnifiedBuffer - bytes) / 4 / kLineElements * kLineElements, std::max(least, ((heads * t.rowsOfPass) | 1) * t.volume * kLineElements));
        // Work of the busiest core.
        const uint64_t tiles = uint64_t(p.batch) * cuboids * (p.heads / heads);
        const double rounds = static_cast<double>((tiles + cores - 1) / cores);
        const double copies = gradient ? 7 : 4;
        const double copied = heads * p.width * p.elementBytes * t.volume / kBytesOfCycle;  // one of them
        const double cost = rounds * (CyclesOfTile(t, gradient) + (ahead ? 0 : copies * (kCopyWait + copied))) +
                            copies * copied;  // of the first and the last tile nothing hides the copies
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
