// aclnn operators that move elements: views are made of strides, then copied.
#include <algorithm>
#include <functional>

#include "operators.h"

using standin::read;
using standin::Tensor;
using standin::Tensors;
using standin::write;
using X = const aclTensor*;
using S = const aclScalar*;
using Ints = const aclIntArray*;

namespace {
void copy(const Tensor& to, const Tensor& from) {
  if (standin::whole_type(from.type)) return write(to, read<int64_t>(from, to.shape));
  write(to, read<double>(from, to.shape));
}
Tensor part(const Tensor& x, int64_t axis, int64_t start, int64_t length, int64_t step = 1) {
  Tensor view = x;
  view.offset += start * x.strides[axis];
  view.strides[axis] *= step;
  view.shape[axis] = length;
  return view;
}
// Copies the pieces `from` + 1.. of `t` out of or into `whole` along an axis.
int split(aclOpExecutor& op, X x, int64_t dim, const aclTensorList* parts) {
  return op.in(x).out(parts).run([=](Tensors& t) {
    const int64_t axis = t[0].axis(dim);
    int64_t at = 0;
    for (size_t i = 1; i < t.size(); ++i) {
      copy(t[i], part(t[0], axis, at, t[i].shape[axis]));
      at += t[i].shape[axis];
    }
    standin::require(at == t[0].shape[axis], "the parts do not fill the axis");
  });
}
}  // namespace

