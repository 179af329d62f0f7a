// Tiling key 2, the cube core: scores from q and k, and products of the weights with rows.
//
// A cuboid's rows lie in L1 as fractals [columns / 16][16 rows][16]: what an instruction loads into L0A
// (rows of the left matrix) and, as it is, into L0B (columns of the right one, that is the transpose);
// transposed on the way, it serves as the right matrix itself. Rows beyond L are never written: the sums
// stop at L, and what such rows give lies in rows and columns that nobody reads.
#ifndef CUBOID_ATTENTION_CUBE_H_
#define CUBOID_ATTENTION_CUBE_H_

#include "cuboid_attention_rounds.h"

namespace cuboid {

using AscendC::HardEvent;
using AscendC::LocalTensor;
using AscendC::TBuf;
using AscendC::TPipe;
using AscendC::TPosition;

constexpr uint32_t kFractalElements = kFractal * kFractal;
constexpr uint32_t kHalves = 2;             // of L0A, L0B and L0C: one is filled while the other is used
constexpr uint32_t kL0HalfBytes = 32 * 1024;
constexpr uint32_t kL0CFractals = 128;      // of float
constexpr uint32_t kLongestStride = 65535;  // elements from a row to the next one in a copy into fractals

template <typename T, bool kGradient>
class CubeSide {
 public:
  __aicore__ inline CubeSide() {}

  __aicore__ inline void Init(const CuboidAttentionTiling& tiling, TPipe* tpipe, GM_ADDR qkv, GM_ADDR dout,
                              GM_ADDR result, GM_ADDR workspace) {
    t = tiling;
    pipe = tpipe;
    rounds = Rounds(t, AscendC::GetBlockIdx(), AscendC::GetBlockNum());
    exchange.Init(t, workspace, AscendC::GetBlockIdx());
    const uint64_t cells = uint64_t(t.batch) * t.grid[0] * t.grid[1] * t.grid[2], part = t.heads * t.width;
    qkvGm.SetGlobalBuffer((__gm__ T*)qkv, cells * 3 * part);
    if constexpr (kGradient) doutGm.SetGlobalBuffer((__gm__ T*)dout, cells * part);
    resultGm.SetGlobalBuffer((__gm__ T*)result, cells * kResults * part);

    partFractals = part / kFractal;
    cuboidFractals = kParts * partFractals + kWeights * t.heads;
    slotElements = t.cuboidsOfRound * cuboidFractals * kFractalElements;
    tpipe->InitBuffer(rowsBuffer, kSlots * slotElements * sizeof(T));
    tpipe->InitBuffer(leftBuffer, kHalves * kL0HalfBytes);
    tpipe->InitBuffer(rightBuffer, kHalves * kL0HalfBytes);
    resultFractals = kResults * partFractals;
    results = kHalves * (t.heads + resultFractals) <= kL0CFractals ? kHalves : 1;
    tpipe->InitBuffer(sumsBuffer, (kHalves * t.heads + results * resultFractals) * kFractalElements * sizeof(float));
    rows = rowsBuffer.template Get<T>();
    left = leftBuffer.template Get<T>();
    right = rightBuffer.template Get<T>();
    sums = sumsBuffer.template Get<float>();
  }

  __aicore__ inline void Process() {
    if (rounds.count == 0) return;
    BeginEvents();
    Load(0);
    for (uint32_t step = 0; step < rounds.count + kLag; ++step) {
      if (step + 1 < rounds.count) Load(step + 1);
      if (step < rounds.count) Scores(step);
      if (step >= kLag) Results(step - kLag);
    }
    EndEvents();
  }

 private:
  static constexpr uint32_t kParts = kGradient ? 4 : 3;    // q, k, v and dout
  static constexpr uint32_t kWeights = kGradient ? 2 : 1;  // probabilities, and the scores' gradient
  static constexpr uint32_t kResults = kGradient ? 3 : 1;  // out, or dq, dk and dv

