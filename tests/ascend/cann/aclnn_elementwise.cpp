// aclnn operators that work element by element (docs: aclnn operator interface, elementwise part).
#include "elementwise.h"

#include <cmath>

using standin::binary;
using standin::ternary;
using standin::Tensors;
using standin::unary;
using standin::write;
using X = const aclTensor*;
using S = const aclScalar*;

namespace {
template <class F>
int scalar_right(aclOpExecutor& op, X x, double s, X y, F f) {
  return op.in(x).out(y).run(
      [=](Tensors& t) { unary(t[1], t[0], [&](double v) { return f(v, s); }); });
}
// Whole numbers wrap as the chip's do: a product of two int32 has no exact double.
template <class F>
int scalar_right_exact(aclOpExecutor& op, X x, S s, X y, F f) {
  const double real = s->real;
  const int64_t whole = s->whole;
  const bool is_whole = standin::whole_type(s->type);
  return op.in(x).out(y).run([=](Tensors& t) {
    if (!is_whole || !standin::whole_type(t[0].type)) {
      return unary(t[1], t[0], [&](double v) { return f(v, real); });
    }
    auto values = standin::read<int64_t>(t[0], t[1].shape);
    for (int64_t& v : values) v = f(v, whole);
    write(t[1], values);
  });
}
double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double gelu_tanh_slope(double x) {
  const double k = std::sqrt(2 / M_PI), u = std::tanh(k * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + u) + 0.5 * x * (1 - u * u) * k * (1 + 3 * 0.044715 * x * x);
}
double gelu_erf(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
double gelu_erf_slope(double x) {
  return 0.5 * (1 + std::erf(x / std::sqrt(2.0))) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
}
double logistic(double x) { return 1 / (1 + std::exp(-x)); }
}  // namespace

#define UNARY(NAME, EXPRESSION)                                                  \
  ACLNN(NAME, X a, X y) {                                                        \
    return OP.in(a).out(y).run(                                                  \
        [](Tensors& t) { unary(t[1], t[0], [](double x) { return EXPRESSION; }); }); \
  }
UNARY(Exp, std::exp(x))
UNARY(Log, std::log(x))
UNARY(Log1p, std::log1p(x))
UNARY(Expm1, std::expm1(x))
UNARY(Sqrt, std::sqrt(x))
UNARY(Rsqrt, 1 / std::sqrt(x))
UNARY(Reciprocal, 1 / x)
UNARY(Neg, -x)
UNARY(Abs, std::fabs(x))
UNARY(Sin, std::sin(x))
UNARY(Cos, std::cos(x))
UNARY(Tanh, std::tanh(x))
UNARY(Erf, std::erf(x))
UNARY(Erfc, std::erfc(x))
UNARY(Floor, std::floor(x))
UNARY(Ceil, std::ceil(x))
UNARY(Trunc, std::trunc(x))
UNARY(Sign, static_cast<double>((x > 0) - (x < 0)))
UNARY(Sigmoid, logistic(x))
UNARY(Silu, x* logistic(x))
UNARY(Relu, x > 0 ? x : 0)
UNARY(Gelu, gelu_tanh(x))
UNARY(LogicalNot, static_cast<double>(x == 0))
UNARY(IsFinite, static_cast<double>(std::isfinite(x)))
UNARY(IsInf, static_cast<double>(std::isinf(x)))

ACLNN(Cast, X x, int, X y) {
  return OP.in(x).out(y).run([](Tensors& t) {
    if (standin::whole_type(t[0].type)) return write(t[1], standin::read<int64_t>(t[0]));
    write(t[1], standin::read<double>(t[0]));
  });
}
ACLNN(InplaceCopy, X y, X x) {
  return OP.out(y).in(x).run([](Tensors& t) {
    if (standin::whole_type(t[1].type)) return write(t[0], standin::read<int64_t>(t[1], t[0].shape));
    write(t[0], standin::read<double>(t[1], t[0].shape));
  });
}

#define BINARY(NAME, EXPRESSION)                                                              \
  ACLNN(NAME, X left, X right, X y) {                                                         \
    return OP.in(left).in(right).out(y).run([](Tensors& t) {                                  \
      binary(t[2], t[0], t[1], [](auto a, auto b) { return EXPRESSION; });                    \
    });                                                                                       \
  }
BINARY(Mul, a* b)
BINARY(Maximum, std::max(a, b))
BINARY(Minimum, std::min(a, b))
BINARY(EqTensor, a == b)
BINARY(NeTensor, a != b)
BINARY(LtTensor, a < b)
BINARY(LeTensor, a <= b)
BINARY(GtTensor, a > b)
BINARY(GeTensor, a >= b)
BINARY(LogicalAnd, a != 0 && b != 0)
BINARY(LogicalOr, a != 0 || b != 0)
BINARY(LogicalXor, (a != 0) != (b != 0))
BINARY(BitwiseAndTensor, static_cast<int64_t>(a) & static_cast<int64_t>(b))
BINARY(BitwiseOrTensor, static_cast<int64_t>(a) | static_cast<int64_t>(b))
BINARY(BitwiseXorTensor, static_cast<int64_t>(a) ^ static_cast<int64_t>(b))

#define REAL_BINARY(NAME, EXPRESSION)                                                           \
  ACLNN(NAME, X left, X right, X y) {                                                           \
    return OP.in(left).in(right).out(y).run([](Tensors& t) {                                    \
      standin::binary_as<double>(t[2], t[0], t[1], [](double a, double b) { return EXPRESSION; }); \
    });                                                                                         \
  }
REAL_BINARY(Div, a / b)
REAL_BINARY(FloorDivide, std::floor(a / b))
REAL_BINARY(PowTensorTensor, std::pow(a, b))
REAL_BINARY(Atan2, std::atan2(a, b))
REAL_BINARY(TanhBackward, a*(1 - b * b))
REAL_BINARY(SigmoidBackward, a* b*(1 - b))
REAL_BINARY(SiluBackward, a*(logistic(b) * (1 + b * (1 - logistic(b)))))
REAL_BINARY(GeluBackward, a* gelu_tanh_slope(b))

#define COMPARE_SCALAR(NAME, EXPRESSION)                                                \
  ACLNN(NAME, X x, S s, X y) {                                                          \
    return scalar_right(OP, x, s->real, y,                                              \
                        [](double a, double b) { return double(EXPRESSION); });         \
  }
COMPARE_SCALAR(EqScalar, a == b)
COMPARE_SCALAR(NeScalar, a != b)
COMPARE_SCALAR(LtScalar, a < b)
COMPARE_SCALAR(LeScalar, a <= b)
COMPARE_SCALAR(GtScalar, a > b)
COMPARE_SCALAR(GeScalar, a >= b)
COMPARE_SCALAR(Divs, a / b)
COMPARE_SCALAR(PowTensorScalar, std::pow(a, b))
COMPARE_SCALAR(ClampMin, std::fmax(a, b))
COMPARE_SCALAR(ClampMax, std::fmin(a, b))

ACLNN(PowScalarTensor, S s, X x, X y) {
  return scalar_right(OP, x, s->real, y, [](double a, double b) { return std::pow(b, a); });
}
ACLNN(Muls, X x, S s, X y) {
  return scalar_right_exact(OP, x, s, y, [](auto a, auto b) { return a * b; });
}
ACLNN(Adds, X x, S s, S alpha, X y) {
  const double by = alpha->real;
  return scalar_right_exact(OP, x, s, y, [by](auto a, auto b) {
    return a + static_cast<decltype(a)>(by) * b;
  });
}
ACLNN(Subs, X x, S s, S alpha, X y) {
  const double by = alpha->real;
  return scalar_right_exact(OP, x, s, y, [by](auto a, auto b) {
    return a - static_cast<decltype(a)>(by) * b;
  });
}
ACLNN(Clamp, X x, S low, S high, X y) {
  const double least = low ? low->real : -INFINITY, most = high ? high->real : INFINITY;
  return OP.in(x).out(y).run([=](Tensors& t) {
    unary(t[1], t[0], [=](double v) { return std::fmin(std::fmax(v, least), most); });
  });
}
ACLNN(Add, X left, X right, S alpha, X y) {
  const double s = alpha->real;
  return OP.in(left).in(right).out(y).run([s](Tensors& t) {
    binary(t[2], t[0], t[1], [s](auto a, auto b) { return a + static_cast<decltype(b)>(s) * b; });
  });
}
ACLNN(Sub, X left, X right, S alpha, X y) {
  const double s = alpha->real;
  return OP.in(left).in(right).out(y).run([s](Tensors& t) {
    binary(t[2], t[0], t[1], [s](auto a, auto b) { return a - static_cast<decltype(b)>(s) * b; });
  });
}
ACLNN(DivMod, X left, X right, int mode, X y) {
  return OP.in(left).in(right).out(y).run([mode](Tensors& t) {
    standin::binary_as<double>(t[2], t[0], t[1], [mode](double a, double b) {
      return mode == 1 ? std::trunc(a / b) : mode == 2 ? std::floor(a / b) : a / b;
    });
  });
}
ACLNN(GeluV2, X x, int64_t approximate, X y) {
  return OP.in(x).out(y).run([=](Tensors& t) {
    unary(t[1], t[0], approximate ? gelu_tanh : gelu_erf);
  });
}
ACLNN(GeluBackwardV2, X dy, X x, char* approximate, X dx) {
  const auto slope = std::string(approximate) == "tanh" ? gelu_tanh_slope : gelu_erf_slope;
  return OP.in(dy).in(x).out(dx).run([slope](Tensors& t) {
    standin::binary_as<double>(t[2], t[0], t[1], [=](double g, double v) { return g * slope(v); });
  });
}
ACLNN(LeakyRelu, X x, S slope, X y) {
  return scalar_right(OP, x, slope->real, y, [](double a, double s) { return a > 0 ? a : s * a; });
}
ACLNN(LeakyReluBackward, X dy, X x, S slope, bool, X dx) {
  const double s = slope->real;
  return OP.in(dy).in(x).out(dx).run([s](Tensors& t) {
    standin::binary_as<double>(t[2], t[0], t[1],
                               [s](double g, double v) { return v > 0 ? g : s * g; });
  });
}
ACLNN(SWhere, X condition, X yes, X no, X y) {
  return OP.in(condition).in(yes).in(no).out(y).run([](Tensors& t) {
    ternary(t[3], t[0], t[1], t[2], [](double c, double a, double b) { return c != 0 ? a : b; });
  });
}
ACLNN(NanToNum, X x, float nan, float high, float low, X y) {
  return OP.in(x).out(y).run([=](Tensors& t) {
    unary(t[1], t[0], [=](double v) {
      return std::isnan(v) ? nan : std::isinf(v) ? (v > 0 ? high : low) : v;
    });
  });
}
ACLNN(InplaceZero, X y) {
  return OP.out(y).run([](Tensors& t) { write(t[0], std::vector<double>(t[0].elements(), 0)); });
}
ACLNN(InplaceOne, X y) {
  return OP.out(y).run([](Tensors& t) { write(t[0], std::vector<double>(t[0].elements(), 1)); });
}
ACLNN(InplaceFillScalar, X y, S s) {
  const double value = s->real;
  return OP.out(y).run(
      [=](Tensors& t) { write(t[0], std::vector<double>(t[0].elements(), value)); });
}
