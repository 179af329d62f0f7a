// Gradient of cuboid self-attention on the vector cores of Ascend 910B. Not yet run on silicon.
//
// Probabilities are computed again from q and k: reading them costs more than the arithmetic. dqkv has
// the layout of qkv. Each core adds up its own share of the scores' gradient, partial [cores, heads, L,
// Lp]; the caller sums the cores and the pairs of equal relative position in a fixed order, so the
// gradient of the bias does not depend on which core was first.
#include "cuboid_attention_scores.h"

namespace cuboid {

template <typename T>
class Gradient : public Scores<T, 4> {
  using Base = Scores<T, 4>;
  using Base::rowElements;
  using Base::t;

 public:
  __aicore__ inline Gradient() {}

  __aicore__ inline void Init(const CuboidAttentionTiling& tiling, TPipe* pipe, GM_ADDR qkv, GM_ADDR table,
                              GM_ADDR relative, GM_ADDR mask, GM_ADDR dropout, GM_ADDR dout, GM_ADDR dqkv,
                              GM_ADDR partial) {
    Base::InitScores(tiling, pipe, qkv, table, relative, mask, dropout);
    elements = t.headsOfTile * t.width;
    square = t.volume * t.paddedVolume;
    const uint64_t cells = uint64_t(t.batch) * t.grid[0] * t.grid[1] * t.grid[2];
    doutGm.SetGlobalBuffer((__gm__ T*)dout, cells * t.heads * t.width);
    dqkvGm.SetGlobalBuffer((__gm__ T*)dqkv, cells * 3 * t.heads * t.width);
    partialGm.SetGlobalBuffer((__gm__ float*)partial, AscendC::GetBlockNum() * t.heads * square);
    const uint32_t pairs = t.headsOfTile * t.rowsOfPass * t.paddedVolume;
    pipe->InitBuffer(outputs, t.outputBuffers, 3 * t.volume * elements * sizeof(T));
    if constexpr (sizeof(T) < sizeof(float)) pipe->InitBuffer(outBuffer, 3 * t.volume * elements * sizeof(float));
    pipe->InitBuffer(biasSums, 1, t.headsOfTile * square * sizeof(float));
    pipe->InitBuffer(slopeBuffer, pairs * sizeof(float));
    pipe->InitBuffer(productBuffer, pairs * sizeof(float));
    pipe->InitBuffer(weightBuffer, pairs * 32);
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
      biasSum = biasSums.template AllocTensor<float>();
      AscendC::Duplicate(biasSum, 0.0f, t.headsOfTile * square);
      Barrier();
      if (begin < end) {
        Base::LoadBias(group);
        if (t.inputBuffers > 1) Load(group, begin % perGroup);
        for (uint32_t index = begin; index < end; ++index) {
          // With two buffers the next tile is on its way while this one is computed.
          if (t.inputBuffers == 1) {
            Load(group, index % perGroup);
          } else if (index + 1 < end) {
            Load(group, (index + 1) % perGroup);
          }
          Compute(TileOf(t, group, index % perGroup));
        }
      }
      StoreBiasSum(group);
    }
  }

 private:
  __aicore__ inline void Load(uint32_t group, uint32_t index) {
    const Tile tile = TileOf(t, group, index);
    LocalTensor<T> rows = Base::StartLoad(tile);
    LoadRows(t, tile, Base::Part(rows, 3), doutGm, t.heads * t.width, 0);
    Base::inputs.EnQue(rows);
  }

  __aicore__ inline void StoreBiasSum(uint32_t group) {
    biasSums.EnQue(biasSum);
    biasSum = biasSums.template DeQue<float>();
    const uint64_t to = (AscendC::GetBlockIdx() * t.heads + group * t.headsOfTile) * square;
    AscendC::DataCopyPad(partialGm[to], biasSum,
                         AscendC::DataCopyExtParams(1, t.headsOfTile * square * sizeof(float), 0, 0, 0));
    biasSums.FreeTensor(biasSum);
  }

  __aicore__ inline void Compute(const Tile& tile) {
    LocalTensor<T> loaded = Base::inputs.template DeQue<T>();
    Base::TakeMasks();
    LocalTensor<T> result;
    LocalTensor<float> out;
    if constexpr (sizeof(T) < sizeof(float)) {
      out = outBuffer.template Get<float>();
    } else {
      result = outputs.template AllocTensor<T>();
      out = result;
    }
    const uint32_t part = t.volume * elements;
    AscendC::Duplicate(out, 0.0f, 3 * part);
    for (uint32_t first = 0; first < t.volume; first += t.rowsOfPass) {
      ComputePass(loaded, out, first, Least(t.rowsOfPass, t.volume - first));
    }
    AscendC::Muls(out, out, t.scale, 2 * part);  // of q and of k; v has no scale
    Base::inputs.FreeTensor(loaded);
    Base::FreeMasks();
    if constexpr (sizeof(T) < sizeof(float)) {
      Barrier();
      // Taken only now: the last tile's result may have been on its way out until here.
      result = outputs.template AllocTensor<T>();
      AscendC::Cast(result, out, AscendC::RoundMode::CAST_RINT, 3 * part);
    }
    outputs.EnQue(result);
    result = outputs.template DeQue<T>();
    for (uint32_t p = 0; p < 3; ++p) {
      StoreRows(t, tile, dqkvGm, result[p * part], 3 * t.heads * t.width, p * t.heads * t.width);
    }
    outputs.FreeTensor(result);
  }

