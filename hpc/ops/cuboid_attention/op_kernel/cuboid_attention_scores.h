// What forward and backward share: operands of a tile, the bias of a group of heads, the softmax.
#ifndef CUBOID_ATTENTION_SCORES_H_
#define CUBOID_ATTENTION_SCORES_H_

#include "cuboid_attention_products.h"
#include "cuboid_attention_tile.h"

namespace cuboid {

using AscendC::GlobalTensor;
using AscendC::HardEvent;
using AscendC::TBuf;
using AscendC::TPipe;
using AscendC::TPosition;
using AscendC::TQue;

constexpr float kHidden = -1.0e30f;

// Base of both kernels. `kParts` rows of T a token come in: q, k, v, and for the gradient dout. All
// arithmetic is in float: narrower rows are cast as soon as they are there, part by part, which frees
// their buffers for the next tile.
template <typename T, uint32_t kParts>
class Scores {
 protected:
  static constexpr bool kNarrow = sizeof(T) < sizeof(float);
  static constexpr uint32_t kSlots = kNarrow ? kParts : 1;  // input buffers of a tile

  __aicore__ inline Scores() {}

  __aicore__ inline void InitScores(const CuboidAttentionTiling& tiling, TPipe* pipe, GM_ADDR qkv, GM_ADDR table,
                                    GM_ADDR relative, GM_ADDR mask, GM_ADDR dropout) {
    t = tiling;
    events = pipe;
    partElements = t.volume * t.headsOfTile * t.width;
    partStride = partElements % kBankRowFloats ? partElements : partElements + kBankRowFloats / 2;
    keptColumns = (t.volume + 7) / 8 * 8;
    const uint64_t cells = uint64_t(t.batch) * t.grid[0] * t.grid[1] * t.grid[2];
    const uint32_t cuboids = t.count[0] * t.count[1] * t.count[2];
    qkvGm.SetGlobalBuffer((__gm__ T*)qkv, cells * 3 * t.heads * t.width);
    tableGm.SetGlobalBuffer((__gm__ float*)table, t.relativeRows * t.heads);
    relativeGm.SetGlobalBuffer((__gm__ int32_t*)relative, t.volume * t.paddedVolume);
    pipe->InitBuffer(inputs, kNarrow ? (t.loadAhead ? kSlots : 1) : (t.loadAhead ? 2 : 1),
                     kNarrow ? partElements * sizeof(T) : kParts * partStride * sizeof(T));
    pipe->InitBuffer(biasBuffer, t.headsOfTile * t.volume * t.paddedVolume * sizeof(float));
    const uint32_t rows = t.headsOfTile * t.rowsOfPass;
    const uint32_t pairs = rows * t.paddedVolume;
    pipe->InitBuffer(blockBuffer, pairs * kFloats * sizeof(float));
    pipe->InitBuffer(productBuffer, t.productElements * sizeof(float));
    pipe->InitBuffer(scoresBuffer, pairs * sizeof(float));
    if (t.width > kRepeatFloats) pipe->InitBuffer(otherBuffer, pairs * sizeof(float));
    if constexpr (kNarrow) pipe->InitBuffer(rowsBuffer, kParts * partStride * sizeof(float));
    const uint32_t paddedRows = (rows + 7) / 8 * 8;
    pipe->InitBuffer(foldedBuffer, paddedRows * 32);
    pipe->InitBuffer(rowBuffer, 2 * paddedRows * sizeof(float));
    const uint32_t maskBuffers = t.loadAhead ? 2 : 1;
    if (t.hasMask) {
      maskGm.SetGlobalBuffer((__gm__ float*)mask, uint64_t(cuboids) * t.volume * t.paddedVolume);
      pipe->InitBuffer(masks, maskBuffers, t.volume * t.paddedVolume * sizeof(float));
      pipe->InitBuffer(hiddenBuffer, t.rowsOfPass * t.paddedVolume * sizeof(float));
      hidden = hiddenBuffer.template Get<float>();
    }
    if (t.hasDropout) {
      dropoutGm.SetGlobalBuffer((__gm__ float*)dropout,
                                uint64_t(t.batch) * cuboids * t.heads * t.volume * t.volume);
      pipe->InitBuffer(dropouts, maskBuffers, t.headsOfTile * t.volume * keptColumns * sizeof(float));
    }
    rowValues = rowBuffer.template Get<float>();
    blocks = blockBuffer.template Get<float>();
    products = productBuffer.template Get<float>();
    // The tail of the last eight rows is read by broadcasts and never used: it must only be defined.
    AscendC::Duplicate(rowValues, 1.0f, 2 * paddedRows);
    // Blocks of the padding are never written by sums, and weights of the padding are 0.
    AscendC::Duplicate(blocks, 0.0f, pairs * kFloats);
    Barrier();
  }

