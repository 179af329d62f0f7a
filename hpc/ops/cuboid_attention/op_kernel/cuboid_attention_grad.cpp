// Gradient of cuboid self-attention on Ascend 910B. Not yet run on silicon.
//
// Probabilities are computed again from q and k: reading them costs more than the arithmetic. dqkv has
// the layout of qkv. Each core adds up its own share of the scores' gradient, partial [slices, heads, L,
// Lp], and slices without a core become 0; the caller sums the cores and the pairs of equal relative position in a fixed order, so the
// gradient of the bias does not depend on which core was first.
#include "cuboid_attention_block.h"
#include "cuboid_attention_scores.h"

namespace cuboid {

template <typename T>
class Gradient : public Scores<T, 4> {
  using Base = Scores<T, 4>;
  using Base::partElements;
  using Base::t;

 public:
  __aicore__ inline Gradient() {}

  __aicore__ inline void Init(const CuboidAttentionTiling& tiling, TPipe* pipe, GM_ADDR qkv, GM_ADDR table,
                              GM_ADDR relative, GM_ADDR mask, GM_ADDR dropout, GM_ADDR dout, GM_ADDR dqkv,
                              GM_ADDR partial) {
    Base::InitScores(tiling, pipe, qkv, table, relative, mask, dropout);
    square = t.volume * t.paddedVolume;
    const uint64_t cells = uint64_t(t.batch) * t.grid[0] * t.grid[1] * t.grid[2];
    Base::doutGm.SetGlobalBuffer((__gm__ T*)dout, cells * t.heads * t.width);
    dqkvGm.SetGlobalBuffer((__gm__ T*)dqkv, cells * 3 * t.heads * t.width);
    partialGm.SetGlobalBuffer((__gm__ float*)partial, uint64_t(t.partials) * t.heads * square);
    const uint32_t pairs = t.headsOfTile * t.rowsOfPass * t.paddedVolume;
    if constexpr (Base::kNarrow) {
      pipe->InitBuffer(outputs, t.loadAhead ? 3 : 1, partElements * sizeof(T));
      pipe->InitBuffer(outBuffer, 2 * partElements * sizeof(float));
      pipe->InitBuffer(queryBuffer, t.headsOfTile * t.rowsOfPass * t.width * sizeof(float));
    } else {
      pipe->InitBuffer(outputs, t.loadAhead ? 2 : 1, 3 * partElements * sizeof(T));
    }
    pipe->InitBuffer(biasSums, 1, t.headsOfTile * square * sizeof(float));
    pipe->InitBuffer(slopeBuffer, pairs * sizeof(float));
    pipe->InitBuffer(usedBuffer, pairs * sizeof(float));
  }

  __aicore__ inline void Process() {
    const uint32_t perGroup = TilesOfGroup(t);
    const uint32_t groups = t.heads / t.headsOfTile;
    const uint64_t tiles = uint64_t(perGroup) * groups;
    const uint32_t first = tiles * AscendC::GetBlockIdx() / AscendC::GetBlockNum();
    const uint32_t last = tiles * (AscendC::GetBlockIdx() + 1) / AscendC::GetBlockNum();
    for (uint32_t group = 0; group < groups; ++group) {
      const uint32_t begin = first > group * perGroup ? first : group * perGroup;
      const uint32_t end = Least(last, (group + 1) * perGroup);
      ClearBiasSum();
      if (begin < end) {
        Base::LoadBias(group);
        for (uint32_t index = begin; index < end; ++index) {
          const Tile tile = TileOf(t, group, index % perGroup);
          if (index == begin || !t.loadAhead) Base::StartLoad(tile);
          const LocalTensor<float> rows = Base::TakeRows(tile);
          // The next tile is on its way while this one is computed.
          if (t.loadAhead && index + 1 < end) Base::StartLoad(TileOf(t, group, (index + 1) % perGroup));
          Compute(tile, rows);
        }
      }
      StoreBiasSum(AscendC::GetBlockIdx(), group);
    }
    for (uint32_t slice = AscendC::GetBlockIdx() + AscendC::GetBlockNum(); slice < t.partials;
         slice += AscendC::GetBlockNum()) {
      for (uint32_t group = 0; group < groups; ++group) {
        ClearBiasSum();
        StoreBiasSum(slice, group);
      }
    }
  }

