// Portable vectors of float: the compiler's vector extension, as wide as the build machine's registers.
#ifndef HPC_OPS_NATIVE_VECTOR_H_
#define HPC_OPS_NATIVE_VECTOR_H_

#include <cstdint>
#include <cstring>

namespace native {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

template <int W>
struct Lanes {
  typedef float Float __attribute__((vector_size(W * sizeof(float))));
  typedef std::int32_t Int __attribute__((vector_size(W * sizeof(float))));
};

template <int W>
using VecOf = typename Lanes<W>::Float;
using Vec = VecOf<kWidth>;

template <int W = kWidth>
inline VecOf<W> Load(const float* address) {
  VecOf<W> value;
  std::memcpy(&value, address, sizeof(value));
  return value;
}

template <typename V>
inline void Store(float* address, V value) {
  std::memcpy(address, &value, sizeof(value));
}

template <int W = kWidth>
inline VecOf<W> Broadcast(float value) {
  return value - VecOf<W>{};
}

template <int W = kWidth>
inline VecOf<W> Max(VecOf<W> a, VecOf<W> b) {
  return a > b ? a : b;
}

template <int W = kWidth>
inline VecOf<W> Min(VecOf<W> a, VecOf<W> b) {
  return a < b ? a : b;
}

template <int W = kWidth>
inline float Sum(VecOf<W> v) {
  float lanes[W];
  Store(lanes, v);
  for (int half = W / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

template <int W = kWidth>
inline float Largest(VecOf<W> v) {
  float lanes[W];
  Store(lanes, v);
  for (int half = W / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
  }
  return lanes[0];
}

// e**x, 2 units in the last place; below -87.3 the result is the smallest normal number, not 0.
template <int W = kWidth>
inline VecOf<W> Exp(VecOf<W> x) {
  using V = VecOf<W>;
  using I = typename Lanes<W>::Int;
  x = Max<W>(Min<W>(x, Broadcast<W>(88.0f)), Broadcast<W>(-87.3f));
  // Adding 1.5 * 2**23 rounds to the nearest integer and leaves it in the low bits.
  const V shifted = x * 1.44269504f + 12582912.0f;
  const V n = shifted - 12582912.0f;
  V r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  I exponent;
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = (exponent - 0x4B400000 + 127) << 23;
  V scale;
  std::memcpy(&scale, &exponent, sizeof(scale));
  return p * scale;
}

// The error function by a rational minimax approximation on [-4, 4], outside of which it is +-1.
template <int W = kWidth>
inline VecOf<W> Erf(VecOf<W> x) {
  using V = VecOf<W>;
  x = Max<W>(Min<W>(x, Broadcast<W>(4.0f)), Broadcast<W>(-4.0f));
  const V s = x * x;
  V p = s * -2.72614225801306e-10f + 2.77068142495902e-08f;
  p = p * s - 2.10102402082508e-06f;
  p = p * s - 5.69250639462346e-05f;
  p = p * s - 7.34990630326855e-04f;
  p = p * s - 2.95459980854025e-03f;
  p = p * s - 1.60960333262415e-02f;
  V q = s * -1.45660718464996e-05f - 2.13374055278905e-04f;
  q = q * s - 1.68282697438203e-03f;
  q = q * s - 7.37332916720468e-03f;
  q = q * s - 1.42647390514189e-02f;
  return x * p / q;
}

}  // namespace native

#endif  // HPC_OPS_NATIVE_VECTOR_H_
