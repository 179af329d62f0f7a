// Operators of the older interface that move or combine whole tensors.
#include <algorithm>
#include <cmath>

#include "aclop.h"
#include "elementwise.h"

using standin::Call;
using standin::read;
using standin::Tensor;
using standin::write;

namespace {
void copy(const Tensor& to, const Tensor& from) {
  if (standin::whole_type(from.type)) return write(to, read<int64_t>(from));
  write(to, read<double>(from));
}
// A view of `x` that starts at `begin` and has the shape of `like`.
Tensor window(const Tensor& x, const Dims& begin, const Dims& shape) {
  Tensor view = x;
  for (size_t i = 0; i < begin.size(); ++i) view.offset += begin[i] * x.strides[i];
  view.shape = shape;
  return view;
}
}  // namespace

ACLOP(Assign) {
  copy(c.in[0], c.in[1]);
  if (!c.out.empty() && c.out[0].present() && c.out[0].data != c.in[0].data) copy(c.out[0], c.in[1]);
}
ACLOP(Slice) {
  const Dims begin = standin::host_values(c.in[1]);
  copy(c.out[0], window(c.in[0], begin, c.out[0].shape));
}
namespace {
// The view that begin, end, strides and masks choose; axes that shrink are dropped.
Tensor strided(const Call& c, const Tensor& x, const Dims& begin, const Dims& step) {
  const auto mask = [&](const char* name) { return static_cast<int64_t>(c.number(name, 0)); };
  standin::require(mask("ellipsis_mask") == 0 && mask("new_axis_mask") == 0,
                   "ellipsis and new axes are not in the stand-in");
  Tensor view = x;
  view.shape.clear();
  view.strides.clear();
  const Dims& like = c.out[0].shape;
  for (size_t i = 0, o = 0; i < x.shape.size(); ++i) {
    const bool given = i < begin.size(), whole = !given || (mask("begin_mask") >> i & 1);
    const int64_t by = given ? step[i] : 1;
    int64_t start = whole ? (by > 0 ? 0 : x.shape[i] - 1) : begin[i];
    if (start < 0) start += x.shape[i];
    view.offset += start * x.strides[i];
    if (given && (mask("shrink_axis_mask") >> i & 1)) continue;
    view.shape.push_back(o < like.size() ? like[o] : 1);
    view.strides.push_back(x.strides[i] * by);
    ++o;
  }
  return view;
}
}  // namespace

ACLOP(StridedSliceGrad) {  // shape, begin, end, strides, dy
  write(c.out[0], std::vector<double>(c.out[0].elements(), 0.0));
  Call like = c;
  like.out[0] = c.in[4];
  copy(strided(like, c.out[0], standin::host_values(c.in[1]), standin::host_values(c.in[3])),
       c.in[4]);
}
ACLOP(StridedSlice) {  // x, begin, end, strides
  copy(c.out[0],
       strided(c, c.in[0], standin::host_values(c.in[1]), standin::host_values(c.in[3])));
}
ACLOP(AddN) {
  std::vector<double> sum = read<double>(c.in[0]);
  for (size_t i = 1; i < c.in.size(); ++i) {
    const auto more = read<double>(c.in[i]);
    for (size_t k = 0; k < sum.size(); ++k) sum[k] += more[k];
  }
  write(c.out[0], sum);
}
ACLOP(GatherV2) {
  const Dims indices = read<int64_t>(c.in[1]);
  const int64_t axis = c.in[0].axis(c.in.size() > 2 ? standin::host_values(c.in[2])[0] : 0);
  const Tensor& x = c.in[0];
  int64_t outer = 1, inner = 1;
  for (int64_t i = 0; i < axis; ++i) outer *= x.shape[i];
  for (size_t i = axis + 1; i < x.shape.size(); ++i) inner *= x.shape[i];
  const auto values = read<double>(x);
  std::vector<double> out;
  out.reserve(c.out[0].elements());
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t index : indices) {
      standin::require(index >= -x.shape[axis] && index < x.shape[axis],
                       "index " + std::to_string(index) + " is beyond the axis");
      const int64_t at = (o * x.shape[axis] + (index + x.shape[axis]) % x.shape[axis]) * inner;
      out.insert(out.end(), values.begin() + at, values.begin() + at + inner);
    }
  }
  write(c.out[0], out);
}
ACLOP(UnsortedSegmentSum) {
  const Dims segments = read<int64_t>(c.in[1]);
  const auto values = read<double>(c.in[0]);
  const int64_t inner = values.size() / std::max<size_t>(1, segments.size());
  std::vector<double> sums(c.out[0].elements(), 0.0);
  for (size_t s = 0; s < segments.size(); ++s) {
    if (segments[s] < 0) continue;
    for (int64_t k = 0; k < inner; ++k) sums.at(segments[s] * inner + k) += values[s * inner + k];
  }
  write(c.out[0], sums);
}
ACLOP(Split) {  // the axis comes first
  const int64_t axis = c.in[1].axis(standin::host_values(c.in[0])[0]);
  Dims begin(c.in[1].shape.size(), 0);
  for (const Tensor& part : c.out) {
    copy(part, window(c.in[1], begin, part.shape));
    begin[axis] += part.shape[axis];
  }
}