 private:
  __aicore__ inline void ClearBiasSum() {
    biasSum = biasSums.template AllocTensor<float>();
    AscendC::Duplicate(biasSum, 0.0f, t.headsOfTile * square);
    Barrier();
  }

  __aicore__ inline void StoreBiasSum(uint32_t slice, uint32_t group) {
    biasSums.EnQue(biasSum);
    biasSum = biasSums.template DeQue<float>();
    const uint64_t to = (uint64_t(slice) * t.heads + group * t.headsOfTile) * square;
    AscendC::DataCopyPad(partialGm[to], biasSum,
                         AscendC::DataCopyExtParams(1, t.headsOfTile * square * sizeof(float), 0, 0, 0));
    biasSums.FreeTensor(biasSum);
  }

  __aicore__ inline void Compute(const Tile& tile, const LocalTensor<float>& rowsOfTile) {
    // In float throughout: dq, dk and dv. Else dq of a pass, cast into the result at once, and the sums
    // of dk and dv.
    LocalTensor<T> result;
    LocalTensor<float> dq, dk, dv;
    if constexpr (Base::kNarrow) {
      dq = queryBuffer.template Get<float>();
      dk = outBuffer.template Get<float>();
      dv = dk[partElements];
    } else {
      result = outputs.template AllocTensor<T>();
      dq = result;
      dk = result[partElements];
      dv = result[2 * partElements];
    }
    for (uint32_t first = 0; first < t.volume; first += t.rowsOfPass) {
      const uint32_t rows = Least(t.rowsOfPass, t.volume - first), rowElements = t.headsOfTile * t.width;
      const LocalTensor<float> dqOfPass = Base::kNarrow ? dq : dq[first * rowElements];
      ComputePass(rowsOfTile, dqOfPass, dk, dv, first, rows);
      AscendC::Muls(dqOfPass, dqOfPass, t.scale, rows * rowElements);
      if constexpr (Base::kNarrow) {
        Barrier();
        // Taken only now: the last tile's result may have been on its way out until here.
        if (first == 0) result = outputs.template AllocTensor<T>();
        AscendC::Cast(result[first * rowElements], dqOfPass, AscendC::RoundMode::CAST_RINT, rows * rowElements);
      }
    }
    AscendC::Muls(dk, dk, t.scale, partElements);  // v has no scale
    Base::FreeRows();
    if constexpr (Base::kNarrow) {
      Store(tile, result, 0);
      Barrier();
      for (uint32_t part = 1; part < 3; ++part) {
        result = outputs.template AllocTensor<T>();
        AscendC::Cast(result, part == 1 ? dk : dv, AscendC::RoundMode::CAST_RINT, partElements);
        Store(tile, result, part);
      }
    } else {
      outputs.EnQue(result);
      result = outputs.template DeQue<T>();
      for (uint32_t part = 0; part < 3; ++part) StorePart(tile, result[part * partElements], part);
      outputs.FreeTensor(result);
    }
  }

  __aicore__ inline void Store(const Tile& tile, LocalTensor<T>& result, uint32_t part) {
    outputs.EnQue(result);
    result = outputs.template DeQue<T>();
    StorePart(tile, result, part);
    outputs.FreeTensor(result);
  }

  __aicore__ inline void StorePart(const Tile& tile, const LocalTensor<T>& rows, uint32_t part) {
    StoreRows(t, tile, dqkvGm, rows, 3 * t.heads * t.width, part * t.heads * t.width);
  }

