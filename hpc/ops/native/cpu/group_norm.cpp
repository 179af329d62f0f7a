// Group normalisation of channels-last arrays [N, S..., C], optionally followed by SiLU.
// Source: Wu and He 2018. Sums over S are made in fixed chunks, so they do not depend on the threads;
// they are taken about the first row of the sample, which keeps float sums of squares exact enough.
#include <cmath>

#include "aot.h"
#include "parallel.h"
#include "vector.h"

namespace {

using namespace native;

constexpr std::int64_t kRowsOfChunk = 128;

struct Shape {
  std::int64_t samples, rows, channels, groups;
  std::int64_t chunks() const { return (rows + kRowsOfChunk - 1) / kRowsOfChunk; }
  std::int64_t group_width() const { return channels / groups; }
};

Shape ReadShape(const Arguments& a, int groups_operand) {
  Shape s;
  s.samples = a.Dim(0, 0);
  s.channels = a.Dim(0, -1);
  s.rows = a.Size(0) / s.samples / s.channels;
  s.groups = *a.At<std::int32_t>(groups_operand);
  return s;
}

// For every sample, sums[sample][2][C] = (sum of first(...), sum of second(...)) over its rows.
template <typename Body>
std::vector<double> ChannelSums(const Shape& s, const Body& add_row) {
  const std::int64_t width = 2 * s.channels;
  std::vector<float> partial(s.samples * s.chunks() * width, 0.0f);
  ParallelFor(s.samples * s.chunks(), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t n = task / s.chunks(), begin = task % s.chunks() * kRowsOfChunk;
      const std::int64_t end = std::min(s.rows, begin + kRowsOfChunk);
      for (std::int64_t r = begin; r < end; ++r) {
        add_row(n, n * s.rows + r, &partial[task * width], &partial[task * width + s.channels]);
      }
    }
  });
  std::vector<double> sums(s.samples * width, 0.0);
  for (std::int64_t task = 0; task < s.samples * s.chunks(); ++task) {
    for (std::int64_t i = 0; i < width; ++i) sums[task / s.chunks() * width + i] += partial[task * width + i];
  }
  return sums;
}

// Per channel, so that y = x * scale + shift needs no lookup of the group.
struct Moments {
  std::vector<float> mean, inverse_deviation;  // [N, C]
};

Moments GroupMoments(const Shape& s, const float* x, float epsilon) {
  const std::vector<double> sums =
      ChannelSums(s, [&](std::int64_t n, std::int64_t row, float* first, float* second) {
        const float* origin = x + n * s.rows * s.channels;
        const float* values = x + row * s.channels;
        for (std::int64_t c = 0; c < s.channels; ++c) {
          const float centred = values[c] - origin[c];
          first[c] += centred;
          second[c] += centred * centred;
        }
      });
  Moments m{std::vector<float>(s.samples * s.channels), std::vector<float>(s.samples * s.channels)};
  for (std::int64_t n = 0; n < s.samples; ++n) {
    const float* origin = x + n * s.rows * s.channels;
    const double* sum = &sums[n * 2 * s.channels];
    const double* square = sum + s.channels;
    for (std::int64_t g = 0; g < s.groups; ++g) {
      const std::int64_t begin = g * s.group_width(), end = begin + s.group_width();
      double mean = 0.0, variance = 0.0;
      for (std::int64_t c = begin; c < end; ++c) mean += origin[c] + sum[c] / s.rows;
      mean /= s.group_width();
      for (std::int64_t c = begin; c < end; ++c) {
        const double offset = origin[c] - mean;
        variance += square[c] / s.rows + 2.0 * offset * sum[c] / s.rows + offset * offset;
      }
      variance /= s.group_width();
      for (std::int64_t c = begin; c < end; ++c) {
        m.mean[n * s.channels + c] = static_cast<float>(mean);
        m.inverse_deviation[n * s.channels + c] = static_cast<float>(1.0 / std::sqrt(std::max(variance, 0.0) + epsilon));
      }
    }
  }
  return m;
}

inline Vec Sigmoid(Vec u) { return 1.0f / (1.0f + Exp(-u)); }

// In place over a buffer of one row, padded to whole vectors.
struct RowBuffer {
  explicit RowBuffer(std::int64_t channels) : values((channels + kWidth - 1) / kWidth * kWidth, 0.0f) {}
  std::vector<float> values;
  template <typename F>
  void Apply(const F& f) {
    for (std::size_t c = 0; c < values.size(); c += kWidth) Store(&values[c], f(Load(&values[c])));
  }
};

template <bool kSilu>
Status Forward(const Arguments& a) {
  if (a.count != 6) return kWrongCount;
  const Shape s = ReadShape(a, 3);
  if (s.groups < 1 || s.channels % s.groups != 0) return kWrongShape;
  const float *x = a.At<float>(0), *gamma = a.At<float>(1), *beta = a.At<float>(2);
  float* y = a.At<float>(5);
  const Moments m = GroupMoments(s, x, *a.At<float>(4));
  ParallelFor(s.samples * s.rows, [&](std::int64_t begin, std::int64_t end) {
    RowBuffer buffer(s.channels);
    float* u = buffer.values.data();
    for (std::int64_t row = begin; row < end; ++row) {
      const float* values = x + row * s.channels;
      const float* mean = &m.mean[row / s.rows * s.channels];
      const float* inverse = &m.inverse_deviation[row / s.rows * s.channels];
      float* target = kSilu ? u : y + row * s.channels;
      for (std::int64_t c = 0; c < s.channels; ++c) target[c] = (values[c] - mean[c]) * inverse[c] * gamma[c] + beta[c];
      if (kSilu) {
        buffer.Apply([](Vec v) { return v * Sigmoid(v); });
        std::copy(u, u + s.channels, y + row * s.channels);
      }
    }
  });
  return kOk;
}

