// Sums over rows that do not depend on the number of threads: fixed chunks, added in order.
#ifndef HPC_OPS_NATIVE_ROW_PARTIALS_H_
#define HPC_OPS_NATIVE_ROW_PARTIALS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "parallel.h"

namespace native {

constexpr std::int64_t kRowChunks = 32;

// body(begin, end, sums) adds rows [begin, end) to sums[width]; the total is written to out.
template <typename Body>
void SumOverRows(std::int64_t rows, std::int64_t width, float* out, const Body& body) {
  const std::int64_t chunks = std::min(rows, kRowChunks);
  std::vector<float> partial(chunks * width, 0.0f);
  ParallelFor(chunks, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t c = first; c < last; ++c) {
      body(rows * c / chunks, rows * (c + 1) / chunks, &partial[c * width]);
    }
  });
  std::fill(out, out + width, 0.0f);
  for (std::int64_t c = 0; c < chunks; ++c) {
    for (std::int64_t i = 0; i < width; ++i) out[i] += partial[c * width + i];
  }
}

}  // namespace native

#endif  // HPC_OPS_NATIVE_ROW_PARTIALS_H_
