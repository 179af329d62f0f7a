// aclnn operators over axes: sums, means, extremes, softmax.
#include <cmath>

#include "operators.h"

using standin::read;
using standin::Tensor;
using standin::Tensors;
using standin::write;
using X = const aclTensor*;
using Ints = const aclIntArray*;

namespace {
template <class F>
std::vector<double> fold(const Tensor& x, Dims axes, double start, F f) {
  std::vector<char> gone(x.shape.size(), axes.empty());
  for (int64_t axis : axes) gone[x.axis(axis)] = 1;
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
template <class F>
int reduce(aclOpExecutor& op, X x, const Dims& axes, X y, double start, F f) {
  return op.in(x).out(y).run([=](Tensors& t) { write(t[1], fold(t[0], axes, start, f)); });
}
double plus(double a, double b) { return a + b; }
double larger(double a, double b) { return std::fmax(a, b); }
double smaller(double a, double b) { return std::fmin(a, b); }

template <class F>
void along(const Tensor& x, int64_t dim, F row) {
  const int64_t axis = x.axis(dim);
  int64_t outer = 1, inner = 1;
  for (int64_t i = 0; i < axis; ++i) outer *= x.shape[i];
  for (size_t i = axis + 1; i < x.shape.size(); ++i) inner *= x.shape[i];
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t k = 0; k < inner; ++k) row(o * x.shape[axis] * inner + k, inner, x.shape[axis]);
  }
}
}  // namespace

ACLNN(ReduceSum, X x, Ints axes, bool, int, X y) {
  return reduce(OP, x, axes->values, y, 0, plus);
}
ACLNN(Mean, X x, Ints axes, bool, int, X y) {
  const Dims dims = axes->values;
  return OP.in(x).out(y).run([dims](Tensors& t) {
    auto sums = fold(t[0], dims, 0, plus);
    const double n = static_cast<double>(t[0].elements()) / static_cast<double>(sums.size());
    for (double& s : sums) s /= n;
    write(t[1], sums);
  });
}
ACLNN(Amax, X x, Ints axes, bool, X y) {
  return reduce(OP, x, axes->values, y, -INFINITY, larger);
}
ACLNN(Amin, X x, Ints axes, bool, X y) {
  return reduce(OP, x, axes->values, y, INFINITY, smaller);
}
ACLNN(Max, X x, X y) { return reduce(OP, x, {}, y, -INFINITY, larger); }
ACLNN(Min, X x, X y) { return reduce(OP, x, {}, y, INFINITY, smaller); }
ACLNN(Prod, X x, int, X y) {
  return reduce(OP, x, {}, y, 1, [](double a, double b) { return a * b; });
}
ACLNN(All, X x, Ints axes, bool, X y) {
  return reduce(OP, x, axes->values, y, 1, [](double a, double b) { return double(a && b); });
}
ACLNN(Any, X x, Ints axes, bool, X y) {
  return reduce(OP, x, axes->values, y, 0, [](double a, double b) { return double(a || b); });
}
ACLNN(AllFinite, X x, X y) {
  return OP.in(x).update(y).run([](Tensors& t) {
    double bad = 0;
    for (double v : read<double>(t[0])) bad = std::isfinite(v) ? bad : 1;
    if (bad) write(t[1], std::vector<double>(t[1].elements(), 1));
  });
}
ACLNN(Softmax, X x, int64_t dim, X y) {
  return OP.in(x).out(y).run([=](Tensors& t) {
    auto v = read<double>(t[0]);
    along(t[0], dim, [&](int64_t at, int64_t step, int64_t n) {
      double most = -INFINITY, sum = 0;
      for (int64_t i = 0; i < n; ++i) most = std::fmax(most, v[at + i * step]);
      for (int64_t i = 0; i < n; ++i) sum += v[at + i * step] = std::exp(v[at + i * step] - most);
      for (int64_t i = 0; i < n; ++i) v[at + i * step] /= sum;
    });
    write(t[1], v);
  });
}
ACLNN(SoftmaxBackward, X dy, X y, int64_t dim, X dx) {
  return OP.in(dy).in(y).out(dx).run([=](Tensors& t) {
    auto g = read<double>(t[0]);
    const auto p = read<double>(t[1]);
    along(t[0], dim, [&](int64_t at, int64_t step, int64_t n) {
      double dot = 0;
      for (int64_t i = 0; i < n; ++i) dot += g[at + i * step] * p[at + i * step];
      for (int64_t i = 0; i < n; ++i) {
        g[at + i * step] = p[at + i * step] * (g[at + i * step] - dot);
      }
    });
    write(t[2], g);
  });
}
