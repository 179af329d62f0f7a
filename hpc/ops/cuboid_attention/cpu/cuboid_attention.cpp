// Cuboid self-attention on CPU hosts: the same operator as op_kernel/, in portable C++.
//
// Every sequence (one cuboid, one head) is read where the projection left it, attended in the
// first-level cache and written in place; nothing of the size of the grid is ever copied.
// Source: Gao et al. 2022 (Earthformer), cuboid attention; probabilities are computed again in the
// backward pass, because reading q and k is cheaper than storing them.
#include <type_traits>

#include "parallel.h"
#include "tile.h"

namespace cuboid {
namespace {

using Half = _Float16;

template <int W, typename T>
void Forward(const Problem& p, const T* qkv, T* out) {
  const std::vector<float> bias = ExpandBias(p);
  native::ParallelFor(p.batch * p.cuboids, [&](std::int64_t begin, std::int64_t end) {
    Tile tile(p);
    FillVisible(p, 0, &tile);
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t b = task / p.cuboids, n = task % p.cuboids;
      const std::int32_t* tokens = p.tokens + n * p.volume;
      const T* sample = qkv + b * p.grid * 3 * p.channels();
      if (p.mask) FillVisible(p, n, &tile);
      for (int h = 0; h < p.heads; ++h) {
        Probabilities<W>(p, sample, tokens, h, bias.data(), &tile);
        if (p.dropout) {
          SpreadRows(DropoutOf(p, b, n, h), p.volume, p.padded_volume, tile.kept.data());
          for (std::size_t e = 0; e < tile.p.size(); ++e) tile.p[e] *= tile.kept[e];
        }
        Gather(sample + 2 * p.channels() + h * p.width, tokens, 3 * std::int64_t{p.channels()}, p.volume,
               p.width, 1.0f, tile.v.data());
        Product<native::kWidth>(p.volume, p.width, p.volume, Left{tile.p.data(), p.padded_volume, 1},
                                tile.v.data(), p.width, tile.out.data(), p.width);
        Scatter(tile.out.data(), tokens, p.channels(), p.volume, p.width,
                out + b * p.grid * p.channels() + h * p.width);
      }
    }
  });
}

// dp = dP, then dS = P * (dP - sum_j P dP), row by row.
template <int W>
void SoftmaxGradient(const Problem& p, const float* probabilities, float* dp) {
  using V = native::VecOf<W>;
  for (int i = 0; i < p.volume; ++i) {
    const float* prob = probabilities + i * p.padded_volume;
    float* row = dp + i * p.padded_volume;
    V dot{};
    for (int j = 0; j < p.padded_volume; j += W) dot += native::Load<W>(prob + j) * native::Load<W>(row + j);
    const float mean = native::Sum<W>(dot);
    for (int j = 0; j < p.padded_volume; j += W) {
      native::Store(row + j, native::Load<W>(prob + j) * (native::Load<W>(row + j) - mean));
    }
  }
}

// Partial sums of the bias gradient, one a chunk of cuboids. The chunks do not depend on the number of
// threads, so neither does the sum.
constexpr std::int64_t kChunks = 16;

template <int W, typename T>
void Backward(const Problem& p, const T* qkv, const T* dout, T* dqkv, float* dtable) {
  const std::vector<float> bias = ExpandBias(p);
  const std::int64_t tasks = p.batch * p.cuboids;
  const std::int64_t chunks = tasks < kChunks ? tasks : kChunks;
  const std::size_t plane = std::size_t(p.volume) * p.padded_volume;
  std::vector<float> partial(chunks * p.heads * plane, 0.0f);
  native::ParallelFor(chunks, [&](std::int64_t first, std::int64_t last) {
    Tile tile(p);
    std::vector<float> ds(plane), dropped(plane), grad(tile.q.size());
    FillVisible(p, 0, &tile);
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      for (std::int64_t task = tasks * chunk / chunks; task < tasks * (chunk + 1) / chunks; ++task) {
        const std::int64_t b = task / p.cuboids, n = task % p.cuboids;
        const std::int32_t* tokens = p.tokens + n * p.volume;
        const std::int64_t row = 3 * std::int64_t{p.channels()};
        const T* sample = qkv + b * p.grid * row;
        T* dsample = dqkv + b * p.grid * row;
        if (p.mask) FillVisible(p, n, &tile);
        for (int h = 0; h < p.heads; ++h) {
          Probabilities<W>(p, sample, tokens, h, bias.data(), &tile);
          Gather(sample + 2 * p.channels() + h * p.width, tokens, row, p.volume, p.width, 1.0f, tile.v.data());
          Gather(dout + b * p.grid * p.channels() + h * p.width, tokens, p.channels(), p.volume, p.width, 1.0f,
                 tile.out.data());
          Transpose(tile.v.data(), p.volume, p.width, p.padded_volume, tile.columns.data());
          Product<W>(p.volume, p.padded_volume, p.width, Left{tile.out.data(), p.width, 1},
                     tile.columns.data(), p.padded_volume, ds.data(), p.padded_volume);
          const float* used = tile.p.data();
          if (p.dropout) {
            SpreadRows(DropoutOf(p, b, n, h), p.volume, p.padded_volume, tile.kept.data());
            for (std::size_t e = 0; e < plane; ++e) {
              dropped[e] = tile.p[e] * tile.kept[e];
              ds[e] *= tile.kept[e];
            }
            used = dropped.data();
          }
          Product<native::kWidth>(p.volume, p.width, p.volume, Left{used, 1, p.padded_volume},
                                  tile.out.data(), p.width, grad.data(), p.width);
          Scatter(grad.data(), tokens, row, p.volume, p.width, dsample + 2 * p.channels() + h * p.width);
          SoftmaxGradient<W>(p, tile.p.data(), ds.data());
          float* sum = &partial[(chunk * p.heads + h) * plane];
          for (std::size_t e = 0; e < plane; ++e) sum[e] += ds[e];
          Product<native::kWidth>(p.volume, p.width, p.volume, Left{ds.data(), p.padded_volume, 1},
                                  tile.k.data(), p.width, grad.data(), p.width);
          for (float& value : grad) value *= p.scale;
          Scatter(grad.data(), tokens, row, p.volume, p.width, dsample + h * p.width);
          Product<native::kWidth>(p.volume, p.width, p.volume, Left{ds.data(), 1, p.padded_volume},
                                  tile.q.data(), p.width, grad.data(), p.width);
          Scatter(grad.data(), tokens, row, p.volume, p.width, dsample + p.channels() + h * p.width);
        }
      }
    }
  });
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (int h = 0; h < p.heads; ++h) {
      for (int i = 0; i < p.volume; ++i) {
        const float* row = &partial[(chunk * p.heads + h) * plane + std::size_t(i) * p.padded_volume];
        for (int j = 0; j < p.volume; ++j) {
          dtable[std::int64_t{p.relative[i * p.volume + j]} * p.heads + h] += row[j];
        }
      }
    }
  }
}

