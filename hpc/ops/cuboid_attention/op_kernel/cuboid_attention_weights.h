// Tiling key 2, the vector cores: scores -> probabilities, and their gradients.
//
// Each of the two vector cores takes half of the lines of a round; a line is a query of a cuboid with the
// 16 scores of each head. Everything is in float until the weights go back to the cube core.
#ifndef CUBOID_ATTENTION_WEIGHTS_H_
#define CUBOID_ATTENTION_WEIGHTS_H_

#include "cuboid_attention_rounds.h"
#include "cuboid_attention_rows.h"

namespace cuboid {

using AscendC::HardEvent;
using AscendC::TBuf;
using AscendC::TPipe;
using AscendC::TPosition;
using AscendC::TQue;

constexpr float kPadding = -1.0e30f;   // the score of a key beyond L
constexpr uint32_t kRowBlocks = kFractal / kFloats;
constexpr uint32_t kVectorCores = 2;   // beside a cube core

// The lines of a round that this core computes.
struct Lines {
  uint32_t begin = 0, count = 0;
};

template <typename T, bool kGradient>
class VectorSide {
 public:
  __aicore__ inline VectorSide() {}

  __aicore__ inline void Init(const CuboidAttentionTiling& tiling, TPipe* tpipe, GM_ADDR table, GM_ADDR relative,
                              GM_ADDR dropout, GM_ADDR partial, GM_ADDR workspace) {
    t = tiling;
    pipe = tpipe;
    const uint32_t core = AscendC::GetBlockIdx(), block = core / kVectorCores;
    member = AscendC::GetSubBlockIdx();
    rounds = Rounds(t, block, AscendC::GetBlockNum());
    exchange.Init(t, workspace, block);
    tableGm.SetGlobalBuffer((__gm__ float*)table, t.relativeRows * t.heads);
    relativeGm.SetGlobalBuffer((__gm__ int32_t*)relative, t.volume * t.paddedVolume);
    lineElements = t.heads * kFractal;
    keptRow = (t.volume + 7) / 8;
    const uint32_t cuboids = t.count[0] * t.count[1] * t.count[2], square = t.volume * lineElements;
    const uint32_t lines = (t.cuboidsOfRound * t.volume + 1) / 2, elements = lines * lineElements;
    const uint32_t paddedRows = (lines * t.heads + 7) / 8 * 8;
    tpipe->InitBuffer(scoresIn, kArrays, elements * sizeof(float));
    tpipe->InitBuffer(weightsOut, kArrays, elements * sizeof(T));
    tpipe->InitBuffer(biasBuffer, square * sizeof(float));
    const uint32_t tableElements = (t.relativeRows * t.heads + 7) / 8 * 8;
    tpipe->InitBuffer(tableBuffer, (tableElements + t.volume * t.paddedVolume + square) * sizeof(float));
    tpipe->InitBuffer(foldedBuffer, paddedRows * kFloats * sizeof(float));
    tpipe->InitBuffer(rowBuffer, 2 * paddedRows * sizeof(float));
    bias = biasBuffer.template Get<float>();
    folded = foldedBuffer.template Get<float>();
    rowValues = rowBuffer.template Get<float>();
    // The tail of the last eight rows is read by broadcasts and never used: it must only be defined.
    AscendC::Duplicate(rowValues, 1.0f, 2 * paddedRows);
    ones = rowValues[paddedRows];
    if (t.hasDropout) {
      dropoutGm.SetGlobalBuffer((__gm__ float*)dropout, uint64_t(t.batch) * cuboids * t.heads * t.volume * t.volume);
      tpipe->InitBuffer(dropouts, 1, elements * sizeof(float));
    }
    if constexpr (kGradient) {
      partialGm.SetGlobalBuffer((__gm__ float*)partial, uint64_t(t.partials) * t.heads * t.volume * t.paddedVolume);
      tpipe->InitBuffer(productBuffer, elements * sizeof(float));
      tpipe->InitBuffer(biasSums, 1, square * sizeof(float));
      ClearBiasSum();
    }
    Barrier();
  }

