// Elementwise work on tensors: whole numbers as int64, everything else in double.
#pragma once
#include "operators.h"

namespace standin {
template <class F>
void unary(const Tensor& y, const Tensor& x, F f) {
  auto values = read<double>(x, y.shape);
  for (double& v : values) v = f(v);
  write(y, values);
}

template <class T, class F>
void binary_as(const Tensor& y, const Tensor& a, const Tensor& b, F f) {
  auto left = read<T>(a, y.shape);
  const auto right = read<T>(b, y.shape);
  for (size_t i = 0; i < left.size(); ++i) left[i] = static_cast<T>(f(left[i], right[i]));
  write(y, left);
}

template <class F>
void binary(const Tensor& y, const Tensor& a, const Tensor& b, F f) {
  if (whole_type(a.type) && whole_type(b.type)) return binary_as<int64_t>(y, a, b, f);
  binary_as<double>(y, a, b, f);
}

template <class F>
void ternary(const Tensor& y, const Tensor& a, const Tensor& b, const Tensor& c, F f) {
  auto x = read<double>(a, y.shape);
  const auto u = read<double>(b, y.shape), v = read<double>(c, y.shape);
  for (size_t i = 0; i < x.size(); ++i) x[i] = f(x[i], u[i], v[i]);
  write(y, x);
}
}  // namespace standin