  // Queries first..first+rows: their dq, and their share of dk, dv and the bias.
  __aicore__ inline void ComputePass(const LocalTensor<T>& loaded, const LocalTensor<float>& out, uint32_t first,
                                     uint32_t rows) {
    const uint32_t plane = rows * t.paddedVolume, all = t.headsOfTile * plane;
    const uint32_t rowCount = t.headsOfTile * rows, blocks = t.paddedVolume / kFloats;
    const LocalTensor<float> p = Base::Probabilities(loaded, first, rows);
    const LocalTensor<float> slope = slopeBuffer.template Get<float>();
    RowsDotRows<T>(t, slope, Base::sumsBuffer.template Get<float>(), Base::Halves(),
                   Base::Part(loaded, 3)[first * rowElements], Base::Part(loaded, 2), rows);

    // Weights of dv: the probabilities as the forward pass used them.
    const LocalTensor<float> product = productBuffer.template Get<float>();
    const LocalTensor<T> used = weightBuffer.template Get<T>();
    if (t.hasDropout) {
      Base::MultiplyByDropout(slope, first, rows);
      AscendC::Adds(product, p, 0.0f, all);
      Barrier();
      Base::MultiplyByDropout(product, first, rows);
      FillWeights<T>(used, Base::Narrow(), product, all);
    } else {
      FillWeights<T>(used, Base::Narrow(), p, all);
    }

    // slope = p * (dp - sum over keys of p dp), the gradient of the scores.
    AscendC::Mul(product, p, slope, all);
    Barrier();
    const LocalTensor<float> folded = Base::foldedBuffer.template Get<float>();
    ReduceRows<false>(Base::rowValues, folded, product, rowCount, blocks);
    FillBlocks<float>(folded, Base::rowValues, (rowCount + 7) / 8 * 8);
    ApplyToRows<RowOperation::kSubtract>(slope, folded, rowCount, blocks, blocks, 1);
    AscendC::Mul(slope, slope, p, all);
    Barrier();
    for (uint32_t h = 0; h < t.headsOfTile; ++h) {
      const LocalTensor<float> sum = biasSum[h * square + first * t.paddedVolume];
      AscendC::Add(sum, sum, slope[h * plane], plane);
    }
    const LocalTensor<T> slopes = Base::sumsBuffer.template Get<T>();
    FillWeights<T>(slopes, Base::Narrow(), slope, all);

    // Three sums at a time, which do not touch each other, share a barrier.
    const uint32_t part = t.volume * elements;
    const uint32_t steps = t.volume > rows ? t.volume : rows;
    for (uint32_t step = 0; step < steps; ++step) {
      if (step < t.volume) {
        AddWeightedRow<T>(t, out[first * elements], slopes, plane, step, t.paddedVolume,
                          Base::Part(loaded, 1)[step * rowElements], rows);
      }
      if (step < rows) {
        const uint32_t row = (first + step) * rowElements;
        AddWeightedRow<T>(t, out[part], slopes, plane, step * t.paddedVolume, 1, Base::Part(loaded, 0)[row], t.volume);
        AddWeightedRow<T>(t, out[2 * part], used, plane, step * t.paddedVolume, 1, Base::Part(loaded, 3)[row],
                          t.volume);
      }
      Barrier();
    }
  }

  uint32_t elements = 0;  // of a token's dense row of one part
  uint32_t square = 0;    // L * Lp
  GlobalTensor<T> doutGm, dqkvGm;
  GlobalTensor<float> partialGm;
  TQue<TPosition::VECOUT, 1> outputs, biasSums;
  TBuf<TPosition::VECCALC> outBuffer, slopeBuffer, productBuffer, weightBuffer;
  LocalTensor<float> biasSum;
};

}  // namespace cuboid

extern "C" __global__ __aicore__ void cuboid_attention_grad(GM_ADDR qkv, GM_ADDR table, GM_ADDR relative, GM_ADDR mask,
                                                            GM_ADDR dropout, GM_ADDR dout, GM_ADDR dqkv,
                                                            GM_ADDR partial, GM_ADDR workspace, GM_ADDR tiling) {
  REGISTER_TILING_DEFAULT(CuboidAttentionTiling);
  GET_TILING_DATA_WITH_STRUCT(CuboidAttentionTiling, data, tiling);
  AscendC::TPipe pipe;
  cuboid::Gradient<DTYPE_QKV> kernel;
  kernel.Init(data, &pipe, qkv, table, relative, mask, dropout, dout, dqkv, partial);
  kernel.Process();
}
