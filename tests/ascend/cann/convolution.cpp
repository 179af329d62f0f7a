#include "convolution.h"

#include <algorithm>

namespace standin {
namespace {
Convolution::Triple last(const Dims& values, size_t count, int64_t otherwise) {
  Convolution::Triple t{otherwise, otherwise, otherwise};
  const size_t n = std::min(count, values.size());
  for (size_t i = 0; i < n; ++i) t[3 - n + i] = values[values.size() - n + i];
  return t;
}
}  // namespace

Convolution::Convolution(const Dims& x, const Dims& w, const Dims& y, const Dims& stride_,
                         const Dims& pad_, const Dims& dilation_, int64_t groups_)
    : batch(x[0]), in(x[1]), out(w[0]), groups(groups_) {
  const size_t axes = x.size() - 2;
  size = last(x, axes, 1);
  kernel = last(w, axes, 1);
  result = last(y, axes, 1);
  stride = last(stride_, axes, 1);
  pad = last(pad_, axes, 0);
  dilation = last(dilation_, axes, 1);
}

template <class F>
void Convolution::rows(F f) const {
  const auto& [sd, sh, sw] = size;
  const auto& [kd, kh, kw] = kernel;
  const auto& [rd, rh, rw] = result;
  const int64_t ci = in / groups, co = out / groups;
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t c = 0; c < ci; ++c) {
        const int64_t channel = o / co * ci + c;
        for (int64_t z = 0; z < kd; ++z) {
          for (int64_t y = 0; y < kh; ++y) {
            for (int64_t x = 0; x < kw; ++x) {
              const int64_t at_w = (((o * ci + c) * kd + z) * kh + y) * kw + x;
              for (int64_t d = 0; d < rd; ++d) {
                const int64_t id = d * stride[0] - pad[0] + z * dilation[0];
                if (id < 0 || id >= sd) continue;
                for (int64_t h = 0; h < rh; ++h) {
                  const int64_t ih = h * stride[1] - pad[1] + y * dilation[1];
                  if (ih < 0 || ih >= sh) continue;
                  const int64_t shift = x * dilation[2] - pad[2], step = stride[2];
                  const int64_t begin = shift < 0 ? (-shift + step - 1) / step : 0;
                  const int64_t end = std::min(rw, (sw - 1 - shift) / step + 1);
                  if (sw - 1 - shift < 0 || end <= begin) continue;
                  const int64_t at_x = ((n * in + channel) * sd + id) * sh * sw + ih * sw +
                                       begin * step + shift;
                  const int64_t at_y = (((n * out + o) * rd + d) * rh + h) * rw + begin;
                  f(at_x, at_w, at_y, end - begin, step);
                }
              }
            }
          }
        }
      }
    }
  }
}

std::vector<float> Convolution::forward(const std::vector<float>& x,
                                        const std::vector<float>& w) const {
  std::vector<float> y(batch * out * result[0] * result[1] * result[2], 0.0f);
  rows([&](int64_t at_x, int64_t at_w, int64_t at_y, int64_t n, int64_t step) {
    const float weight = w[at_w];
    for (int64_t i = 0; i < n; ++i) y[at_y + i] += weight * x[at_x + i * step];
  });
  return y;
}

std::vector<float> Convolution::input_gradient(const std::vector<float>& dy,
                                               const std::vector<float>& w) const {
  std::vector<float> dx(batch * in * size[0] * size[1] * size[2], 0.0f);
  rows([&](int64_t at_x, int64_t at_w, int64_t at_y, int64_t n, int64_t step) {
    const float weight = w[at_w];
    for (int64_t i = 0; i < n; ++i) dx[at_x + i * step] += weight * dy[at_y + i];
  });
  return dx;
}

std::vector<float> Convolution::weight_gradient(const std::vector<float>& x,
                                                const std::vector<float>& dy) const {
  std::vector<float> dw(out * (in / groups) * kernel[0] * kernel[1] * kernel[2], 0.0f);
  rows([&](int64_t at_x, int64_t at_w, int64_t at_y, int64_t n, int64_t step) {
    float sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += x[at_x + i * step] * dy[at_y + i];
    dw[at_w] += sum;
  });
  return dw;
}
}  // namespace standin