  // Gathers bias[h][i][j] of a group of heads once: every tile of the group uses it.
  __aicore__ inline void LoadBias(uint32_t group) {
    const uint32_t square = t.volume * t.paddedVolume;
    const uint32_t tableBlocks = (t.relativeRows * t.heads + 7) / 8;
    // By way of the rows, or of the products where rows are not kept in float or are too few: what was
    // there is no longer needed, and must have been read.
    LocalTensor<float> loaded = products;
    if constexpr (kNarrow) {
      if (kParts * partStride >= tableBlocks * 8 + square) loaded = rowsBuffer.template Get<float>();
    }
    // By way of the scalar unit: freed buffers of the queues may hold all ids from V to MTE2.
    Flag<HardEvent::V_S>();
    Flag<HardEvent::S_MTE2>();
    AscendC::DataCopyPad(loaded, tableGm,
                         AscendC::DataCopyExtParams(1, t.relativeRows * t.heads * sizeof(float), 0, 0, 0),
                         AscendC::DataCopyPadExtParams<float>(false, 0, 0, 0.0f));
    AscendC::DataCopyPad(loaded[tableBlocks * 8].template ReinterpretCast<int32_t>(), relativeGm,
                         AscendC::DataCopyExtParams(1, square * sizeof(int32_t), 0, 0, 0),
                         AscendC::DataCopyPadExtParams<int32_t>(false, 0, 0, 0));
    Flag<HardEvent::MTE2_V>();
    const LocalTensor<int32_t> offsets = loaded[tableBlocks * 8].template ReinterpretCast<int32_t>();
    AscendC::Muls(offsets, offsets, static_cast<int32_t>(t.heads * sizeof(float)), square);
    Barrier();
    const LocalTensor<float> bias = biasBuffer.template Get<float>();
    for (uint32_t h = 0; h < t.headsOfTile; ++h) {
      AscendC::Gather(bias[h * square], loaded, offsets.template ReinterpretCast<uint32_t>(),
                      static_cast<uint32_t>((group * t.headsOfTile + h) * sizeof(float)), square);
    }
    Barrier();
    if (t.volume < t.paddedVolume) {
      // Bit j of every row of Lp bits, for j >= L: these columns must not win the softmax.
      uint64_t row = 0;
      for (uint32_t j = t.volume; j < t.paddedVolume; ++j) row |= uint64_t(1) << j;
      const uint32_t elements = t.headsOfTile * square;
      const uint32_t rowsOfRepeat = kRepeatFloats / t.paddedVolume;
      uint64_t bits[2] = {0, 0};
      for (uint32_t r = 0; r < rowsOfRepeat; ++r) bits[0] |= row << (r * t.paddedVolume);
      const uint32_t whole = elements / kRepeatFloats;
      for (uint32_t done = 0; done < whole; done += kMaxRepeat) {
        AscendC::Duplicate(bias[done * kRepeatFloats], kHidden, bits, Least(kMaxRepeat, whole - done), 1, 8);
      }
      if (elements % kRepeatFloats) {
        bits[0] &= (uint64_t(1) << (elements % kRepeatFloats)) - 1;
        AscendC::Duplicate(bias[whole * kRepeatFloats], kHidden, bits, 1, 1, 8);
      }
      Barrier();
    }
  }

