// Sums and means over axes, of the older interface: x, axes by value on the host.
#include <cmath>

#include "aclop.h"

using standin::Call;
using standin::read;
using standin::Tensor;
using standin::write;

namespace {
template <class F>
std::vector<double> fold(Call& c, double start, F f) {
  const Tensor& x = c.in[0];
  Dims axes = c.in.size() > 1 && c.in[1].present() ? standin::host_values(c.in[1]) : Dims{};
  std::vector<char> gone(x.shape.size(), axes.empty());
  for (int64_t axis : axes) {
    if (!x.shape.empty()) gone[x.axis(axis)] = 1;
  }
  Dims kept;
  for (size_t i = 0; i < x.shape.size(); ++i) kept.push_back(gone[i] ? 1 : x.shape[i]);
  Dims strides = standin::dense_strides(kept);
  for (size_t i = 0; i < kept.size(); ++i) strides[i] = gone[i] ? 0 : strides[i];
  std::vector<double> out(standin::count(kept), start);
  const auto values = read<double>(x);
  size_t n = 0;
  standin::walk(x.shape, strides, 0, [&](int64_t at) { out[at] = f(out[at], values[n++]); });
  return out;
}
double plus(double a, double b) { return a + b; }
}  // namespace

ACLOP(ReduceSum) { write(c.out[0], fold(c, 0, plus)); }
ACLOP(ReduceMax) {
  write(c.out[0], fold(c, -INFINITY, [](double a, double b) { return std::fmax(a, b); }));
}
ACLOP(ReduceMin) {
  write(c.out[0], fold(c, INFINITY, [](double a, double b) { return std::fmin(a, b); }));
}
ACLOP(ReduceMean) {
  auto sums = fold(c, 0, plus);
  const double n = static_cast<double>(c.in[0].elements()) / static_cast<double>(sums.size());
  for (double& s : sums) s /= n;
  write(c.out[0], sums);
}