  __aicore__ inline void Process() {
    if (rounds.count > 0) LoadBias();
    for (uint32_t round = 0; round < rounds.count; ++round) {
      const uint32_t all = rounds.Cuboids(round) * t.volume;
      Lines lines;
      lines.begin = all * member / kVectorCores;
      lines.count = all * (member + 1) / kVectorCores - lines.begin;
      if (t.hasDropout && lines.count > 0) LoadDropout(round, lines);
      AscendC::CrossCoreWaitFlag(kScoresReady);
      if (lines.count > 0) Compute(round, lines);
      AscendC::CrossCoreSetFlag<2, PIPE_MTE3>(kWeightsReady);
    }
    if constexpr (kGradient) {
      const uint32_t core = AscendC::GetBlockIdx(), cores = AscendC::GetBlockNum() * kVectorCores;
      StoreBiasSum(core);
      for (uint32_t slice = core + cores; slice < t.partials; slice += cores) {
        ClearBiasSum();
        StoreBiasSum(slice);
      }
    }
  }

 private:
  static constexpr uint32_t kArrays = kGradient ? 2 : 1;

  // bias [L][heads][16]: offsets into the table in that order, then one gather. The columns beyond L are
  // those of row 0: their scores are hidden.
  __aicore__ inline void LoadBias() {
    const uint32_t tableElements = (t.relativeRows * t.heads + 7) / 8 * 8, square = t.volume * t.paddedVolume;
    const LocalTensor<float> values = tableBuffer.template Get<float>();
    const LocalTensor<int32_t> relative = values[tableElements].template ReinterpretCast<int32_t>();
    const LocalTensor<int32_t> offsets = relative[square];
    AscendC::DataCopyPad(values, tableGm,
                         AscendC::DataCopyExtParams(1, t.relativeRows * t.heads * sizeof(float), 0, 0, 0),
                         AscendC::DataCopyPadExtParams<float>(false, 0, 0, 0.0f));
    AscendC::DataCopyPad(relative, relativeGm, AscendC::DataCopyExtParams(1, square * sizeof(int32_t), 0, 0, 0),
                         AscendC::DataCopyPadExtParams<int32_t>(false, 0, 0, 0));
    const event_t id = static_cast<event_t>(pipe->FetchEventID(HardEvent::MTE2_V));
    AscendC::SetFlag<HardEvent::MTE2_V>(id);
    AscendC::WaitFlag<HardEvent::MTE2_V>(id);
    AscendC::Duplicate(offsets, 0, t.volume * lineElements);
    AscendC::Muls(relative, relative, static_cast<int32_t>(t.heads * sizeof(float)), square);
    Barrier();
    const uint32_t sourceBlocks = t.paddedVolume / kFloats;
    const uint32_t lineBlocks = kRowBlocks * t.heads;
    const AscendC::UnaryRepeatParams strides(lineBlocks, sourceBlocks, 8 * lineBlocks, 8 * sourceBlocks);
    for (uint32_t h = 0; h < t.heads; ++h) {
      for (uint32_t b = 0; b < sourceBlocks; ++b) {
        RowSteps step(t.volume);
        while (step.Next()) {
          AscendC::Adds(offsets[step.row * lineElements + h * kFractal + b * kFloats],
                        relative[step.row * t.paddedVolume + b * kFloats], static_cast<int32_t>(h * sizeof(float)),
                        step.mask, step.repeats, strides);
        }
      }
    }
    Barrier();
    AscendC::Gather(bias, values, offsets.template ReinterpretCast<uint32_t>(), static_cast<uint32_t>(0),
                    t.volume * lineElements);
    Barrier();
  }

  // Factors of the lines, [lines][heads][16]; a row has the blocks that L needs.
  __aicore__ inline void LoadDropout(uint32_t round, const Lines& lines) {
    LocalTensor<float> kept = dropouts.template AllocTensor<float>();
    for (uint32_t line = 0; line < lines.count;) {
      const uint32_t all = lines.begin + line, query = all % t.volume;
      const uint32_t count = Least(t.volume - query, lines.count - line);
      const uint64_t cuboid = rounds.Begin(round) + all / t.volume;
      for (uint32_t h = 0; h < t.heads; ++h) {
        AscendC::DataCopyPad(kept[line * lineElements + h * kFractal],
                             dropoutGm[((cuboid * t.heads + h) * t.volume + query) * t.volume],
                             AscendC::DataCopyExtParams(count, t.volume * sizeof(float), 0,
                                                        kRowBlocks * t.heads - keptRow, 0),
                             AscendC::DataCopyPadExtParams<float>(true, 0, keptRow * kFloats - t.volume, 0.0f));
      }
      line += count;
    }
    dropouts.EnQue(kept);
  }