  // Starts the copies of a tile. Where nothing is loaded ahead, narrow rows follow in TakeRows.
  __aicore__ inline void StartLoad(const Tile& tile) {
    if (t.hasMask) {
      LocalTensor<float> mask = masks.template AllocTensor<float>();
      const uint32_t square = t.volume * t.paddedVolume;
      AscendC::DataCopyPad(mask, maskGm[uint64_t(tile.cuboid) * square],
                           AscendC::DataCopyExtParams(1, square * sizeof(float), 0, 0, 0),
                           AscendC::DataCopyPadExtParams<float>(false, 0, 0, 0.0f));
      masks.EnQue(mask);
    }
    if (t.hasDropout) {
      LocalTensor<float> kept = dropouts.template AllocTensor<float>();
      const uint32_t cuboids = t.count[0] * t.count[1] * t.count[2];
      const uint64_t from =
          ((uint64_t(tile.sample) * cuboids + tile.cuboid) * t.heads + tile.firstHead) * t.volume * t.volume;
      AscendC::DataCopyPad(
          kept, dropoutGm[from],
          AscendC::DataCopyExtParams(t.headsOfTile * t.volume, t.volume * sizeof(float), 0, 0, 0),
          AscendC::DataCopyPadExtParams<float>(true, 0, keptColumns - t.volume, 0.0f));
      dropouts.EnQue(kept);
    }
    if (!kNarrow || t.loadAhead) {
      for (uint32_t slot = 0; slot < kSlots; ++slot) LoadSlot(tile, slot);
    }
  }

  // The rows of the tile in float: [parts, L, heads of the tile * width]. Where a part would fill whole
  // rows of banks, the next one begins half a row later: a query and a key of one head are then read
  // from different bank groups.
  __aicore__ inline LocalTensor<float> TakeRows(const Tile& tile) {
    TakeMasks();
    if constexpr (kNarrow) {
      const LocalTensor<float> rows = rowsBuffer.template Get<float>();
      for (uint32_t slot = 0; slot < kSlots; ++slot) {
        if (!t.loadAhead) LoadSlot(tile, slot);
        LocalTensor<T> part = inputs.template DeQue<T>();
        AscendC::Cast(rows[slot * partStride], part, AscendC::RoundMode::CAST_NONE, partElements);
        inputs.FreeTensor(part);
      }
      Barrier();
      return rows;
    } else {
      loaded = inputs.template DeQue<T>();
      return loaded;
    }
  }

  // Makes the second pipe of an event wait for the first.
  template <HardEvent kEvent>
  __aicore__ inline void Flag() {
    const event_t id = static_cast<event_t>(events->FetchEventID(kEvent));
    AscendC::SetFlag<kEvent>(id);
    AscendC::WaitFlag<kEvent>(id);
  }

  __aicore__ inline void LoadSlot(const Tile& tile, uint32_t slot) {
    LocalTensor<T> rows = inputs.template AllocTensor<T>();
    for (uint32_t i = 0; i < kParts / kSlots; ++i) {
      const uint32_t part = slot + i;
      if (part < 3) {
        LoadRows(t, tile, rows[i * partStride], qkvGm, 3 * t.heads * t.width, part * t.heads * t.width);
      } else {
        LoadRows(t, tile, rows[i * partStride], doutGm, t.heads * t.width, 0);
      }
    }
    inputs.EnQue(rows);
  }

  __aicore__ inline void FreeRows() {
    if constexpr (!kNarrow) inputs.FreeTensor(loaded);
    if (t.hasMask) masks.FreeTensor(mask);
    if (t.hasDropout) dropouts.FreeTensor(kept);
  }

  __aicore__ inline void TakeMasks() {
    if (t.hasMask) {
      mask = masks.template DeQue<float>();
    }
    if (t.hasDropout) kept = dropouts.template DeQue<float>();
  }