ACLNN(Cat, const aclTensorList* parts, int64_t dim, X y) {
  return OP.in(parts).out(y).run([=](Tensors& t) {
    const Tensor& whole = t.back();
    const int64_t axis = whole.axis(dim);
    int64_t at = 0;
    for (size_t i = 0; i + 1 < t.size(); ++i) {
      copy(part(whole, axis, at, t[i].shape[axis]), t[i]);
      at += t[i].shape[axis];
    }
    standin::require(at == whole.shape[axis], "the parts do not fill the axis");
  });
}
ACLNN(Stack, const aclTensorList* parts, int64_t dim, X y) {
  return OP.in(parts).out(y).run([=](Tensors& t) {
    const Tensor& whole = t.back();
    const int64_t axis = whole.axis(dim);
    for (size_t i = 0; i + 1 < t.size(); ++i) {
      Tensor place = part(whole, axis, i, 1);
      place.shape.erase(place.shape.begin() + axis);
      place.strides.erase(place.strides.begin() + axis);
      copy(place, t[i]);
    }
  });
}
ACLNN(SplitTensor, X x, uint64_t, int64_t dim, const aclTensorList* parts) {
  return split(OP, x, dim, parts);
}
ACLNN(SplitWithSize, X x, Ints, int64_t dim, const aclTensorList* parts) {
  return split(OP, x, dim, parts);
}
ACLNN(Permute, X x, Ints axes, X y) {
  const Dims order = axes->values;
  return OP.in(x).out(y).run([order](Tensors& t) {
    Tensor view = t[0];
    for (size_t i = 0; i < order.size(); ++i) {
      const int64_t axis = t[0].axis(order[i]);
      view.shape[i] = t[0].shape[axis];
      view.strides[i] = t[0].strides[axis];
    }
    copy(t[1], view);
  });
}
ACLNN(Slice, X x, int64_t dim, int64_t start, int64_t, int64_t step, X y) {
  return OP.in(x).out(y).run([=](Tensors& t) {
    const int64_t axis = t[0].axis(dim), size = t[0].shape[axis];
    const int64_t from = std::clamp<int64_t>(start < 0 ? start + size : start, 0, size);
    copy(t[1], part(t[0], axis, from, t[1].shape[axis], step));
  });
}
ACLNN(SliceV2, X x, Ints starts, Ints, Ints axes, Ints steps, X y) {
  const Dims start = starts->values, axis = axes->values, step = steps->values;
  return OP.in(x).out(y).run([=](Tensors& t) {
    Tensor view = t[0];
    for (size_t i = 0; i < axis.size(); ++i) {
      const int64_t a = t[0].axis(axis[i]), size = t[0].shape[a];
      view = part(view, a, start[i] < 0 ? start[i] + size : start[i], t[1].shape[a], step[i]);
    }
    copy(t[1], view);
  });
}
ACLNN(Expand, X x, Ints, X y) {
  return OP.in(x).out(y).run([](Tensors& t) { copy(t[1], t[0]); });
}
ACLNN(Repeat, X x, Ints, X y) {
  return OP.in(x).out(y).run([](Tensors& t) {
    const Dims& shape = t[1].shape;
    Tensor source = t[0];
    while (source.shape.size() < shape.size()) {
      source.shape.insert(source.shape.begin(), 1);
      source.strides.insert(source.strides.begin(), 0);
    }
    const auto values = read<double>(source);
    std::vector<double> out;
    Dims at(shape.size(), 0);
    const Dims dense = standin::dense_strides(source.shape);
    for (int64_t n = 0; n < standin::count(shape); ++n) {
      int64_t from = 0;
      for (size_t i = 0; i < shape.size(); ++i) from += at[i] % source.shape[i] * dense[i];
      out.push_back(values[from]);
      for (int i = static_cast<int>(shape.size()) - 1; i >= 0 && ++at[i] == shape[i]; --i) at[i] = 0;
    }
    write(t[1], out);
  });
}
ACLNN(Flip, X x, Ints dims, X y) {
  const Dims axes = dims->values;
  return OP.in(x).out(y).run([axes](Tensors& t) {
    Tensor view = t[0];
    for (int64_t dim : axes) {
      const int64_t axis = view.axis(dim);
      view.offset += (view.shape[axis] - 1) * view.strides[axis];
      view.strides[axis] = -view.strides[axis];
    }
    copy(t[1], view);
  });
}
ACLNN(Roll, X x, Ints shifts, Ints dims, X y) {
  const Dims shift = shifts->values, axes = dims->values;
  return OP.in(x).out(y).run([=](Tensors& t) {
    const Dims& shape = t[0].shape;
    const Dims dense = standin::dense_strides(shape);
    Dims move(shape.size(), 0);
    for (size_t i = 0; i < axes.size(); ++i) move[t[0].axis(axes[i])] = shift[i];
    const auto values = read<double>(t[0]);
    std::vector<double> out(values.size());
    Dims at(shape.size(), 0);
    for (double value : values) {
      int64_t to = 0;
      for (size_t i = 0; i < shape.size(); ++i) {
        to += ((at[i] + move[i]) % shape[i] + shape[i]) % shape[i] * dense[i];
      }
      out[to] = value;
      for (int i = static_cast<int>(shape.size()) - 1; i >= 0 && ++at[i] == shape[i]; --i) at[i] = 0;
    }
    write(t[1], out);
  });
}
ACLNN(ConstantPadNd, X x, Ints pad, S fill, X y) {
  const Dims pads = pad->values;  // last axis first, before and after
  const double value = fill->real;
  return OP.in(x).out(y).run([=](Tensors& t) {
    write(t[1], std::vector<double>(t[1].elements(), value));
    Tensor from = t[0], to = t[1];
    for (size_t i = 0; 2 * i < pads.size(); ++i) {
      const int64_t axis = static_cast<int64_t>(t[0].shape.size()) - 1 - i;
      const int64_t skip = std::max<int64_t>(0, -pads[2 * i]);
      const int64_t skip_end = std::max<int64_t>(0, -pads[2 * i + 1]);
      const int64_t length = t[0].shape[axis] - skip - skip_end;
      from = part(from, axis, skip, length);
      to = part(to, axis, std::max<int64_t>(0, pads[2 * i]), length);
    }
    copy(to, from);
  });
}
ACLNN(AsStrided, X x, Ints size, Ints stride, int64_t offset, X y) {
  const Dims shape = size->values, strides = stride->values;
  return OP.in(x).out(y).run([=](Tensors& t) {
    Tensor view = t[0];
    view.shape = shape;
    view.strides = strides;
    view.offset = offset;
    copy(t[1], view);
  });
}
