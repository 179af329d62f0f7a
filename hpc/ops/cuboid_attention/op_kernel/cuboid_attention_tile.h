// A tile is one cuboid seen by some of the heads. Where its tokens are in the grid, and how its rows
// travel between global memory and the unified buffer without any reordered copy.
#ifndef CUBOID_ATTENTION_TILE_H_
#define CUBOID_ATTENTION_TILE_H_

#include "cuboid_attention_tiling.h"
#include "kernel_operator.h"

namespace cuboid {

struct Tile {
  uint32_t sample;
  uint32_t cuboid;     // in row-major order of (T, H, W)
  uint32_t firstHead;
  uint32_t at[3];      // of the cuboid on each axis
};

__aicore__ inline uint32_t TilesOfGroup(const CuboidAttentionTiling& t) {
  return t.batch * t.count[0] * t.count[1] * t.count[2];
}

__aicore__ inline Tile TileOf(const CuboidAttentionTiling& t, uint32_t group, uint32_t index) {
  const uint32_t cuboids = t.count[0] * t.count[1] * t.count[2];
  Tile tile;
  tile.sample = index / cuboids;
  tile.cuboid = index % cuboids;
  tile.firstHead = group * t.headsOfTile;
  tile.at[2] = tile.cuboid % t.count[2];
  tile.at[1] = tile.cuboid / t.count[2] % t.count[1];
  tile.at[0] = tile.cuboid / (t.count[2] * t.count[1]);
  return tile;
}

// The tile's tokens, in order, as runs that lie at one stride in the grid: what a copy instruction
// takes. A run follows the innermost axis on which the cuboid is longer than one cell; a shifted
// cuboid that crosses the edge of the grid has two runs there.
class TileRuns {
 public:
  __aicore__ inline TileRuns(const CuboidAttentionTiling& tiling, const Tile& tile) : t(tiling), tile(tile) {
    along = t.block[2] > 1 ? 2 : (t.block[1] > 1 ? 1 : 0);
    axisStride[0] = uint64_t(t.grid[1]) * t.grid[2];
    axisStride[1] = t.grid[2];
    axisStride[2] = 1;
    cellStride = t.tokenStep[along] * axisStride[along];
  }

  __aicore__ inline bool Next() {
    firstToken += tokens;
    if (firstToken == t.volume) return false;
    const uint32_t length = t.block[along];
    const uint32_t done = firstToken % length;
    const uint32_t offset[3] = {firstToken / (t.block[1] * t.block[2]), firstToken / t.block[2] % t.block[1],
                                firstToken % t.block[2]};
    firstCell = 0;
    uint32_t start = 0;
    for (uint32_t axis = 0; axis < 3; ++axis) {
      const uint32_t position =
          (tile.at[axis] * t.blockStep[axis] + offset[axis] * t.tokenStep[axis] + t.shift[axis]) % t.grid[axis];
      firstCell += position * axisStride[axis];
      if (axis == along) start = position;
    }
    const uint32_t step = t.tokenStep[along];
    const uint32_t toEdge = (t.grid[along] - start + step - 1) / step;
    tokens = toEdge < length - done ? toEdge : length - done;
    return true;
  }

  uint32_t firstToken = 0;
  uint32_t tokens = 0;
  uint64_t firstCell = 0;
  uint64_t cellStride = 0;

 private:
  const CuboidAttentionTiling& t;
  const Tile& tile;
  uint32_t along = 0;
  uint64_t axisStride[3];
};

// Rows of one part (q, k, v or a gradient) of the tile's heads: grid -> unified buffer, where they
// are dense [L, heads of the tile * width]. `cellElements` is what one cell holds in global memory,
// `partOffset` where the part begins in it.
template <typename T>
__aicore__ inline void LoadRows(const CuboidAttentionTiling& t, const Tile& tile, const AscendC::LocalTensor<T>& rows,
                                const AscendC::GlobalTensor<T>& grid, uint32_t cellElements, uint32_t partOffset) {
  const uint64_t cells = uint64_t(t.grid[0]) * t.grid[1] * t.grid[2];
  const uint32_t elements = t.headsOfTile * t.width;
  const uint32_t bytes = elements * sizeof(T);
  const AscendC::DataCopyPadExtParams<T> noPadding;
  TileRuns run(t, tile);
  while (run.Next()) {
    const uint64_t from =
        (tile.sample * cells + run.firstCell) * cellElements + partOffset + tile.firstHead * t.width;
    const uint32_t gap = run.tokens > 1 ? run.cellStride * cellElements * sizeof(T) - bytes : 0;
    AscendC::DataCopyPad(rows[run.firstToken * elements], grid[from],
                         AscendC::DataCopyExtParams(run.tokens, bytes, gap, 0, 0), noPadding);
  }
}

// Dense rows [L, heads of the tile * width] of one part: unified buffer -> grid.
template <typename T>
__aicore__ inline void StoreRows(const CuboidAttentionTiling& t, const Tile& tile,
                                 const AscendC::GlobalTensor<T>& grid, const AscendC::LocalTensor<T>& rows,
                                 uint32_t cellElements, uint32_t partOffset) {
  const uint64_t cells = uint64_t(t.grid[0]) * t.grid[1] * t.grid[2];
  const uint32_t elements = t.headsOfTile * t.width;
  const uint32_t bytes = elements * sizeof(T);
  TileRuns run(t, tile);
  while (run.Next()) {
    const uint64_t to = (tile.sample * cells + run.firstCell) * cellElements + partOffset + tile.firstHead * t.width;
    const uint32_t gap = run.tokens > 1 ? run.cellStride * cellElements * sizeof(T) - bytes : 0;
    AscendC::DataCopyPad(grid[to], rows[run.firstToken * elements],
                         AscendC::DataCopyExtParams(run.tokens, bytes, 0, gap, 0));
  }
}

}  // namespace cuboid

#endif  // CUBOID_ATTENTION_TILE_H_
