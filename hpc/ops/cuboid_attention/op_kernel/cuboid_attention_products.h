// The products of attention on the vector unit, in float.
//
// A vector repeat multiplies 64 pairs of elements. Rows dot rows: a query meets 64 elements of every
// key, `BlockReduceSum` leaves 8 sums a pair and then one. Weights times rows: a block full of the
// weight meets 64 elements of a row; the products are added by halves. Multiplying and adding apart
// takes four cycles a repeat where `MulAddDst` takes six (docs/kernels.md).
#ifndef CUBOID_ATTENTION_PRODUCTS_H_
#define CUBOID_ATTENTION_PRODUCTS_H_

#include "cuboid_attention_rows.h"
#include "cuboid_attention_tiling.h"

namespace cuboid {

constexpr uint32_t kMaxLines = 31;  // a line of products is 8 blocks, a stride at most 255

// Elements of a repeat that are used for columns d..d+64 of a head. The products of the others become 0.
__aicore__ inline uint32_t BeginColumns(const CuboidAttentionTiling& t, const LocalTensor<float>& products,
                                        uint32_t d, uint32_t count) {
  const uint32_t used = Least(kRepeatFloats, t.width - d);
  if (used < kRepeatFloats) {
    AscendC::Duplicate(products, 0.0f, count);
    Barrier();
  }
  return used;
}

// scores[h][i][j] = sum_d a[i][h][d] b[j][h][d] for `rows` rows of a and all L of b; float [h, rows, Lp].
// `blockSums` holds a block a pair; its blocks of the padding are 0 and stay so. `other` is as large as
// scores, and used where a head is wider than 64.
__aicore__ inline void RowsDotRows(const CuboidAttentionTiling& t, const LocalTensor<float>& scores,
                                   const LocalTensor<float>& other, const LocalTensor<float>& products,
                                   const LocalTensor<float>& blockSums, const LocalTensor<float>& a,
                                   const LocalTensor<float>& b, uint32_t rows) {
  const uint32_t rowElements = t.headsOfTile * t.width, lines = t.headsOfTile * rows;
  const uint32_t lineElements = t.volume * kRepeatFloats, atOnce = t.productElements / lineElements;
  const AscendC::BinaryRepeatParams strides(1, 1, 1, 8, 0, rowElements / kFloats);
  for (uint32_t d = 0; d < t.width; d += kRepeatFloats) {
    for (uint32_t first = 0; first < lines; first += atOnce) {
      const uint32_t end = Least(lines, first + atOnce);
      const uint32_t used = BeginColumns(t, products, d, (end - first) * lineElements);
      for (uint32_t line = first; line < end; ++line) {
        const uint32_t h = line / rows, i = line % rows;
        AscendC::Mul(products[(line - first) * lineElements], a[i * rowElements + h * t.width + d],
                     b[h * t.width + d], used, t.volume, strides);
      }
      Barrier();
      for (uint32_t line = first; line < end; ++line) {
        AscendC::BlockReduceSum<float>(blockSums[line * t.paddedVolume * kFloats],
                                       products[(line - first) * lineElements], t.volume, kRepeatFloats, 1, 1, 8);
      }
    }
    Barrier();
    const uint32_t repeats = lines * t.paddedVolume / 8;
    const LocalTensor<float> sums = d == 0 ? scores : other;
    for (uint32_t done = 0; done < repeats; done += kMaxRepeat) {
      AscendC::BlockReduceSum<float>(sums[done * 8], blockSums[done * kRepeatFloats],
                                     Least(kMaxRepeat, repeats - done), kRepeatFloats, 1, 1, 8);
    }
    if (d > 0) {
      Barrier();
      AscendC::Add(scores, scores, other, lines * t.paddedVolume);
    }
  }
  Barrier();
}

// What WeightedRows adds up: the block of the weight of term s in sum o of head h is
// h * headStride + o * sumStep + s * termStep.
struct Sums {
  uint32_t sums;
  uint32_t terms;
  uint32_t headStride;
  uint32_t sumStep;
  uint32_t termStep;
};

// out[o][h] = sum_s weight(h, o, s) * rows[s][h], or that added to out. Both are dense
// [.., heads of the tile * width].
__aicore__ inline void WeightedRows(const CuboidAttentionTiling& t, const LocalTensor<float>& out, bool added,
                                    const LocalTensor<float>& products, const LocalTensor<float>& weights,
                                    const LocalTensor<float>& rows, const Sums& sums) {
  const uint32_t rowElements = t.headsOfTile * t.width, rowBlocks = rowElements / kFloats;
  // Lines of products of a term: as many as a stride can step over and the buffer holds.
  const uint32_t most = Least(kMaxLines, ((t.productElements / (sums.terms * kRepeatFloats) + 1) / 2 * 2) - 1);
  const uint32_t atOnce = Least(most / t.headsOfTile, sums.sums);
  for (uint32_t d = 0; d < t.width; d += kRepeatFloats) {
    for (uint32_t first = 0; first < sums.sums; first += atOnce) {
      const uint32_t count = Least(atOnce, sums.sums - first), lines = t.headsOfTile * count;
      const uint32_t term = (lines | 1) * kRepeatFloats;  // an odd number of half bank rows, see below
      const uint32_t used = BeginColumns(t, products, d, sums.terms * term);
      const AscendC::BinaryRepeatParams strides(1, 1, 0, term / kFloats, rowBlocks, sums.termStep);
      for (uint32_t h = 0; h < t.headsOfTile; ++h) {
        for (uint32_t o = 0; o < count; ++o) {
          AscendC::Mul(products[(h * count + o) * kRepeatFloats], rows[h * t.width + d],
                       weights[(h * sums.headStride + (first + o) * sums.sumStep) * kFloats], used, sums.terms,
                       strides);
        }
      }
      Barrier();
      // The upper half is added to the lower one, an odd number of terms away, so that the two are read
      // from different bank groups. The last addition goes to its place.
      uint32_t left = sums.terms;
      while (left > (added ? 1 : 2)) {
        const uint32_t away = left > 3 ? (left + 1) / 2 | 1 : left - 1;
        for (uint32_t s = away; s < left; ++s) {
          AscendC::Add(products[(s - away) * term], products[(s - away) * term], products[s * term], kRepeatFloats,
                       lines, AscendC::BinaryRepeatParams(1, 1, 1, 8, 8, 8));
        }
        Barrier();
        left = away;
      }
      for (uint32_t h = 0; h < t.headsOfTile; ++h) {
        const LocalTensor<float> target = out[first * rowElements + h * t.width + d];
        const LocalTensor<float> sum = products[h * count * kRepeatFloats];
        if (added) {
          AscendC::Add(target, target, sum, used, count,
                       AscendC::BinaryRepeatParams(1, 1, 1, rowBlocks, rowBlocks, 8));
        } else if (left == 2) {
          AscendC::Add(target, sum, products[term + h * count * kRepeatFloats], used, count,
                       AscendC::BinaryRepeatParams(1, 1, 1, rowBlocks, 8, 8));
        } else {
          AscendC::Adds(target, sum, 0.0f, used, count, AscendC::UnaryRepeatParams(1, 1, rowBlocks, 8));
        }
      }
    }
  }
  Barrier();
}

}  // namespace cuboid

#endif  // CUBOID_ATTENTION_PRODUCTS_H_
