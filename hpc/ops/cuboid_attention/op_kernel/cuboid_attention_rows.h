// Vector steps on arrays of score rows [rows, Lp] of float in the unified buffer.
#ifndef CUBOID_ATTENTION_ROWS_H_
#define CUBOID_ATTENTION_ROWS_H_

#include "kernel_operator.h"

namespace cuboid {

using AscendC::LocalTensor;

constexpr uint32_t kFloats = 8;        // of a block
constexpr uint32_t kRepeatFloats = 64; // of a repeat
constexpr uint32_t kBankRowFloats = 128;  // one block of each of the 16 bank groups
constexpr uint32_t kMaxRepeat = 248;   // below the limit of 255, and whole blocks of 8

__aicore__ inline void Barrier() { AscendC::PipeBarrier<PIPE_V>(); }

__aicore__ inline uint32_t Least(uint32_t a, uint32_t b) { return a < b ? a : b; }

// Cuts rows of one block each into instructions of eight rows a repeat.
struct RowSteps {
  __aicore__ inline explicit RowSteps(uint32_t rows) : left(rows) {}

  __aicore__ inline bool Next() {
    row += done;
    left -= done;
    const uint32_t whole = left / 8;
    repeats = whole > 0 ? Least(kMaxRepeat, whole) : 1;
    mask = whole > 0 ? kRepeatFloats : left * kFloats;
    done = whole > 0 ? repeats * 8 : left;
    return left > 0;
  }

  uint32_t row = 0;      // first of the instruction
  uint32_t mask = 0;     // floats of a repeat
  uint32_t repeats = 0;
  uint32_t left;
  uint32_t done = 0;
};

// folded[row][8] = join over the blocks of a row, for rows of `blocks` > 1 blocks.
template <bool kMax>
__aicore__ inline void FoldRows(const LocalTensor<float>& folded, const LocalTensor<float>& values, uint32_t rows,
                                uint32_t blocks) {
  for (uint32_t block = 1; block < blocks; ++block) {
    RowSteps step(rows);
    while (step.Next()) {
      const LocalTensor<float> left = block == 1 ? values[step.row * blocks * kFloats] : folded[step.row * kFloats];
      const uint32_t stride = block == 1 ? blocks : 1;
      const AscendC::BinaryRepeatParams strides(1, stride, blocks, 8, 8 * stride, 8 * blocks);
      const LocalTensor<float> right = values[(step.row * blocks + block) * kFloats];
      if constexpr (kMax) {
        AscendC::Max(folded[step.row * kFloats], left, right, step.mask, step.repeats, strides);
      } else {
        AscendC::Add(folded[step.row * kFloats], left, right, step.mask, step.repeats, strides);
      }
    }
    Barrier();
  }
}

// result[row] = largest (or sum) of a row. `folded` is scratch of 8 floats a row.
template <bool kMax>
__aicore__ inline void ReduceRows(const LocalTensor<float>& result, const LocalTensor<float>& folded,
                                  const LocalTensor<float>& values, uint32_t rows, uint32_t blocks) {
  if (blocks > 1) FoldRows<kMax>(folded, values, rows, blocks);
  RowSteps step(rows);
  while (step.Next()) {
    const LocalTensor<float> from = blocks > 1 ? folded[step.row * kFloats] : values[step.row * kFloats];
    if constexpr (kMax) {
      AscendC::BlockReduceMax<float>(result[step.row], from, step.repeats, step.mask, 1, 1, 8);
    } else {
      AscendC::BlockReduceSum<float>(result[step.row], from, step.repeats, step.mask, 1, 1, 8);
    }
  }
  Barrier();
}

// blocks[e] = a block full of values[e]. `count` is a multiple of 8.
__aicore__ inline void FillBlocks(const LocalTensor<float>& blocks, const LocalTensor<float>& values, uint32_t count) {
  for (uint32_t done = 0; done < count; done += kMaxRepeat * 8) {
    const uint32_t repeats = Least(kMaxRepeat, (count - done) / 8);
    AscendC::Brcb(blocks[done * kFloats], values[done], repeats, AscendC::BrcbRepeatParams(1, 8));
  }
  Barrier();
}

enum class RowOperation { kSubtract, kMultiply };

// values[row] op= other[row], where other has one block a row (stride 1) that serves every block of
// the row, or a block for each of the first `used` blocks of the row (stride = its blocks a row).
template <RowOperation kOperation>
__aicore__ inline void ApplyToRows(const LocalTensor<float>& values, const LocalTensor<float>& other, uint32_t rows,
                                   uint32_t blocks, uint32_t used, uint32_t stride) {
  const AscendC::BinaryRepeatParams strides(blocks, blocks, stride, 8 * blocks, 8 * blocks, 8 * stride);
  for (uint32_t block = 0; block < used; ++block) {
    RowSteps step(rows);
    while (step.Next()) {
      const LocalTensor<float> target = values[(step.row * blocks + block) * kFloats];
      const LocalTensor<float> factor = other[(step.row * stride + (stride > 1 ? block : 0)) * kFloats];
      if constexpr (kOperation == RowOperation::kSubtract) {
        AscendC::Sub(target, target, factor, step.mask, step.repeats, strides);
      } else {
        AscendC::Mul(target, target, factor, step.mask, step.repeats, strides);
      }
    }
  }
  Barrier();
}

}  // namespace cuboid

#endif  // CUBOID_ATTENTION_ROWS_H_