  // Queries first..first+rows: their dq, and their share of dk, dv and the bias.
  __aicore__ inline void ComputePass(const LocalTensor<float>& rowsOfTile, const LocalTensor<float>& dq,
                                     const LocalTensor<float>& dk, const LocalTensor<float>& dv, uint32_t first,
                                     uint32_t rows) {
    const uint32_t plane = rows * t.paddedVolume, all = t.headsOfTile * plane;
    const uint32_t rowCount = t.headsOfTile * rows, blocksOfRow = t.paddedVolume / kFloats;
    const uint32_t firstRow = first * t.headsOfTile * t.width;
    const LocalTensor<float> q = rowsOfTile[firstRow], k = rowsOfTile[Base::partStride];
    const LocalTensor<float> v = rowsOfTile[2 * Base::partStride], dout = rowsOfTile[3 * Base::partStride + firstRow];
    const LocalTensor<float> p = Base::Probabilities(rowsOfTile, first, rows);
    const LocalTensor<float> slope = slopeBuffer.template Get<float>();
    Base::Dot(slope, dout, v, rows);

    // dv, with the probabilities as the forward pass used them.
    const LocalTensor<float> used = usedBuffer.template Get<float>();
    if (t.hasDropout) {
      Base::MultiplyByDropout(slope, first, rows);
      AscendC::Adds(used, p, 0.0f, all);
      Barrier();
      Base::MultiplyByDropout(used, first, rows);
      FillBlocks(Base::blocks, used, all);
    } else {
      FillBlocks(Base::blocks, p, all);
    }
    const Sums overRows{t.volume, rows, plane, 1, t.paddedVolume}, overKeys{rows, t.volume, plane, t.paddedVolume, 1};
    WeightedRows(t, dv, first > 0, Base::products, Base::blocks, dout, overRows);

    // slope = p * (dp - sum over keys of p dp), the gradient of the scores.
    AscendC::Mul(used, p, slope, all);
    Barrier();
    const LocalTensor<float> folded = Base::foldedBuffer.template Get<float>();
    ReduceRows<false>(Base::rowValues, folded, used, rowCount, blocksOfRow);
    FillBlocks(folded, Base::rowValues, (rowCount + 7) / 8 * 8);
    ApplyToRows<RowOperation::kSubtract>(slope, folded, rowCount, blocksOfRow, blocksOfRow, 1);
    AscendC::Mul(slope, slope, p, all);
    Barrier();
    for (uint32_t h = 0; h < t.headsOfTile; ++h) {
      const LocalTensor<float> sum = biasSum[h * square + first * t.paddedVolume];
      AscendC::Add(sum, sum, slope[h * plane], plane);
    }
    FillBlocks(Base::blocks, slope, all);
    WeightedRows(t, dq, false, Base::products, Base::blocks, k, overKeys);
    WeightedRows(t, dk, first > 0, Base::products, Base::blocks, q, overRows);
  }

  uint32_t square = 0;  // L * Lp
  GlobalTensor<T> dqkvGm;
  GlobalTensor<float> partialGm;
  TQue<TPosition::VECOUT, 1> outputs, biasSums;
  TBuf<TPosition::VECCALC> outBuffer, queryBuffer, slopeBuffer, usedBuffer;
  LocalTensor<float> biasSum;
};

}  // namespace cuboid

extern "C" __global__ __aicore__ void cuboid_attention_grad(GM_ADDR qkv, GM_ADDR table, GM_ADDR relative, GM_ADDR mask,
                                                            GM_ADDR dropout, GM_ADDR dout, GM_ADDR dqkv,
                                                            GM_ADDR partial, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  REGISTER_TILING_DEFAULT(CuboidAttentionTiling);
  GET_TILING_DATA_WITH_STRUCT(CuboidAttentionTiling, tilingData, tiling);
  AscendC::TPipe pipe;
  if (TILING_KEY_IS(1)) {
    KERNEL_TASK_TYPE(1, KERNEL_TYPE_AIV_ONLY);
    cuboid::Gradient<DTYPE_QKV> op;
    op.Init(tilingData, &pipe, qkv, table, relative, mask, dropout, dout, dqkv, partial);
    op.Process();
  } else if (TILING_KEY_IS(2)) {
    KERNEL_TASK_TYPE(2, KERNEL_TYPE_MIX_AIC_1_2);
    cuboid::RunBlock<DTYPE_QKV, true>(tilingData, &pipe, qkv, table, relative, dropout, dout, dqkv, partial, workspace);
  }
}
