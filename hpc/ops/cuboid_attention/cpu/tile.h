// One sequence (a cuboid seen by one head) in contiguous float arrays, and the steps on it.
#ifndef HPC_OPS_CUBOID_ATTENTION_TILE_H_
#define HPC_OPS_CUBOID_ATTENTION_TILE_H_

#include <cstring>
#include <vector>

#include "problem.h"
#include "small_product.h"

namespace cuboid {

// Reads the L rows of one of q, k, v (or of a gradient) and multiplies them by factor.
template <typename T>
inline void Gather(const T* grid, const std::int32_t* tokens, std::int64_t row_stride, int volume, int width,
                   float factor, float* rows) {
  for (int i = 0; i < volume; ++i) {
    const T* source = grid + tokens[i] * row_stride;
    for (int d = 0; d < width; ++d) rows[i * width + d] = factor * static_cast<float>(source[d]);
  }
}

template <typename T>
inline void Scatter(const float* rows, const std::int32_t* tokens, std::int64_t row_stride, int volume,
                    int width, T* grid) {
  for (int i = 0; i < volume; ++i) {
    T* target = grid + tokens[i] * row_stride;
    for (int d = 0; d < width; ++d) target[d] = static_cast<T>(rows[i * width + d]);
  }
}

// rows [L, D] -> columns [D, padded L]; the padding must have been set to zero once.
inline void Transpose(const float* rows, int volume, int width, int padded, float* columns) {
  for (int d0 = 0; d0 < width; d0 += 16) {
    for (int j = 0; j < volume; ++j) {
      for (int d = 0; d < 16; ++d) columns[(d0 + d) * padded + j] = rows[j * width + d0 + d];
    }
  }
}

// Everything that a thread needs for one sequence; sized once, reused for all of its sequences.
struct Tile {
  explicit Tile(const Problem& p)
      : q(p.volume * p.width), k(q.size()), v(q.size()), out(q.size()),
        columns(p.width * p.padded_volume, 0.0f), p(p.volume * p.padded_volume),
        visible(p.volume * p.padded_volume, 0.0f), kept(p.volume * p.padded_volume, 0.0f) {}

  std::vector<float> q, k, v, out;  // [L, D]
  std::vector<float> columns;       // [D, padded L]
  std::vector<float> p;             // [L, padded L] scores, then probabilities
  std::vector<float> visible;       // [L, padded L] 1 or 0; 0 in the padding
  std::vector<float> kept;          // [L, padded L] dropout factors
};

inline void SpreadRows(const float* square, int volume, int padded, float* rows) {
  for (int i = 0; i < volume; ++i) std::memcpy(rows + i * padded, square + i * volume, volume * sizeof(float));
}

inline void FillVisible(const Problem& p, std::int64_t n, Tile* tile) {
  if (p.mask) {
    SpreadRows(p.mask + n * p.volume * p.volume, p.volume, p.padded_volume, tile->visible.data());
    return;
  }
  for (int i = 0; i < p.volume; ++i) {
    for (int j = 0; j < p.volume; ++j) tile->visible[i * p.padded_volume + j] = 1.0f;
  }
}

// Scores + bias -> probabilities, row by row. A row that sees nothing becomes 0.
template <int W>
inline void Softmax(const Problem& p, const float* bias, Tile* tile) {
  using V = native::VecOf<W>;
  for (int i = 0; i < p.volume; ++i) {
    float* row = tile->p.data() + i * p.padded_volume;
    const float* seen = tile->visible.data() + i * p.padded_volume;
    V top = native::Broadcast<W>(-1e30f);
    for (int j = 0; j < p.padded_volume; j += W) {
      const V see = native::Load<W>(seen + j);
      const V score = native::Load<W>(row + j) + native::Load<W>(bias + i * p.padded_volume + j);
      const V masked = score * see + (see - 1.0f) * 1e30f;
      native::Store(row + j, masked);
      top = native::Max<W>(top, masked);
    }
    const float largest = native::Largest<W>(top);
    V sum{};
    for (int j = 0; j < p.padded_volume; j += W) {
      const V e = native::Exp<W>(native::Load<W>(row + j) - largest) * native::Load<W>(seen + j);
      native::Store(row + j, e);
      sum += e;
    }
    const float total = native::Sum<W>(sum);
    const float factor = total > 0.0f ? 1.0f / total : 0.0f;
    for (int j = 0; j < p.padded_volume; j += W) native::Store(row + j, native::Load<W>(row + j) * factor);
  }
}

// q, k of one sequence -> probabilities before dropout, in tile->p.
template <int W, typename T>
inline void Probabilities(const Problem& p, const T* qkv, const std::int32_t* tokens, int h,
                          const float* bias, Tile* tile) {
  const std::int64_t row = 3 * std::int64_t{p.channels()};
  Gather(qkv + h * p.width, tokens, row, p.volume, p.width, p.scale, tile->q.data());
  Gather(qkv + p.channels() + h * p.width, tokens, row, p.volume, p.width, 1.0f, tile->k.data());
  Transpose(tile->k.data(), p.volume, p.width, p.padded_volume, tile->columns.data());
  Product<W>(p.volume, p.padded_volume, p.width, Left{tile->q.data(), p.width, 1}, tile->columns.data(),
             p.padded_volume, tile->p.data(), p.padded_volume);
  Softmax<W>(p, bias + std::size_t(h) * p.volume * p.padded_volume, tile);
}

inline const float* DropoutOf(const Problem& p, std::int64_t b, std::int64_t n, int h) {
  return p.dropout + ((b * p.cuboids + n) * p.heads + h) * p.volume * p.volume;
}

}  // namespace cuboid

#endif  // HPC_OPS_CUBOID_ATTENTION_TILE_H_
