// The objects of the aclnn interface as the stand-in keeps them, and arrays to compute with:
// `read` copies a tensor (with broadcasting) into a dense vector, `write` copies one back.
#pragma once
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "api.h"
#include "numbers.h"
#include "ordering.h"

using Dims = std::vector<int64_t>;

struct aclTensor {
  Dims shape, strides, storage;
  int64_t offset = 0;  // elements
  int type = kUndefinedType, format = 2;
  void* data = nullptr;
  bool present() const { return type != kUndefinedType; }
  int64_t elements() const;
  int64_t axis(int64_t dim) const { return dim < 0 ? dim + static_cast<int64_t>(shape.size()) : dim; }
};
struct aclScalar {
  int type = kUndefinedType;
  double real = 0;
  int64_t whole = 0;
};
struct aclIntArray {
  Dims values;
};
struct aclFloatArray {
  std::vector<float> values;
};
struct aclBoolArray {
  std::vector<char> values;
};
struct aclTensorList {
  std::vector<const aclTensor*> tensors;
};

namespace standin {
using Tensor = aclTensor;

size_t type_bytes(int type);
const char* type_name(int type);
bool whole_type(int type);  // an integer or a truth value
int64_t count(const Dims& shape);
Dims dense_strides(const Dims& shape);
std::string text(const Dims& shape);
// The bytes between a tensor's first and last element.
ordering::Range extent(const Tensor& tensor);

double load_real(int type, const void* data, int64_t at);
int64_t load_whole(int type, const void* data, int64_t at);
void store(int type, void* data, int64_t at, double value);
void store(int type, void* data, int64_t at, int64_t value);

inline void load(int type, const void* data, int64_t at, double* v) { *v = load_real(type, data, at); }
inline void load(int type, const void* data, int64_t at, float* v) {
  *v = static_cast<float>(load_real(type, data, at));
}
inline void load(int type, const void* data, int64_t at, int64_t* v) {
  *v = load_whole(type, data, at);
}
inline void store(int type, void* data, int64_t at, float value) {
  store(type, data, at, static_cast<double>(value));
}

// Calls `visit(offset)` for every element of `shape` in row-major order, offsets by `strides`.
template <class Visit>
void walk(const Dims& shape, const Dims& strides, int64_t offset, Visit visit) {
  const int rank = static_cast<int>(shape.size());
  if (count(shape) == 0) return;
  if (rank == 0) return visit(offset);
  Dims at(rank, 0);
  const int64_t inner = shape[rank - 1], step = strides[rank - 1];
  while (true) {
    for (int64_t i = 0; i < inner; ++i) visit(offset + i * step);
    int axis = rank - 2;
    for (; axis >= 0; --axis) {
      offset += strides[axis];
      if (++at[axis] < shape[axis]) break;
      offset -= strides[axis] * shape[axis];
      at[axis] = 0;
    }
    if (axis < 0) return;
  }
}

// The tensor's values as dense `shape`, repeated along axes of length 1 where `shape` is longer.
template <class T>
std::vector<T> read(const Tensor& tensor, const Dims& shape) {
  const size_t extra = shape.size() - tensor.shape.size();
  if (shape.size() < tensor.shape.size()) throw std::runtime_error("more axes than the result");
  Dims strides(shape.size(), 0);
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] == shape[i + extra]) {
      strides[i + extra] = tensor.strides[i];
    } else if (tensor.shape[i] != 1) {
      throw std::runtime_error("shape " + text(tensor.shape) + " does not broadcast to " +
                               text(shape));
    }
  }
  std::vector<T> values;
  values.reserve(count(shape));
  walk(shape, strides, tensor.offset, [&](int64_t at) {
    T value;
    load(tensor.type, tensor.data, at, &value);
    values.push_back(value);
  });
  return values;
}

template <class T>
std::vector<T> read(const Tensor& tensor) {
  return read<T>(tensor, tensor.shape);
}

template <class T>
void write(const Tensor& tensor, const std::vector<T>& values) {
  if (static_cast<int64_t>(values.size()) != tensor.elements()) {
    throw std::runtime_error("gives " + std::to_string(values.size()) + " values to an output of " +
                             text(tensor.shape));
  }
  size_t i = 0;
  walk(tensor.shape, tensor.strides, tensor.offset,
       [&](int64_t at) { store(tensor.type, tensor.data, at, values[i++]); });
}
}  // namespace standin
