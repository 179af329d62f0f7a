// aclnn convolutions, norms and resizing.
#include <cmath>

#include "convolution.h"
#include "operators.h"

using standin::Convolution;
using standin::read;
using standin::Tensor;
using standin::Tensors;
using standin::write;
using X = const aclTensor*;
using Ints = const aclIntArray*;

namespace {
std::vector<double> channel_sums(const Tensor& y) {
  const auto v = read<double>(y);
  const int64_t channels = y.shape[1], inner = y.elements() / (y.shape[0] * channels);
  std::vector<double> sums(channels, 0.0);
  for (size_t i = 0; i < v.size(); ++i) sums[i / inner % channels] += v[i];
  return sums;
}
}  // namespace

ACLNN(Convolution, X x, X w, X bias, Ints stride, Ints pad, Ints dilation, bool transposed, Ints,
      int64_t groups, X y, int8_t) {
  const Dims s = stride->values, p = pad->values, d = dilation->values;
  return OP.in(x).in(w).in(bias).out(y).run([=](Tensors& t) {
    standin::require(!transposed, "transposed convolution is not in the stand-in");
    standin::require(t[0].type == t[1].type, "input and weight have different types");
    Convolution c(t[0].shape, t[1].shape, t[3].shape, s, p, d, groups);
    auto out = c.forward(read<float>(t[0]), read<float>(t[1]));
    if (t[2].present()) {
      const auto b = read<float>(t[2]);
      const int64_t inner = out.size() / (t[3].shape[0] * t[3].shape[1]);
      for (size_t i = 0; i < out.size(); ++i) out[i] += b[i / inner % b.size()];
    }
    write(t[3], out);
  });
}
ACLNN(ConvolutionBackward, X dy, X x, X w, Ints, Ints stride, Ints pad, Ints dilation,
      bool transposed, Ints, int groups, const aclBoolArray* wanted, int8_t, X dx, X dw, X db) {
  const Dims s = stride->values, p = pad->values, d = dilation->values;
  const std::vector<char> mask = wanted->values;
  return OP.in(dy).in(x).in(w).out(mask[0] ? dx : nullptr).out(mask[1] ? dw : nullptr)
      .out(mask[2] ? db : nullptr)
      .run([=](Tensors& t) {
        standin::require(!transposed, "transposed convolution is not in the stand-in");
        Convolution c(t[1].shape, t[2].shape, t[0].shape, s, p, d, groups);
        const auto g = read<float>(t[0]);
        if (t[3].present()) write(t[3], c.input_gradient(g, read<float>(t[2])));
        if (t[4].present()) write(t[4], c.weight_gradient(read<float>(t[1]), g));
        if (t[5].present()) write(t[5], channel_sums(t[0]));
      });
}

