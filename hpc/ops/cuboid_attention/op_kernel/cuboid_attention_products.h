// The products of attention on the vector unit.
//
// A vector repeat multiplies 64 pairs of elements. Rows dot rows: one block of a query (a block is 8
// floats or 16 halves) meets the same block of several keys, the running sums keep one block a pair,
// and the sum within the block is taken once at the end. Weights times rows: the weight fills a block
// and meets a row of up to 64 elements. Sums are float; half operands go to float sums without a cast.
#ifndef CUBOID_ATTENTION_PRODUCTS_H_
#define CUBOID_ATTENTION_PRODUCTS_H_

#include "cuboid_attention_rows.h"
#include "cuboid_attention_tiling.h"

namespace cuboid {

template <typename T>
struct Packing {
  static constexpr uint32_t kPerBlock = 32 / sizeof(T);       // elements of T in a block
  static constexpr uint32_t kKeys = kRepeatFloats / kPerBlock;  // keys of a repeat
  static constexpr uint32_t kSumBlocks = kPerBlock / kFloats;   // float blocks of a pair's sums
};

// scores[h][i][j] = sum_d a[i][h][d] b[j][h][d] for `rows` rows of a and all L of b; float [h, rows, Lp].
// The padding of a row of scores becomes 0. `sums` holds kPerBlock floats a pair, `halves` two.
template <typename T>
__aicore__ inline void RowsDotRows(const CuboidAttentionTiling& t, const LocalTensor<float>& scores,
                                   const LocalTensor<float>& sums, const LocalTensor<float>& halves,
                                   const LocalTensor<T>& a, const LocalTensor<T>& b, uint32_t rows) {
  using P = Packing<T>;
  const uint32_t rowElements = t.rowBlocks * P::kPerBlock;
  const uint32_t pairs = t.headsOfTile * rows * t.paddedVolume;
  AscendC::Duplicate(sums, 0.0f, pairs * P::kPerBlock);
  Barrier();
  const AscendC::BinaryRepeatParams strides(1, 0, t.rowBlocks, t.paddedVolume * P::kSumBlocks, t.rowBlocks, 0);
  for (uint32_t d = 0; d < t.width; d += P::kPerBlock) {
    for (uint32_t h = 0; h < t.headsOfTile; ++h) {
      for (uint32_t j = 0; j < t.volume; j += P::kKeys) {
        const uint32_t keys = Least(P::kKeys, t.volume - j);
        AscendC::MulAddDst<float, T>(sums[(h * rows * t.paddedVolume + j) * P::kPerBlock], a[h * t.width + d],
                                     b[j * rowElements + h * t.width + d], keys * P::kPerBlock, rows, strides);
      }
    }
    Barrier();
  }
  // Sum each block; a pair of halves leaves two blocks, whose sums are then added.
  const LocalTensor<float> blockSums = P::kSumBlocks == 1 ? scores : halves;
  const uint32_t repeats = pairs * P::kSumBlocks / 8;
  for (uint32_t done = 0; done < repeats; done += kMaxRepeat) {
    AscendC::BlockReduceSum<float>(blockSums[done * 8], sums[done * kRepeatFloats], Least(kMaxRepeat, repeats - done),
                                   64, 1, 1, 8);
  }
  Barrier();
  if constexpr (P::kSumBlocks == 2) {
    const uint32_t whole = 2 * pairs / kRepeatFloats;
    for (uint32_t done = 0; done < whole; done += kMaxRepeat) {
      AscendC::PairReduceSum<float>(scores[done * 32], halves[done * kRepeatFloats], Least(kMaxRepeat, whole - done),
                                    64, 1, 1, 8);
    }
    if (2 * pairs % kRepeatFloats) {
      AscendC::PairReduceSum<float>(scores[whole * 32], halves[whole * kRepeatFloats], 1, 2 * pairs % kRepeatFloats, 1,
                                    1, 8);
    }
    Barrier();
  }
}

// Adds to out[first + r][h] for r < repeats the products weight * row, in pieces of 64 elements:
// the weight of repeat r is the block weights[h * headStride + start + r * step], the row is the same.
// `out` is dense [L, heads of the tile * width] float.
template <typename T>
__aicore__ inline void AddWeightedRow(const CuboidAttentionTiling& t, const LocalTensor<float>& out,
                                      const LocalTensor<T>& weights, uint32_t headStride, uint32_t start,
                                      uint32_t step, const LocalTensor<T>& row, uint32_t repeats) {
  constexpr uint32_t kPerBlock = Packing<T>::kPerBlock;
  const AscendC::BinaryRepeatParams strides(1, 0, 1, t.headsOfTile * t.width / kFloats, step, 0);
  for (uint32_t h = 0; h < t.headsOfTile; ++h) {
    for (uint32_t d = 0; d < t.width; d += kRepeatFloats) {
      AscendC::MulAddDst<float, T>(out[h * t.width + d], weights[(h * headStride + start) * kPerBlock],
                                   row[h * t.width + d], Least(kRepeatFloats, t.width - d), repeats, strides);
    }
  }
}

// blocks[e] = a block full of values[e], as elements of T. `narrow` is scratch for the narrowed values.
template <typename T>
__aicore__ inline void FillWeights(const LocalTensor<T>& blocks, const LocalTensor<T>& narrow,
                                   const LocalTensor<float>& values, uint32_t count) {
  if constexpr (sizeof(T) == sizeof(float)) {
    FillBlocks<T>(blocks, values, count);
  } else {
    AscendC::Cast(narrow, values, AscendC::RoundMode::CAST_RINT, count);
    Barrier();
    FillBlocks<T>(blocks, narrow, count);
  }
}

}  // namespace cuboid

#endif  // CUBOID_ATTENTION_PRODUCTS_H_