  // Everything that is taken in turn is free at first: its flag is set, and waited for at the end.
  __aicore__ inline void BeginEvents() {
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      loaded[slot] = pipe->template AllocEventID<HardEvent::MTE2_MTE1>();
      used[slot] = pipe->template AllocEventID<HardEvent::MTE1_MTE2>();
      AscendC::SetFlag<HardEvent::MTE1_MTE2>(used[slot]);
    }
    weightsLoaded = pipe->template AllocEventID<HardEvent::MTE2_MTE1>();
    for (uint32_t side = 0; side < kHalves; ++side) {
      operandsReady[side] = pipe->template AllocEventID<HardEvent::MTE1_M>();
      operandsUsed[side] = pipe->template AllocEventID<HardEvent::M_MTE1>();
      AscendC::SetFlag<HardEvent::M_MTE1>(operandsUsed[side]);
    }
    for (uint32_t sum = 0; sum < 2 * kHalves; ++sum) {
      sumReady[sum] = pipe->template AllocEventID<HardEvent::M_FIX>();
      sumStored[sum] = pipe->template AllocEventID<HardEvent::FIX_M>();
      AscendC::SetFlag<HardEvent::FIX_M>(sumStored[sum]);
    }
  }

  __aicore__ inline void EndEvents() {
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      AscendC::WaitFlag<HardEvent::MTE1_MTE2>(used[slot]);
      pipe->template ReleaseEventID<HardEvent::MTE2_MTE1>(loaded[slot]);
      pipe->template ReleaseEventID<HardEvent::MTE1_MTE2>(used[slot]);
    }
    pipe->template ReleaseEventID<HardEvent::MTE2_MTE1>(weightsLoaded);
    for (uint32_t side = 0; side < kHalves; ++side) {
      AscendC::WaitFlag<HardEvent::M_MTE1>(operandsUsed[side]);
      pipe->template ReleaseEventID<HardEvent::MTE1_M>(operandsReady[side]);
      pipe->template ReleaseEventID<HardEvent::M_MTE1>(operandsUsed[side]);
    }
    for (uint32_t sum = 0; sum < 2 * kHalves; ++sum) {
      AscendC::WaitFlag<HardEvent::FIX_M>(sumStored[sum]);
      pipe->template ReleaseEventID<HardEvent::M_FIX>(sumReady[sum]);
      pipe->template ReleaseEventID<HardEvent::FIX_M>(sumStored[sum]);
    }
  }

  // Where a part of a cuboid lies in L1, and its weights after the parts.
  __aicore__ inline LocalTensor<T> Part(uint32_t round, uint32_t cuboid, uint32_t part) const {
    return rows[round % kSlots * slotElements + (cuboid * cuboidFractals + part * partFractals) * kFractalElements];
  }
  __aicore__ inline LocalTensor<T> Weights(uint32_t round, uint32_t cuboid, uint32_t array) const {
    return Part(round, cuboid, kParts)[array * t.heads * kFractalElements];
  }

  __aicore__ inline void Load(uint32_t round) {
    AscendC::WaitFlag<HardEvent::MTE1_MTE2>(used[round % kSlots]);
    const uint32_t part = t.heads * t.width;
    for (uint32_t c = 0; c < rounds.Cuboids(round); ++c) {
      const Tile tile = TileOf(t, 0, rounds.Begin(round) + c);
      LoadFractals(tile, Part(round, c, 0), qkvGm, 3 * part);
      if constexpr (kGradient) LoadFractals(tile, Part(round, c, 3), doutGm, part);
    }
    AscendC::SetFlag<HardEvent::MTE2_MTE1>(loaded[round % kSlots]);
  }

  // The tokens' rows of `columns` elements, all of what a cell holds: a run of tokens in one copy where
  // its stride allows.
  __aicore__ inline void LoadFractals(const Tile& tile, const LocalTensor<T>& fractals, const GlobalTensor<T>& grid,
                                      uint32_t columns) {
    const uint64_t cells = uint64_t(t.grid[0]) * t.grid[1] * t.grid[2];
    TileRuns run(t, tile);
    while (run.Next()) {
      const uint64_t stride = run.cellStride * columns;
      const uint32_t atOnce = stride <= kLongestStride ? run.tokens : 1;
      for (uint32_t token = 0; token < run.tokens; token += atOnce) {
        const uint64_t from = (tile.sample * cells + run.firstCell) * columns + token * stride;
        AscendC::DataCopy(fractals[(run.firstToken + token) * kFractal], grid[from],
                          AscendC::Nd2NzParams(1, atOnce, columns, 0, atOnce > 1 ? stride : columns, kFractal, 1, 0));
      }
    }
  }

  // sum [heads][m 16, n] = left [m 16, k] right [k, n] for every head. The fractals of a head follow each
  // other; those of `right` are the columns of the right matrix, or are to be transposed.
  template <bool kLeftTransposed, bool kRightTransposed>
  __aicore__ inline void Multiply(const LocalTensor<float>& sum, const LocalTensor<T>& leftRows, uint32_t leftFractals,
                                  const LocalTensor<T>& rightRows, uint32_t rightFractals, uint32_t n, uint32_t k) {
    const uint32_t side = multiplied++ % kHalves;
    const LocalTensor<T> a = left[side * (kL0HalfBytes / sizeof(T))], b = right[side * (kL0HalfBytes / sizeof(T))];
    AscendC::WaitFlag<HardEvent::M_MTE1>(operandsUsed[side]);
    AscendC::LoadData(a, leftRows, AscendC::LoadData2DParams(0, t.heads * leftFractals, 1, 0, 0, kLeftTransposed, 0));
    AscendC::LoadData(b, rightRows,
                      AscendC::LoadData2DParams(0, t.heads * rightFractals, 1, 0, 0, kRightTransposed, 0));
    AscendC::SetFlag<HardEvent::MTE1_M>(operandsReady[side]);
    AscendC::WaitFlag<HardEvent::MTE1_M>(operandsReady[side]);
    AscendC::MmadParams size;
    size.m = kFractal;
    size.n = n;
    size.k = k;
    size.cmatrixInitVal = true;
    for (uint32_t h = 0; h < t.heads; ++h) {
      AscendC::Mmad(sum[h * (n / kFractal) * kFractalElements], a[h * leftFractals * kFractalElements],
                    b[h * rightFractals * kFractalElements], size);
    }
    AscendC::SetFlag<HardEvent::M_MTE1>(operandsUsed[side]);
  }

  __aicore__ inline void Scores(uint32_t round) {
    AscendC::WaitFlag<HardEvent::MTE2_MTE1>(loaded[round % kSlots]);
    for (uint32_t c = 0; c < rounds.Cuboids(round); ++c) {
      for (uint32_t array = 0; array < kWeights; ++array) {  // q k, and dout v
        const uint32_t side = scored++ % kHalves, fractals = t.width / kFractal;
        const LocalTensor<float> sum = sums[side * t.heads * kFractalElements];
        AscendC::WaitFlag<HardEvent::FIX_M>(sumStored[side]);
        Multiply<false, false>(sum, Part(round, c, array == 0 ? 0 : 3), fractals, Part(round, c, array == 0 ? 1 : 2),
                               fractals, kFractal, t.width);
        AscendC::SetFlag<HardEvent::M_FIX>(sumReady[side]);
        AscendC::WaitFlag<HardEvent::M_FIX>(sumReady[side]);
        AscendC::FixpipeParamsV220 out;
        out.nSize = t.heads * kFractal;
        out.mSize = t.volume;
        out.srcStride = kFractal;
        out.dstStride = t.heads * kFractal;
        const uint64_t to = exchange.At(round, array) + uint64_t(c) * t.volume * t.heads * kFractal;
        AscendC::Fixpipe<float, float, AscendC::CFG_ROW_MAJOR>(exchange.scores[to], sum, out);
        AscendC::SetFlag<HardEvent::FIX_M>(sumStored[side]);
      }
    }
    AscendC::CrossCoreSetFlag<2, PIPE_FIX>(kScoresReady);
  }

  __aicore__ inline void Results(uint32_t round) {
    AscendC::CrossCoreWaitFlag(kWeightsReady);
    const uint32_t columns = t.heads * kFractal, fractals = t.width / kFractal;
    for (uint32_t c = 0; c < rounds.Cuboids(round); ++c) {
      for (uint32_t array = 0; array < kWeights; ++array) {
        AscendC::DataCopy(Weights(round, c, array),
                          exchange.weights[exchange.At(round, array) + uint64_t(c) * t.volume * columns],
                          AscendC::Nd2NzParams(1, t.volume, columns, 0, columns, kFractal, 1, 0));
      }
    }
    AscendC::SetFlag<HardEvent::MTE2_MTE1>(weightsLoaded);
    AscendC::WaitFlag<HardEvent::MTE2_MTE1>(weightsLoaded);
    for (uint32_t c = 0; c < rounds.Cuboids(round); ++c) {
      const uint32_t turn = resulted++ % results, event = kHalves + turn;
      const LocalTensor<float> sum = sums[(kHalves * t.heads + turn * resultFractals) * kFractalElements];
      const LocalTensor<T> weights = Weights(round, c, 0);
      AscendC::WaitFlag<HardEvent::FIX_M>(sumStored[event]);
      if constexpr (kGradient) {
        const LocalTensor<T> slopes = Weights(round, c, 1);
        const LocalTensor<float> dk = sum[partFractals * kFractalElements], dv = dk[partFractals * kFractalElements];
        Multiply<false, true>(sum, slopes, 1, Part(round, c, 1), fractals, t.width, t.volume);  // dq
        Multiply<true, true>(dk, slopes, 1, Part(round, c, 0), fractals, t.width, t.volume);
        Multiply<true, true>(dv, weights, 1, Part(round, c, 3), fractals, t.width, t.volume);
      } else {
        Multiply<false, true>(sum, weights, 1, Part(round, c, 2), fractals, t.width, t.volume);
      }
      AscendC::SetFlag<HardEvent::M_FIX>(sumReady[event]);
      AscendC::WaitFlag<HardEvent::M_FIX>(sumReady[event]);
      Store(TileOf(t, 0, rounds.Begin(round) + c), sum);
      AscendC::SetFlag<HardEvent::FIX_M>(sumStored[event]);
    }
    AscendC::SetFlag<HardEvent::MTE1_MTE2>(used[round % kSlots]);
  }

  __aicore__ inline void Store(const Tile& tile, const LocalTensor<float>& sum) {
    const uint64_t cells = uint64_t(t.grid[0]) * t.grid[1] * t.grid[2];
    const uint32_t columns = kResults * t.heads * t.width;
    TileRuns run(t, tile);
    while (run.Next()) {
      AscendC::FixpipeParamsV220 out;
      out.nSize = columns;
      out.mSize = run.tokens;
      out.srcStride = kFractal;
      out.dstStride = run.cellStride * columns;
      out.quantPre = AscendC::IsSameType<T, half>::value ? QuantMode_t::F322F16 : QuantMode_t::F322BF16;
      AscendC::Fixpipe<T, float, AscendC::CFG_ROW_MAJOR>(
          resultGm[(tile.sample * cells + run.firstCell) * columns], sum[run.firstToken * kFractal], out);
    }
  }

  CuboidAttentionTiling t;
  TPipe* pipe = nullptr;
  Rounds rounds;
  Exchange<T, kGradient> exchange;
  GlobalTensor<T> qkvGm, doutGm, resultGm;
  TBuf<TPosition::A1> rowsBuffer;
  TBuf<TPosition::A2> leftBuffer;
  TBuf<TPosition::B2> rightBuffer;
  TBuf<TPosition::CO1> sumsBuffer;
  LocalTensor<T> rows, left, right;
  LocalTensor<float> sums;
  uint32_t partFractals = 0;    // of one of q, k, v, dout of a cuboid
  uint32_t cuboidFractals = 0;  // of all of them and the weights
  uint32_t slotElements = 0;
  uint32_t resultFractals = 0;
  uint32_t results = 0;  // that L0C holds at a time
  uint32_t multiplied = 0, scored = 0, resulted = 0;
  AscendC::TEventID loaded[kSlots], used[kSlots], weightsLoaded = 0;
  AscendC::TEventID operandsReady[kHalves], operandsUsed[kHalves], sumReady[2 * kHalves], sumStored[2 * kHalves];
};

}  // namespace cuboid

#endif  // CUBOID_ATTENTION_CUBE_H_