ACLNN(LayerNorm, X x, Ints normal, X gamma, X beta, double eps, X y, X mean, X rstd) {
  const int64_t inner = standin::count(normal->values);
  return OP.in(x).in(gamma).in(beta).out(y).out(mean).out(rstd).run([=](Tensors& t) {
    auto v = read<double>(t[0]);
    const auto g = t[1].present() ? read<double>(t[1]) : std::vector<double>(inner, 1);
    const auto b = t[2].present() ? read<double>(t[2]) : std::vector<double>(inner, 0);
    std::vector<double> means, scales;
    for (size_t at = 0; at < v.size(); at += inner) {
      double m = 0, s = 0;
      for (int64_t k = 0; k < inner; ++k) m += v[at + k];
      m /= inner;
      for (int64_t k = 0; k < inner; ++k) s += (v[at + k] - m) * (v[at + k] - m);
      const double scale = 1 / std::sqrt(s / inner + eps);
      for (int64_t k = 0; k < inner; ++k) v[at + k] = (v[at + k] - m) * scale * g[k] + b[k];
      means.push_back(m);
      scales.push_back(scale);
    }
    write(t[3], v);
    if (t[4].present()) write(t[4], means);
    if (t[5].present()) write(t[5], scales);
  });
}
ACLNN(LayerNormBackward, X dy, X x, Ints normal, X mean, X rstd, X gamma, X beta,
      const aclBoolArray*, X dx, X dgamma, X dbeta) {
  const int64_t inner = standin::count(normal->values);
  return OP.in(dy).in(x).in(mean).in(rstd).in(gamma).out(dx).out(dgamma).out(dbeta).run(
      [=](Tensors& t) {
        const auto g = read<double>(t[0]), v = read<double>(t[1]), m = read<double>(t[2]),
                   s = read<double>(t[3]);
        const auto w = t[4].present() ? read<double>(t[4]) : std::vector<double>(inner, 1);
        std::vector<double> out(v.size()), dw(inner, 0.0), db(inner, 0.0);
        for (size_t r = 0; r < m.size(); ++r) {
          double sum = 0, dot = 0;
          for (int64_t k = 0; k < inner; ++k) {
            const size_t at = r * inner + k;
            const double n = (v[at] - m[r]) * s[r];
            sum += g[at] * w[k];
            dot += g[at] * w[k] * n;
            dw[k] += g[at] * n;
            db[k] += g[at];
          }
          for (int64_t k = 0; k < inner; ++k) {
            const size_t at = r * inner + k;
            out[at] = s[r] * (g[at] * w[k] - sum / inner - (v[at] - m[r]) * s[r] * dot / inner);
          }
        }
        if (t[5].present()) write(t[5], out);
        if (t[6].present()) write(t[6], dw);
        if (t[7].present()) write(t[7], db);
      });
}
ACLNN(GroupNorm, X x, X gamma, X beta, int64_t n, int64_t c, int64_t hw, int64_t groups, double eps,
      X y, X mean, X rstd) {
  return OP.in(x).in(gamma).in(beta).out(y).out(mean).out(rstd).run([=](Tensors& t) {
    auto v = read<double>(t[0]);
    const auto g = t[1].present() ? read<double>(t[1]) : std::vector<double>(c, 1);
    const auto b = t[2].present() ? read<double>(t[2]) : std::vector<double>(c, 0);
    const int64_t inner = c / groups * hw;
    std::vector<double> means, scales;
    for (int64_t r = 0; r < n * groups; ++r) {
      double m = 0, s = 0;
      for (int64_t k = 0; k < inner; ++k) m += v[r * inner + k];
      m /= inner;
      for (int64_t k = 0; k < inner; ++k) s += std::pow(v[r * inner + k] - m, 2);
      const double scale = 1 / std::sqrt(s / inner + eps);
      for (int64_t k = 0; k < inner; ++k) {
        const int64_t at = r * inner + k, channel = at / hw % c;
        v[at] = (v[at] - m) * scale * g[channel] + b[channel];
      }
      means.push_back(m);
      scales.push_back(scale);
    }
    write(t[3], v);
    if (t[4].present()) write(t[4], means);
    if (t[5].present()) write(t[5], scales);
  });
}
ACLNN(GroupNormBackward, X dy, X x, X mean, X rstd, X gamma, int64_t n, int64_t c, int64_t hw,
      int64_t groups, const aclBoolArray*, X dx, X dgamma, X dbeta) {
  return OP.in(dy).in(x).in(mean).in(rstd).in(gamma).out(dx).out(dgamma).out(dbeta).run(
      [=](Tensors& t) {
        const auto g = read<double>(t[0]), v = read<double>(t[1]), m = read<double>(t[2]),
                   s = read<double>(t[3]);
        const auto w = t[4].present() ? read<double>(t[4]) : std::vector<double>(c, 1);
        const int64_t inner = c / groups * hw;
        std::vector<double> out(v.size()), dw(c, 0.0), db(c, 0.0);
        for (int64_t r = 0; r < n * groups; ++r) {
          double sum = 0, dot = 0;
          for (int64_t k = 0; k < inner; ++k) {
            const int64_t at = r * inner + k, channel = at / hw % c;
            const double norm = (v[at] - m[r]) * s[r];
            sum += g[at] * w[channel];
            dot += g[at] * w[channel] * norm;
            dw[channel] += g[at] * norm;
            db[channel] += g[at];
          }
          for (int64_t k = 0; k < inner; ++k) {
            const int64_t at = r * inner + k, channel = at / hw % c;
            out[at] = s[r] * (g[at] * w[channel] - sum / inner -
                              (v[at] - m[r]) * s[r] * dot / inner);
          }
        }
        if (t[5].present()) write(t[5], out);
        if (t[6].present()) write(t[6], dw);
        if (t[7].present()) write(t[7], db);
      });
}
ACLNN(UpsampleNearest2d, X x, Ints, X y) {
  return OP.in(x).out(y).run([](Tensors& t) {
    const Dims &a = t[0].shape, &b = t[1].shape;
    const auto v = read<double>(t[0]);
    std::vector<double> out;
    for (int64_t n = 0; n < b[0] * b[1]; ++n) {
      for (int64_t h = 0; h < b[2]; ++h) {
        for (int64_t w = 0; w < b[3]; ++w) {
          out.push_back(v[(n * a[2] + h * a[2] / b[2]) * a[3] + w * a[3] / b[3]]);
        }
      }
    }
    write(t[1], out);
  });
}
ACLNN(UpsampleNearest2dBackward, X dy, Ints, Ints, double, double, X dx) {
  return OP.in(dy).out(dx).run([](Tensors& t) {
    const Dims &b = t[0].shape, &a = t[1].shape;
    const auto g = read<double>(t[0]);
    std::vector<double> out(t[1].elements(), 0.0);
    size_t i = 0;
    for (int64_t n = 0; n < b[0] * b[1]; ++n) {
      for (int64_t h = 0; h < b[2]; ++h) {
        for (int64_t w = 0; w < b[3]; ++w) {
          out[(n * a[2] + h * a[2] / b[2]) * a[3] + w * a[3] / b[3]] += g[i++];
        }
      }
    }
    write(t[1], out);
  });
}
