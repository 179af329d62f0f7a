// The exact Gaussian error linear unit of x + bias, forward and backward. Rows [N, C].
// Source: Hendrycks and Gimpel 2016: 0.5 u (1 + erf(u / sqrt 2)) with u = x + bias.

#include "aot.h"
#include "row_partials.h"
#include "vector.h"

namespace {

using namespace native;

constexpr float kInverseRoot2 = 0.70710678f;
constexpr float kInverseRoot2Pi = 0.39894228f;

inline Vec Gelu(Vec u) { return 0.5f * u * (1.0f + Erf(u * kInverseRoot2)); }

inline Vec GeluSlope(Vec u) {
  return 0.5f * (1.0f + Erf(u * kInverseRoot2)) + u * kInverseRoot2Pi * Exp(-0.5f * u * u);
}

// Calls body(offset, lanes) over a row; the last call may have fewer lanes than a vector.
template <typename Body>
void OverRow(std::int64_t width, const Body& body) {
  for (std::int64_t c = 0; c < width; c += kWidth) {
    body(c, static_cast<int>(std::min<std::int64_t>(kWidth, width - c)));
  }
}

inline Vec LoadSome(const float* address, int lanes) {
  if (lanes == kWidth) return Load(address);
  float part[kWidth] = {};
  std::copy(address, address + lanes, part);
  return Load(part);
}

inline void StoreSome(float* address, Vec value, int lanes) {
  if (lanes == kWidth) {
    Store(address, value);
    return;
  }
  float part[kWidth];
  Store(part, value);
  std::copy(part, part + lanes, address);
}

}  // namespace

// x [N..., C], bias [C] -> y
NATIVE_OPERATOR(BiasGelu) {
  if (arguments.count != 3) return kWrongCount;
  const float* x = arguments.At<float>(0);
  const float* bias = arguments.At<float>(1);
  float* y = arguments.At<float>(2);
  const std::int64_t width = arguments.Dim(0, -1), rows = arguments.Size(0) / width;
  ParallelFor(rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      OverRow(width, [&](std::int64_t c, int lanes) {
        StoreSome(y + r * width + c, Gelu(LoadSome(x + r * width + c, lanes) + LoadSome(bias + c, lanes)), lanes);
      });
    }
  });
  return kOk;
}

// x, bias, dy -> dx, dbias
NATIVE_OPERATOR(BiasGeluGrad) {
  if (arguments.count != 5) return kWrongCount;
  const float* x = arguments.At<float>(0);
  const float* bias = arguments.At<float>(1);
  const float* dy = arguments.At<float>(2);
  float* dx = arguments.At<float>(3);
  const std::int64_t width = arguments.Dim(0, -1), rows = arguments.Size(0) / width;
  SumOverRows(rows, width, arguments.At<float>(4), [&](std::int64_t begin, std::int64_t end, float* partial) {
    for (std::int64_t r = begin; r < end; ++r) {
      OverRow(width, [&](std::int64_t c, int lanes) {
        const std::int64_t at = r * width + c;
        const Vec u = LoadSome(x + at, lanes) + LoadSome(bias + c, lanes);
        const Vec grad = LoadSome(dy + at, lanes) * GeluSlope(u);
        StoreSome(dx + at, grad, lanes);
        StoreSome(partial + c, LoadSome(partial + c, lanes) + grad, lanes);
      });
    }
  });
  return kOk;
}