// Gradient with respect to the normalised and scaled value, before any SiLU, of one row.
template <bool kSilu>
struct RowGradient {
  explicit RowGradient(std::int64_t channels) : normal(channels), u(channels), grad(channels) {}
  std::vector<float> normal;  // (x - mean) / deviation
  RowBuffer u;
  std::vector<float> grad;

  void Read(std::int64_t channels, const float* x, const float* dy, const float* mean, const float* inverse,
            const float* gamma, const float* beta) {
    for (std::int64_t c = 0; c < channels; ++c) normal[c] = (x[c] - mean[c]) * inverse[c];
    if (!kSilu) {
      std::copy(dy, dy + channels, grad.begin());
      return;
    }
    for (std::int64_t c = 0; c < channels; ++c) u.values[c] = normal[c] * gamma[c] + beta[c];
    u.Apply([](Vec v) {
      const Vec sigmoid = Sigmoid(v);
      return sigmoid * (1.0f + v * (1.0f - sigmoid));
    });
    for (std::int64_t c = 0; c < channels; ++c) grad[c] = dy[c] * u.values[c];
  }
};

template <bool kSilu>
Status Backward(const Arguments& a) {
  if (a.count != 9) return kWrongCount;
  const Shape s = ReadShape(a, 3);
  if (s.groups < 1 || s.channels % s.groups != 0) return kWrongShape;
  const float *x = a.At<float>(0), *gamma = a.At<float>(1), *beta = a.At<float>(2), *dy = a.At<float>(5);
  float *dx = a.At<float>(6), *dgamma = a.At<float>(7), *dbeta = a.At<float>(8);
  const Moments m = GroupMoments(s, x, *a.At<float>(4));
  const auto read = [&](RowGradient<kSilu>& r, std::int64_t n, std::int64_t row) {
    r.Read(s.channels, x + row * s.channels, dy + row * s.channels, &m.mean[n * s.channels],
           &m.inverse_deviation[n * s.channels], gamma, beta);
  };
  const std::vector<double> sums =
      ChannelSums(s, [&](std::int64_t n, std::int64_t row, float* first, float* second) {
        thread_local RowGradient<kSilu> r(0);
        if (static_cast<std::int64_t>(r.normal.size()) != s.channels) r = RowGradient<kSilu>(s.channels);
        read(r, n, row);
        for (std::int64_t c = 0; c < s.channels; ++c) {
          first[c] += r.grad[c];
          second[c] += r.grad[c] * r.normal[c];
        }
      });
  std::vector<float> mean_grad(s.samples * s.channels), mean_product(s.samples * s.channels);
  std::fill(dgamma, dgamma + s.channels, 0.0f);
  std::fill(dbeta, dbeta + s.channels, 0.0f);
  for (std::int64_t n = 0; n < s.samples; ++n) {
    const double* first = &sums[n * 2 * s.channels];
    const double* second = first + s.channels;
    for (std::int64_t g = 0; g < s.groups; ++g) {
      const std::int64_t begin = g * s.group_width(), end = begin + s.group_width();
      double grad = 0.0, product = 0.0;
      for (std::int64_t c = begin; c < end; ++c) {
        grad += first[c] * gamma[c];
        product += second[c] * gamma[c];
        dbeta[c] += static_cast<float>(first[c]);
        dgamma[c] += static_cast<float>(second[c]);
      }
      const double size = static_cast<double>(s.rows) * s.group_width();
      for (std::int64_t c = begin; c < end; ++c) {
        mean_grad[n * s.channels + c] = static_cast<float>(grad / size);
        mean_product[n * s.channels + c] = static_cast<float>(product / size);
      }
    }
  }
  ParallelFor(s.samples * s.rows, [&](std::int64_t begin, std::int64_t end) {
    RowGradient<kSilu> r(s.channels);
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t n = row / s.rows;
      read(r, n, row);
      const float *inverse = &m.inverse_deviation[n * s.channels], *grad = &mean_grad[n * s.channels],
                  *product = &mean_product[n * s.channels];
      float* target = dx + row * s.channels;
      for (std::int64_t c = 0; c < s.channels; ++c) {
        target[c] = inverse[c] * (r.grad[c] * gamma[c] - grad[c] - r.normal[c] * product[c]);
      }
    }
  });
  return kOk;
}

}  // namespace

// x [N, S..., C], gamma [C], beta [C], groups [1] int32, epsilon [1] -> y
NATIVE_OPERATOR(GroupNorm) { return Forward<false>(arguments); }
NATIVE_OPERATOR(GroupNormSilu) { return Forward<true>(arguments); }

// x, gamma, beta, groups, epsilon, dy -> dx, dgamma, dbeta
NATIVE_OPERATOR(GroupNormGrad) { return Backward<false>(arguments); }
NATIVE_OPERATOR(GroupNormSiluGrad) { return Backward<true>(arguments); }
