// Cuboid self-attention, forward, on the vector cores of Ascend 910B. Not yet run on silicon.
//
// qkv [B,T,H,W,3,heads,width] is read where the projection left it; out [B,T,H,W,heads*width].
// relative [L,Lp] int32 and mask [N,L,Lp] are padded by the host; dropout [B,N,heads,L,L].
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
    const uint32_t elements = t.volume * t.headsOfTile * t.width;
    outGm.SetGlobalBuffer((__gm__ T*)out,
                          uint64_t(t.batch) * t.grid[0] * t.grid[1] * t.grid[2] * t.heads * t.width);
    pipe->InitBuffer(outputs, t.outputBuffers, elements * sizeof(T));
    if constexpr (sizeof(T) < sizeof(float)) pipe->InitBuffer(outBuffer, elements * sizeof(float));
  }

  __aicore__ inline void Process() {
    const uint32_t perGroup = TilesOfGroup(t);
    const uint64_t tiles = uint64_t(perGroup) * (t.heads / t.headsOfTile);
    const uint32_t first = tiles * AscendC::GetBlockIdx() / AscendC::GetBlockNum();
    const uint32_t last = tiles * (AscendC::GetBlockIdx() + 1) / AscendC::GetBlockNum();
    uint32_t group = 0;
    for (uint32_t index = first; index < last; ++index) {
      if (index == first || index / perGroup != group) {
        group = index / perGroup;
        Base::LoadBias(group);
        if (t.inputBuffers > 1) Load(group, index % perGroup);
      }
      // With two buffers the next tile of the same group is on its way while this one is computed.
      if (t.inputBuffers == 1) {
        Load(group, index % perGroup);
      } else if (index + 1 < last && (index + 1) / perGroup == group) {
        Load(group, (index + 1) % perGroup);
      }
      Compute(TileOf(t, group, index % perGroup));
    }
  }

 private:
  __aicore__ inline void Load(uint32_t group, uint32_t index) {
    LocalTensor<T> rows = Base::StartLoad(TileOf(t, group, index));
    Base::inputs.EnQue(rows);
  }

  __aicore__ inline void Compute(const Tile& tile) {
    LocalTensor<T> loaded = Base::inputs.template DeQue<T>();
    Base::TakeMasks();
    LocalTensor<T> result;
    const uint32_t elements = t.headsOfTile * t.width;
    LocalTensor<float> out;
    if constexpr (sizeof(T) < sizeof(float)) {
      out = outBuffer.template Get<float>();
    } else {
      result = outputs.template AllocTensor<T>();
      out = result;
    }
    AscendC::Duplicate(out, 0.0f, t.volume * elements);
    const LocalTensor<T> weights = Base::sumsBuffer.template Get<T>();
    for (uint32_t first = 0; first < t.volume; first += t.rowsOfPass) {
      const uint32_t rows = Least(t.rowsOfPass, t.volume - first);
      const LocalTensor<float> p = Base::Probabilities(loaded, first, rows);
      if (t.hasDropout) Base::MultiplyByDropout(p, first, rows);
      FillWeights<T>(weights, Base::Narrow(), p, t.headsOfTile * rows * t.paddedVolume);
      for (uint32_t j = 0; j < t.volume; ++j) {
        AddWeightedRow<T>(t, out[first * elements], weights, rows * t.paddedVolume, j, t.paddedVolume,
                          Base::Part(loaded, 2)[j * Base::rowElements], rows);
        Barrier();
      }
    }
    Base::inputs.FreeTensor(loaded);
    Base::FreeMasks();
    if constexpr (sizeof(T) < sizeof(float)) {
      // Taken only now: the last tile's result may have been on its way out until here.
      result = outputs.template AllocTensor<T>();
      AscendC::Cast(result, out, AscendC::RoundMode::CAST_RINT, t.volume * elements);
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
  REGISTER_TILING_DEFAULT(CuboidAttentionTiling);
  GET_TILING_DATA_WITH_STRUCT(CuboidAttentionTiling, data, tiling);
  AscendC::TPipe pipe;
  cuboid::Forward<DTYPE_QKV> kernel;
  kernel.Init(data, &pipe, qkv, table, relative, mask, dropout, out);
  kernel.Process();
}
