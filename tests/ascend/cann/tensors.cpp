#include "tensors.h"

#include <algorithm>
#include <cmath>

int64_t aclTensor::elements() const { return standin::count(shape); }

namespace standin {
size_t type_bytes(int type) {
  switch (type) {
    case kInt8: case kUint8: case kBool: return 1;
    case kHalf: case kBf16: case kInt16: case kUint16: return 2;
    case kFloat: case kInt32: case kUint32: return 4;
    case kInt64: case kUint64: case kDouble: return 8;
  }
  return 0;
}

const char* type_name(int type) {
  switch (type) {
    case kFloat: return "float32"; case kHalf: return "float16"; case kBf16: return "bfloat16";
    case kDouble: return "float64"; case kInt8: return "int8"; case kUint8: return "uint8";
    case kInt16: return "int16"; case kUint16: return "uint16"; case kInt32: return "int32";
    case kUint32: return "uint32"; case kInt64: return "int64"; case kUint64: return "uint64";
    case kBool: return "bool";
  }
  return "unknown type";
}

bool whole_type(int type) {
  return type != kFloat && type != kHalf && type != kBf16 && type != kDouble;
}

int64_t count(const Dims& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

Dims dense_strides(const Dims& shape) {
  Dims strides(shape.size(), 1);
  for (int i = static_cast<int>(shape.size()) - 2; i >= 0; --i) {
    strides[i] = strides[i + 1] * shape[i + 1];
  }
  return strides;
}

std::string text(const Dims& shape) {
  std::string out = "[";
  for (int64_t d : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(d);
  return out + "]";
}

ordering::Range extent(const Tensor& tensor) {
  if (!tensor.present() || tensor.elements() == 0) return {tensor.data, 0};
  int64_t last = tensor.offset, first = tensor.offset;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const int64_t reach = tensor.strides[i] * (tensor.shape[i] - 1);
    (reach > 0 ? last : first) += reach;
  }
  const size_t bytes = type_bytes(tensor.type);
  return {static_cast<const char*>(tensor.data) + first * static_cast<int64_t>(bytes),
          (last - first + 1) * bytes};
}

namespace {
template <class T>
T at_place(const void* data, int64_t at) {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + at * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void put(void* data, int64_t at, T value) {
  std::memcpy(static_cast<char*>(data) + at * sizeof(T), &value, sizeof(T));
}
}  // namespace

double load_real(int type, const void* data, int64_t at) {
  switch (type) {
    case kFloat: return at_place<float>(data, at);
    case kHalf: return from_half(at_place<uint16_t>(data, at));
    case kBf16: return from_bf16(at_place<uint16_t>(data, at));
    case kDouble: return at_place<double>(data, at);
    case kUint64: return static_cast<double>(at_place<uint64_t>(data, at));
  }
  return static_cast<double>(load_whole(type, data, at));
}

int64_t load_whole(int type, const void* data, int64_t at) {
  switch (type) {
    case kInt8: return at_place<int8_t>(data, at);
    case kUint8: return at_place<uint8_t>(data, at);
    case kBool: return at_place<uint8_t>(data, at) != 0;
    case kInt16: return at_place<int16_t>(data, at);
    case kUint16: return at_place<uint16_t>(data, at);
    case kInt32: return at_place<int32_t>(data, at);
    case kUint32: return at_place<uint32_t>(data, at);
    case kInt64: case kUint64: return at_place<int64_t>(data, at);
    case kFloat: case kHalf: case kBf16: case kDouble:
      return static_cast<int64_t>(load_real(type, data, at));
  }
  throw std::runtime_error("type " + std::to_string(type) + " is not known to the stand-in");
}

void store(int type, void* data, int64_t at, double value) {
  switch (type) {
    case kFloat: return put<float>(data, at, static_cast<float>(value));
    case kHalf: return put<uint16_t>(data, at, half_from(static_cast<float>(value)));
    case kBf16: return put<uint16_t>(data, at, bf16_from(static_cast<float>(value)));
    case kDouble: return put<double>(data, at, value);
    case kBool: return put<uint8_t>(data, at, value != 0);
  }
  store(type, data, at, std::isfinite(value) ? static_cast<int64_t>(value) : int64_t(0));
}

void store(int type, void* data, int64_t at, int64_t value) {
  switch (type) {
    case kInt8: return put<int8_t>(data, at, static_cast<int8_t>(value));
    case kUint8: return put<uint8_t>(data, at, static_cast<uint8_t>(value));
    case kBool: return put<uint8_t>(data, at, value != 0);
    case kInt16: return put<int16_t>(data, at, static_cast<int16_t>(value));
    case kUint16: return put<uint16_t>(data, at, static_cast<uint16_t>(value));
    case kInt32: return put<int32_t>(data, at, static_cast<int32_t>(value));
    case kUint32: return put<uint32_t>(data, at, static_cast<uint32_t>(value));
    case kInt64: case kUint64: return put<int64_t>(data, at, value);
    case kFloat: case kHalf: case kBf16: case kDouble:
      return store(type, data, at, static_cast<double>(value));
  }
  throw std::runtime_error("type " + std::to_string(type) + " is not known to the stand-in");
}
}  // namespace standin