  __aicore__ inline LocalTensor<float> LoadScores(uint32_t round, uint32_t array, const Lines& lines) {
    LocalTensor<float> scores = scoresIn.template AllocTensor<float>();
    AscendC::DataCopyPad(scores, exchange.scores[exchange.At(round, array) + uint64_t(lines.begin) * lineElements],
                         AscendC::DataCopyExtParams(1, lines.count * lineElements * sizeof(float), 0, 0, 0),
                         AscendC::DataCopyPadExtParams<float>(false, 0, 0, 0.0f));
    scoresIn.EnQue(scores);
    return scores;
  }

  __aicore__ inline void StoreWeights(uint32_t round, uint32_t array, const Lines& lines,
                                      const LocalTensor<float>& values) {
    LocalTensor<T> weights = weightsOut.template AllocTensor<T>();
    AscendC::Cast(weights, values, AscendC::RoundMode::CAST_RINT, lines.count * lineElements);
    weightsOut.EnQue(weights);
    weights = weightsOut.template DeQue<T>();
    AscendC::DataCopyPad(exchange.weights[exchange.At(round, array) + uint64_t(lines.begin) * lineElements], weights,
                         AscendC::DataCopyExtParams(1, lines.count * lineElements * sizeof(T), 0, 0, 0));
    weightsOut.FreeTensor(weights);
  }

  __aicore__ inline void Compute(uint32_t round, const Lines& lines) {
    const uint32_t rows = lines.count * t.heads, all = lines.count * lineElements;
    LoadScores(round, 0, lines);
    if constexpr (kGradient) LoadScores(round, 1, lines);
    LocalTensor<float> p = scoresIn.template DeQue<float>();
    Hide(p, kPadding, all);
    Softmax(p, lines, rows, all);
    LocalTensor<float> kept;
    if (t.hasDropout) kept = dropouts.template DeQue<float>();
    if constexpr (kGradient) {
      const LocalTensor<float> product = productBuffer.template Get<float>();
      LocalTensor<float> slope = scoresIn.template DeQue<float>();
      Hide(slope, 0.0f, all);
      if (t.hasDropout) {
        AscendC::Adds(product, p, 0.0f, all);
        Barrier();
        ApplyToRows<RowOperation::kMultiply>(product, kept, rows, kRowBlocks, keptRow, kRowBlocks);
        ApplyToRows<RowOperation::kMultiply>(slope, kept, rows, kRowBlocks, keptRow, kRowBlocks);
        StoreWeights(round, 0, lines, product);
        Barrier();
      } else {
        StoreWeights(round, 0, lines, p);
      }
      // slope = p * (dp - sum over keys of p dp), the gradient of the scores.
      AscendC::Mul(product, p, slope, all);
      Barrier();
      ReduceRows<false>(rowValues, folded, product, rows, kRowBlocks);
      FillBlocks(folded, rowValues, (rows + 7) / 8 * 8);
      ApplyToRows<RowOperation::kSubtract>(slope, folded, rows, kRowBlocks, kRowBlocks, 1);
      AscendC::Mul(slope, slope, p, all);
      Barrier();
      AddBias(biasSum, slope, lines, true);
      AscendC::Muls(product, slope, t.scale, all);
      Barrier();
      StoreWeights(round, 1, lines, product);
      scoresIn.FreeTensor(p);
      scoresIn.FreeTensor(slope);
    } else {
      if (t.hasDropout) ApplyToRows<RowOperation::kMultiply>(p, kept, rows, kRowBlocks, keptRow, kRowBlocks);
      StoreWeights(round, 0, lines, p);
      scoresIn.FreeTensor(p);
    }
    if (t.hasDropout) dropouts.FreeTensor(kept);
  }

