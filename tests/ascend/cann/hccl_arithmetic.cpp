#include <algorithm>
#include <cstdint>

#include "hccl.h"
#include "numbers.h"

namespace standin {
size_t hccl_type_bytes(int type) {
  static const size_t bytes[] = {1, 2, 4, 2, 4, 8, 8, 1, 2, 4, 8, 2};
  return type >= 0 && type < 12 ? bytes[type] : 0;
}

namespace {
template <class T>
T joined(T a, T b, int op) {
  switch (op) {
    case 0: return a + b;
    case 1: return a * b;
    case 2: return std::max(a, b);
    default: return std::min(a, b);
  }
}

template <class T>
void over(void* into, const void* more, uint64_t count, int op) {
  T* a = static_cast<T*>(into);
  const T* b = static_cast<const T*>(more);
  for (uint64_t i = 0; i < count; ++i) a[i] = joined(a[i], b[i], op);
}
}  // namespace

void reduce_into(void* into, const void* more, uint64_t count, int type, int op) {
  switch (type) {
    case 0: return over<int8_t>(into, more, count, op);
    case 1: return over<int16_t>(into, more, count, op);
    case 2: return over<int32_t>(into, more, count, op);
    case 4: return over<float>(into, more, count, op);
    case 5: return over<int64_t>(into, more, count, op);
    case 6: return over<uint64_t>(into, more, count, op);
    case 7: return over<uint8_t>(into, more, count, op);
    case 10: return over<double>(into, more, count, op);
  }
  auto* a = static_cast<uint16_t*>(into);
  auto* b = static_cast<const uint16_t*>(more);
  for (uint64_t i = 0; i < count; ++i) {
    a[i] = type == 3 ? half_from(joined(from_half(a[i]), from_half(b[i]), op))
                     : bf16_from(joined(from_bf16(a[i]), from_bf16(b[i]), op));
  }
}
}  // namespace standin
