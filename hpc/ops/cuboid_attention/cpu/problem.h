// The sizes and operands of one call, read from what MindSpore passes.
//
// Letters: B batch, G grid cells (T*H*W), N cuboids, L tokens of a cuboid, D width of a head.
#ifndef HPC_OPS_CUBOID_ATTENTION_PROBLEM_H_
#define HPC_OPS_CUBOID_ATTENTION_PROBLEM_H_

#include <cstdint>
#include <vector>

#include "aot.h"
#include "vector.h"

namespace cuboid {

constexpr int kLargestVolume = 64;

struct Problem {
  std::int64_t batch, grid, cuboids;
  int volume, heads, width;
  int padded_volume;           // volume rounded up to the vector width of the score rows
  float scale;                 // factor of q
  const std::int32_t* tokens;  // [N, L] cell of the grid that each token is
  const std::int32_t* relative;  // [L, L] row of the bias table
  const float* table;          // [relative positions, heads]
  const float* mask;           // [N, L, L], 1 where the key is visible, or null
  const float* dropout;        // [B, N, heads, L, L], 0 or 1/(1-p), or null

  int channels() const { return heads * width; }
};

// Operands 0..6 are qkv, table, tokens, relative, mask, dropout, scale; an absent mask has rank 1.
inline native::Status ReadProblem(const native::Arguments& a, Problem* p) {
  if (a.ranks[0] != 7 || a.ranks[1] != 2 || a.ranks[2] != 2 || a.ranks[3] != 2) return native::kWrongShape;
  if (!a.Is(1, "float32") || !a.Is(2, "int32") || !a.Is(3, "int32") || !a.Is(4, "float32") ||
      !a.Is(5, "float32") || !a.Is(6, "float32")) {
    return native::kWrongType;
  }
  p->batch = a.Dim(0, 0);
  p->grid = a.Dim(0, 1) * a.Dim(0, 2) * a.Dim(0, 3);
  p->heads = static_cast<int>(a.Dim(0, 5));
  p->width = static_cast<int>(a.Dim(0, 6));
  p->cuboids = a.Dim(2, 0);
  p->volume = static_cast<int>(a.Dim(2, 1));
  const int lanes = p->volume <= 8 && native::kWidth > 8 ? 8 : native::kWidth;
  p->padded_volume = (p->volume + lanes - 1) / lanes * lanes;
  p->scale = *a.At<float>(6);
  p->tokens = a.At<std::int32_t>(2);
  p->relative = a.At<std::int32_t>(3);
  p->table = a.At<float>(1);
  p->mask = a.ranks[4] == 3 ? a.At<float>(4) : nullptr;
  p->dropout = a.ranks[5] == 5 ? a.At<float>(5) : nullptr;
  const std::int64_t square = std::int64_t{p->volume} * p->volume;
  if (a.Dim(0, 4) != 3 || p->width % 16 != 0 || p->volume > kLargestVolume || a.Dim(1, 1) != p->heads ||
      p->cuboids * p->volume != p->grid || a.Size(3) != square) {
    return native::kWrongShape;
  }
  if (p->mask && a.Size(4) != p->cuboids * square) return native::kWrongShape;
  if (p->dropout && a.Size(5) != p->batch * p->cuboids * p->heads * square) return native::kWrongShape;
  return native::kOk;
}

// Bias of every pair, [heads, L, padded L]; the padding is 0.
inline std::vector<float> ExpandBias(const Problem& p) {
  std::vector<float> bias(std::size_t(p.heads) * p.volume * p.padded_volume, 0.0f);
  for (int h = 0; h < p.heads; ++h) {
    for (int i = 0; i < p.volume; ++i) {
      float* row = &bias[(std::size_t(h) * p.volume + i) * p.padded_volume];
      for (int j = 0; j < p.volume; ++j) {
        row[j] = p.table[std::int64_t{p.relative[i * p.volume + j]} * p.heads + h];
      }
    }
  }
  return bias;
}

}  // namespace cuboid

#endif  // HPC_OPS_CUBOID_ATTENTION_PROBLEM_H_