  // Probabilities before dropout of queries first..first+rows: float [heads of the tile, rows, Lp].
  __aicore__ inline LocalTensor<float> Probabilities(const LocalTensor<float>& rowsOfTile, uint32_t first,
                                                     uint32_t rows) {
    const LocalTensor<float> p = scoresBuffer.template Get<float>();
    const uint32_t plane = rows * t.paddedVolume;
    const uint32_t all = t.headsOfTile * rows;
    const uint32_t blocksOfRow = t.paddedVolume / kFloats;
    if (t.hasMask) {
      AscendC::Adds(hidden, mask[first * t.paddedVolume], -1.0f, plane);
      Barrier();
      AscendC::Muls(hidden, hidden, -kHidden, plane);
    }
    Dot(p, rowsOfTile[first * t.headsOfTile * t.width], rowsOfTile[partStride], rows);
    AscendC::Muls(p, p, t.scale, t.headsOfTile * plane);
    Barrier();
    const LocalTensor<float> bias = biasBuffer.template Get<float>();
    for (uint32_t h = 0; h < t.headsOfTile; ++h) {
      AscendC::Add(p[h * plane], p[h * plane], bias[(h * t.volume + first) * t.paddedVolume], plane);
    }
    Barrier();
    if (t.hasMask) {
      MultiplyByMask(p, first, plane);
      for (uint32_t h = 0; h < t.headsOfTile; ++h) {
        AscendC::Add(p[h * plane], p[h * plane], hidden, plane);
      }
      Barrier();
    }
    const LocalTensor<float> folded = foldedBuffer.template Get<float>();
    const uint32_t padded = (all + 7) / 8 * 8;
    ReduceRows<true>(rowValues, folded, p, all, blocksOfRow);
    FillBlocks(folded, rowValues, padded);
    ApplyToRows<RowOperation::kSubtract>(p, folded, all, blocksOfRow, blocksOfRow, 1);
    AscendC::Exp(p, p, t.headsOfTile * plane);
    Barrier();
    if (t.hasMask) MultiplyByMask(p, first, plane);
    ReduceRows<false>(rowValues, folded, p, all, blocksOfRow);
    // A row that sees nothing has the sum 0 and must stay 0.
    const LocalTensor<float> ones = rowValues[(t.headsOfTile * t.rowsOfPass + 7) / 8 * 8];
    AscendC::Maxs(rowValues, rowValues, 1.0e-30f, all);
    Barrier();
    AscendC::Div(rowValues, ones, rowValues, all);
    Barrier();
    FillBlocks(folded, rowValues, padded);
    ApplyToRows<RowOperation::kMultiply>(p, folded, all, blocksOfRow, blocksOfRow, 1);
    return p;
  }

  __aicore__ inline void MultiplyByMask(const LocalTensor<float>& values, uint32_t first, uint32_t plane) {
    for (uint32_t h = 0; h < t.headsOfTile; ++h) {
      AscendC::Mul(values[h * plane], values[h * plane], mask[first * t.paddedVolume], plane);
    }
    Barrier();
  }

  __aicore__ inline void MultiplyByDropout(const LocalTensor<float>& values, uint32_t first, uint32_t rows) {
    const uint32_t blocks = t.paddedVolume / kFloats, used = keptColumns / kFloats;
    for (uint32_t h = 0; h < t.headsOfTile; ++h) {
      ApplyToRows<RowOperation::kMultiply>(values[h * rows * t.paddedVolume],
                                           kept[(h * t.volume + first) * keptColumns], rows, blocks, used, used);
    }
  }

  // Dot products of rows of the tile with all of its tokens, as RowsDotRows.
  __aicore__ inline void Dot(const LocalTensor<float>& scores, const LocalTensor<float>& a,
                             const LocalTensor<float>& b, uint32_t rows) {
    LocalTensor<float> other;
    if (t.width > kRepeatFloats) other = otherBuffer.template Get<float>();
    RowsDotRows(t, scores, other, products, blocks, a, b, rows);
  }

  CuboidAttentionTiling t;
  TPipe* events = nullptr;
  uint32_t partElements = 0;  // of one part of a tile
  uint32_t partStride = 0;    // elements from a part to the next one where they lie in float
  uint32_t keptColumns = 0;   // of a row of dropout factors in the unified buffer
  GlobalTensor<T> qkvGm, doutGm;
  GlobalTensor<float> tableGm, maskGm, dropoutGm;
  GlobalTensor<int32_t> relativeGm;
  TQue<TPosition::VECIN, 4> inputs;
  TQue<TPosition::VECIN, 2> masks, dropouts;
  TBuf<TPosition::VECCALC> biasBuffer, blockBuffer, productBuffer, scoresBuffer, otherBuffer, rowsBuffer, foldedBuffer,
      rowBuffer, hiddenBuffer;
  LocalTensor<T> loaded;
  LocalTensor<float> blocks, products, rowValues, mask, hidden, kept;
};

}  // namespace cuboid

#endif  // CUBOID_ATTENTION_SCORES_H_