#define ACLOP_BITS(NAME, EXPRESSION)                                             \
  ACLOP(NAME) {                                                                  \
    standin::binary_as<int64_t>(c.out[0], c.in[0], c.in[1],                      \
                                [&](int64_t a, int64_t b) { return EXPRESSION; }); \
  }
ACLOP_BITS(BitwiseXor, a ^ b)
ACLOP_BITS(BitwiseOr, a | b)
ACLOP_BITS(BitwiseAnd, a& b)
ACLOP_BITS(RightShift, (c.in[0].type == kUint64 ? static_cast<int64_t>(static_cast<uint64_t>(a) >> b)
                                                : a >> b))
ACLOP_BITS(LeftShift, static_cast<int64_t>(static_cast<uint64_t>(a) << b))

ACLOP(LayerNorm) {
  const Tensor& x = c.in[0];
  const int64_t axis = x.axis(static_cast<int64_t>(c.number("begin_norm_axis", 0)));
  const double eps = c.number("epsilon", 1e-7);
  int64_t inner = 1;
  for (size_t i = axis; i < x.shape.size(); ++i) inner *= x.shape[i];
  auto values = read<double>(x);
  const auto gamma = read<double>(c.in[1]), beta = read<double>(c.in[2]);
  std::vector<double> means, variances;
  for (size_t at = 0; at < values.size(); at += inner) {
    double mean = 0, variance = 0;
    for (int64_t k = 0; k < inner; ++k) mean += values[at + k];
    mean /= inner;
    for (int64_t k = 0; k < inner; ++k) variance += std::pow(values[at + k] - mean, 2);
    variance /= inner;
    for (int64_t k = 0; k < inner; ++k) {
      values[at + k] = (values[at + k] - mean) / std::sqrt(variance + eps) * gamma[k % gamma.size()] +
                       beta[k % beta.size()];
    }
    means.push_back(mean);
    variances.push_back(variance);
  }
  write(c.out[0], values);
  write(c.out[1], means);
  write(c.out[2], variances);
}
ACLOP(LayerNormGrad) {  // dy, x, variance, mean, gamma
  const auto dy = read<double>(c.in[0]), x = read<double>(c.in[1]), variance = read<double>(c.in[2]),
             mean = read<double>(c.in[3]), gamma = read<double>(c.in[4]);
  const double eps = c.number("epsilon", 1e-7);
  const int64_t rows = mean.size(), inner = x.size() / rows;
  std::vector<double> dx(x.size()), dgamma(gamma.size(), 0.0), dbeta(gamma.size(), 0.0);
  for (int64_t r = 0; r < rows; ++r) {
    const double scale = 1 / std::sqrt(variance[r] + eps);
    double sum = 0, dot = 0;
    for (int64_t k = 0; k < inner; ++k) {
      const int64_t at = r * inner + k;
      const double g = dy[at] * gamma[k % gamma.size()], n = (x[at] - mean[r]) * scale;
      sum += g;
      dot += g * n;
      dgamma[k % gamma.size()] += dy[at] * n;
      dbeta[k % gamma.size()] += dy[at];
    }
    for (int64_t k = 0; k < inner; ++k) {
      const int64_t at = r * inner + k;
      const double n = (x[at] - mean[r]) * scale;
      dx[at] = scale * (dy[at] * gamma[k % gamma.size()] - sum / inner - n * dot / inner);
    }
  }
  write(c.out[0], dx);
  write(c.out[1], dgamma);
  write(c.out[2], dbeta);
}

#define ACLOP_REAL(NAME, EXPRESSION)                                         \
  ACLOP(NAME) {                                                              \
    standin::binary_as<double>(c.out[0], c.in[0], c.in[1],                   \
                               [](double a, double b) { return EXPRESSION; }); \
  }
ACLOP_REAL(RealDiv, a / b)
ACLOP_REAL(Div, a / b)
ACLOP_REAL(Add, a + b)
ACLOP_REAL(Sub, a - b)
ACLOP_REAL(Mul, a* b)
ACLOP_REAL(Maximum, std::fmax(a, b))
ACLOP_REAL(Minimum, std::fmin(a, b))
ACLOP_REAL(Pow, std::pow(a, b))
