// Cuboid self-attention, forward, on Ascend 910B. Not yet run on silicon.
//
// qkv [B,T,H,W,3,heads,width] is read where the projection left it; out [B,T,H,W,heads*width].
// relative [L,Lp] int32 and mask [N,L,Lp] are padded by the host; dropout [B,N,heads,L,L].
#include "cuboid_attention_block.h"
#include "cuboid_attention_scores.h"

namespace cuboid {

template <typename T>
class Forward : public Scores<T, 3> {
  using Base = Scores<T, 3>;
  using Base::t;

 public:
  __aicore__ inline Forward() {}

  __aicore__ inline void Init(const CuboidAttentionTiling& tiling, TPipe* pipe, GM_ADDR qkv, GM_ADDR table,
                              GM_ADDR relative, GM_ADDR mask, GM_ADDR dropout, GM_ADDR out) {
    Base::InitScores(tiling, pipe, qkv, table, relative, mask, dropout);
    outGm.SetGlobalBuffer((__gm__ T*)out,
                          uint64_t(t.batch) * t.grid[0] * t.grid[1] * t.grid[2] * t.heads * t.width);
    // A narrow result is taken late, a float one is summed up in its buffer: two, to store one meanwhile.
    pipe->InitBuffer(outputs, !Base::kNarrow && t.loadAhead ? 2 : 1, Base::partElements * sizeof(T));
    if constexpr (Base::kNarrow) pipe->InitBuffer(outBuffer, Base::partElements * sizeof(float));
  }

  __aicore__ inline void Process() {
    const uint32_t perGroup = TilesOfGroup(t);
    const uint64_t tiles = uint64_t(perGroup) * (t.heads / t.headsOfTile);
    const uint32_t first = tiles * AscendC::GetBlockIdx() / AscendC::GetBlockNum();
    const uint32_t last = tiles * (AscendC::GetBlockIdx() + 1) / AscendC::GetBlockNum();
    uint32_t group = 0;
    for (uint32_t index = first; index < last; ++index) {
      const bool newGroup = index == first || index / perGroup != group;
      if (newGroup) {
        group = index / perGroup;
        Base::LoadBias(group);
      }
      const Tile tile = TileOf(t, group, index % perGroup);
      if (newGroup || !t.loadAhead) Base::StartLoad(tile);
      const LocalTensor<float> rows = Base::TakeRows(tile);
      // The next tile of the same group is on its way while this one is computed.
      if (t.loadAhead && index + 1 < last && (index + 1) / perGroup == group) {
        Base::StartLoad(TileOf(t, group, (index + 1) % perGroup));
      }
      Compute(tile, rows);
    }
  }

 private:
  __aicore__ inline void Compute(const Tile& tile, const LocalTensor<float>& rowsOfTile) {
    LocalTensor<T> result;
    LocalTensor<float> out;
    if constexpr (Base::kNarrow) {
      out = outBuffer.template Get<float>();
    } else {
      result = outputs.template AllocTensor<T>();
      out = result;
    }
    for (uint32_t first = 0; first < t.volume; first += t.rowsOfPass) {
      const uint32_t rows = Least(t.rowsOfPass, t.volume - first), plane = rows * t.paddedVolume;
      const LocalTensor<float> p = Base::Probabilities(rowsOfTile, first, rows);
      if (t.hasDropout) Base::MultiplyByDropout(p, first, rows);
      FillBlocks(Base::blocks, p, t.headsOfTile * plane);
      WeightedRows(t, out[first * t.headsOfTile * t.width], false, Base::products, Base::blocks,
                   rowsOfTile[2 * Base::partStride], Sums{rows, t.volume, plane, t.paddedVolume, 1});
    }
    Base::FreeRows();
    if constexpr (Base::kNarrow) {
      // Taken only now: the last tile's result may have been on its way out until here.
      result = outputs.template AllocTensor<T>();
      AscendC::Cast(result, out, AscendC::RoundMode::CAST_RINT, Base::partElements);
    }
    outputs.EnQue(result);
    result = outputs.template DeQue<T>();
    StoreRows(t, tile, outGm, result, t.heads * t.width, 0);
    outputs.FreeTensor(result);
  }

  GlobalTensor<T> outGm;
  TQue<TPosition::VECOUT, 1> outputs;
  TBuf<TPosition::VECCALC> outBuffer;
};

}  // namespace cuboid

extern "C" __global__ __aicore__ void cuboid_attention(GM_ADDR qkv, GM_ADDR table, GM_ADDR relative, GM_ADDR mask,
                                                       GM_ADDR dropout, GM_ADDR out, GM_ADDR workspace,
                                                       GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  REGISTER_TILING_DEFAULT(CuboidAttentionTiling);
  GET_TILING_DATA_WITH_STRUCT(CuboidAttentionTiling, tilingData, tiling);
  AscendC::TPipe pipe;
  if (TILING_KEY_IS(1)) {
    KERNEL_TASK_TYPE(1, KERNEL_TYPE_AIV_ONLY);
    cuboid::Forward<DTYPE_QKV> op;
    op.Init(tilingData, &pipe, qkv, table, relative, mask, dropout, out);
    op.Process();
  } else if (TILING_KEY_IS(2)) {
    KERNEL_TASK_TYPE(2, KERNEL_TYPE_MIX_AIC_1_2);
    cuboid::RunBlock<DTYPE_QKV, false>(tilingData, &pipe, qkv, table, relative, dropout, nullptr, out, nullptr,
                                       workspace);
  }
}