  // Overwrites the columns beyond L, which mean nothing. `count` floats are whole rows of 16.
  __aicore__ inline void Hide(const LocalTensor<float>& values, float by, uint32_t count) {
    if (t.volume == kFractal) return;
    uint64_t row = 0;
    for (uint32_t j = t.volume; j < kFractal; ++j) row |= uint64_t(1) << j;
    uint64_t bits[2] = {row | row << 16 | row << 32 | row << 48, 0};
    const uint32_t whole = count / kRepeatFloats;
    for (uint32_t done = 0; done < whole; done += kMaxRepeat) {
      AscendC::Duplicate(values[done * kRepeatFloats], by, bits, Least(kMaxRepeat, whole - done), 1, 8);
    }
    if (count % kRepeatFloats) {
      bits[0] &= (uint64_t(1) << (count % kRepeatFloats)) - 1;
      AscendC::Duplicate(values[whole * kRepeatFloats], by, bits, 1, 1, 8);
    }
    Barrier();
  }

  // Adds the bias to scores, or scores' gradients to its sums, cuboid by cuboid.
  __aicore__ inline void AddBias(const LocalTensor<float>& ofCuboid, const LocalTensor<float>& ofLines,
                                 const Lines& lines, bool toCuboid) {
    for (uint32_t line = 0; line < lines.count;) {
      const uint32_t query = (lines.begin + line) % t.volume, count = Least(t.volume - query, lines.count - line);
      const LocalTensor<float> one = ofCuboid[query * lineElements], other = ofLines[line * lineElements];
      if (toCuboid) {
        AscendC::Add(one, one, other, count * lineElements);
        Barrier();  // the next cuboid adds to the same sums
      } else {
        AscendC::Add(other, other, one, count * lineElements);
      }
      line += count;
    }
    Barrier();
  }

  __aicore__ inline void Softmax(const LocalTensor<float>& p, const Lines& lines, uint32_t rows, uint32_t all) {
    const uint32_t padded = (rows + 7) / 8 * 8;
    AscendC::Muls(p, p, t.scale, all);
    Barrier();
    AddBias(bias, p, lines, false);
    ReduceRows<true>(rowValues, folded, p, rows, kRowBlocks);
    FillBlocks(folded, rowValues, padded);
    ApplyToRows<RowOperation::kSubtract>(p, folded, rows, kRowBlocks, kRowBlocks, 1);
    AscendC::Exp(p, p, all);
    Barrier();
    ReduceRows<false>(rowValues, folded, p, rows, kRowBlocks);
    AscendC::Div(rowValues, ones, rowValues, rows);
    Barrier();
    FillBlocks(folded, rowValues, padded);
    ApplyToRows<RowOperation::kMultiply>(p, folded, rows, kRowBlocks, kRowBlocks, 1);
  }

  __aicore__ inline void ClearBiasSum() {
    biasSum = biasSums.template AllocTensor<float>();
    AscendC::Duplicate(biasSum, 0.0f, t.volume * lineElements);
    Barrier();
  }

  // partial [slices][heads][L][Lp]
  __aicore__ inline void StoreBiasSum(uint32_t slice) {
    biasSums.EnQue(biasSum);
    biasSum = biasSums.template DeQue<float>();
    const uint32_t between = kRowBlocks * t.heads - t.paddedVolume / kFloats;  // blocks of the other heads
    for (uint32_t h = 0; h < t.heads; ++h) {
      AscendC::DataCopyPad(partialGm[(uint64_t(slice) * t.heads + h) * t.volume * t.paddedVolume], biasSum[h * kFractal],
                           AscendC::DataCopyExtParams(t.volume, t.paddedVolume * sizeof(float), between, 0, 0));
    }
    biasSums.FreeTensor(biasSum);
  }

  CuboidAttentionTiling t;
  TPipe* pipe = nullptr;
  Rounds rounds;
  Exchange<T, kGradient> exchange;
  GlobalTensor<float> tableGm, dropoutGm, partialGm;
  GlobalTensor<int32_t> relativeGm;
  TQue<TPosition::VECIN, 2> scoresIn;
  TQue<TPosition::VECIN, 1> dropouts;
  TQue<TPosition::VECOUT, 1> weightsOut, biasSums;
  TBuf<TPosition::VECCALC> biasBuffer, tableBuffer, foldedBuffer, rowBuffer, productBuffer;
  LocalTensor<float> bias, folded, rowValues, ones, biasSum;
  uint32_t member = 0;
  uint32_t lineElements = 0;  // scores of a query, 16 a head
  uint32_t keptRow = 0;       // blocks of a row of dropout factors
};

}  // namespace cuboid

#endif  // CUBOID_ATTENTION_WEIGHTS_H_
