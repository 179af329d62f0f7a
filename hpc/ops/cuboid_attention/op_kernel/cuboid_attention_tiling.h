// What the host decides and the kernel reads: plain data, the same on both sides.
//
// Axes are in the order T, H, W. Letters: L tokens of a cuboid, Lp = L rounded up to 8, 16, 32 or 64.
#ifndef CUBOID_ATTENTION_TILING_H_
#define CUBOID_ATTENTION_TILING_H_

#include <cstdint>

constexpr uint32_t kVectorKey = 1;  // tiling keys: vector cores alone,
constexpr uint32_t kCubeKey = 2;    // or a cube core with two vector cores
constexpr uint32_t kSlots = 4;      // rounds that are on their way at a time (key 2)
constexpr uint32_t kFractal = 16;   // rows and columns of what the cube unit multiplies

struct CuboidAttentionTiling {
  uint64_t key;
  uint32_t batch;
  uint32_t grid[3];       // cells
  uint32_t block[3];      // tokens of a cuboid
  uint32_t count[3];      // cuboids
  uint32_t shift[3];      // roll towards the start
  uint32_t tokenStep[3];  // cells from a token to the next: 1 local, count dilated
  uint32_t blockStep[3];  // cells from a cuboid to the next: block local, 1 dilated
  uint32_t heads;
  uint32_t width;            // of a head
  uint32_t volume;           // L
  uint32_t paddedVolume;     // Lp
  uint32_t relativeRows;     // rows of the bias table
  uint32_t headsOfTile;      // heads that a tile takes together; divides heads
  uint32_t rowsOfPass;       // queries whose scores are in the unified buffer at a time
  uint32_t productElements;  // floats of the buffer of products
  uint32_t loadAhead;        // whether the next tile is loaded while one is computed
  uint32_t cuboidsOfRound;   // that a cube core multiplies before the vector cores go on (key 2)
  uint32_t slotElements;     // of an array of a round in the workspace, whole lines of the cache (key 2)
  uint32_t partials;         // slices of the bias's gradient; those that no vector core has become 0
  uint32_t hasMask;
  uint32_t hasDropout;
  float scale;               // of q
};

static_assert(sizeof(CuboidAttentionTiling) % 8 == 0, "the kernel's copy of it may move 8 bytes at a time");

#endif  // CUBOID_ATTENTION_TILING_H_