// Rows of scores are as wide as a register, or 8 lanes where half of a wider one would be empty.
template <typename Call>
void WithScoreWidth(const Problem& p, const Call& call) {
  if (native::kWidth > 8 && p.volume <= 8) {
    call(std::integral_constant<int, 8>{});
  } else {
    call(std::integral_constant<int, native::kWidth>{});
  }
}

template <typename Call>
native::Status WithType(const native::Arguments& a, const Call& call) {
  if (a.Is(0, "float32")) {
    call(float{});
  } else if (a.Is(0, "float16")) {
    call(Half{});
  } else {
    return native::kWrongType;
  }
  return native::kOk;
}

}  // namespace
}  // namespace cuboid

// qkv, table, tokens, relative, mask, dropout, scale -> out [B,T,H,W,heads*D]
NATIVE_OPERATOR(CuboidAttention) {
  using namespace cuboid;
  if (arguments.count != 8) return native::kWrongCount;
  Problem p;
  if (const native::Status status = ReadProblem(arguments, &p)) return status;
  if (!arguments.Is(7, arguments.dtypes[0])) return native::kWrongType;
  return WithType(arguments, [&](auto zero) {
    using T = decltype(zero);
    WithScoreWidth(p, [&](auto width) {
      Forward<decltype(width)::value>(p, arguments.At<const T>(0), arguments.At<T>(7));
    });
  });
}

// qkv, table, tokens, relative, mask, dropout, scale, dout -> dqkv, dtable
NATIVE_OPERATOR(CuboidAttentionGrad) {
  using namespace cuboid;
  if (arguments.count != 10) return native::kWrongCount;
  Problem p;
  if (const native::Status status = ReadProblem(arguments, &p)) return status;
  if (!arguments.Is(7, arguments.dtypes[0]) || !arguments.Is(8, arguments.dtypes[0])) return native::kWrongType;
  std::memset(arguments.At<float>(9), 0, arguments.Size(9) * sizeof(float));
  return WithType(arguments, [&](auto zero) {
    using T = decltype(zero);
    WithScoreWidth(p, [&](auto width) {
      Backward<decltype(width)::value>(p, arguments.At<const T>(0), arguments.At<const T>(7),
                                       arguments.At<T>(8), arguments.At<float>(9));
    });
  });
}
