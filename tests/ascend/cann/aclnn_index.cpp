// aclnn operators that pick, place, count and order elements.
#include <algorithm>
#include <numeric>

#include "operators.h"

using standin::read;
using standin::Tensor;
using standin::Tensors;
using standin::write;
using X = const aclTensor*;
using S = const aclScalar*;
using Ints = const aclIntArray*;

namespace {
struct Axis {
  int64_t outer = 1, length = 1, inner = 1;
};
Axis axis_of(const Tensor& x, int64_t dim) {
  Axis a;
  const int64_t axis = x.axis(dim);
  for (int64_t i = 0; i < axis; ++i) a.outer *= x.shape[i];
  for (size_t i = axis + 1; i < x.shape.size(); ++i) a.inner *= x.shape[i];
  a.length = x.shape.empty() ? 1 : x.shape[axis];
  return a;
}
void pick(const Tensor& y, const Tensor& x, const Tensor& index, int64_t dim) {
  const Axis a = axis_of(x, dim);
  const auto values = read<double>(x);
  std::vector<double> out;
  for (int64_t o = 0; o < a.outer; ++o) {
    for (int64_t i : read<int64_t>(index)) {
      standin::require(i >= -a.length && i < a.length, "an index is beyond its axis");
      const auto from = values.begin() + (o * a.length + (i + a.length) % a.length) * a.inner;
      out.insert(out.end(), from, from + a.inner);
    }
  }
  write(y, out);
}
}  // namespace

ACLNN(IndexSelect, X x, int64_t dim, X index, X y) {
  return OP.in(x).in(index).out(y).run([=](Tensors& t) { pick(t[2], t[0], t[1], dim); });
}
ACLNN(Embedding, X weight, X index, X y) {
  return OP.in(weight).in(index).out(y).run([](Tensors& t) { pick(t[2], t[0], t[1], 0); });
}
ACLNN(EmbeddingDenseBackward, X grad, X index, uint64_t rows, uint64_t, bool, X y) {
  return OP.in(grad).in(index).out(y).run([=](Tensors& t) {
    const auto g = read<double>(t[0]);
    const auto indices = read<int64_t>(t[1]);
    const int64_t width = g.size() / std::max<size_t>(1, indices.size());
    std::vector<double> out(rows * width, 0.0);
    for (size_t i = 0; i < indices.size(); ++i) {
      for (int64_t k = 0; k < width; ++k) out.at(indices[i] * width + k) += g[i * width + k];
    }
    write(t[2], out);
  });
}
ACLNN(Gather, X x, int64_t dim, X index, X y) {
  return OP.in(x).in(index).out(y).run([=](Tensors& t) {
    const Axis a = axis_of(t[0], dim), b = axis_of(t[1], dim);
    const auto values = read<double>(t[0]);
    const auto indices = read<int64_t>(t[1]);
    std::vector<double> out(indices.size());
    for (size_t n = 0; n < indices.size(); ++n) {
      const int64_t inner = n % b.inner, outer = n / (b.inner * b.length);
      out[n] = values.at((outer * a.length + indices[n]) * a.inner + inner);
    }
    write(t[2], out);
  });
}
ACLNN(IndexAdd, X x, int64_t dim, X index, X source, S alpha, X y) {
  const double scale = alpha ? alpha->real : 1;
  return OP.in(x).in(index).in(source).out(y).run([=](Tensors& t) {
    const Axis a = axis_of(t[0], dim);
    auto out = read<double>(t[0]);
    const auto indices = read<int64_t>(t[1]);
    const auto more = read<double>(t[2]);
    const int64_t n = indices.size();
    for (int64_t o = 0; o < a.outer; ++o) {
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t k = 0; k < a.inner; ++k) {
          out.at((o * a.length + indices[i]) * a.inner + k) += scale * more[(o * n + i) * a.inner + k];
        }
      }
    }
    write(t[3], out);
  });
}
ACLNN(OneHot, X index, int, X on, X off, int64_t axis, X y) {
  return OP.in(index).in(on).in(off).out(y).run([=](Tensors& t) {
    const double yes = read<double>(t[1])[0], no = read<double>(t[2])[0];
    const Axis a = axis_of(t[3], axis);
    const auto indices = read<int64_t>(t[0]);
    std::vector<double> out(t[3].elements(), no);
    for (size_t n = 0; n < indices.size(); ++n) {
      const int64_t outer = n / a.inner, inner = n % a.inner;
      if (indices[n] >= 0 && indices[n] < a.length) {
        out[(outer * a.length + indices[n]) * a.inner + inner] = yes;
      }
    }
    write(t[3], out);
  });
}
ACLNN(Arange, S start, S, S step, X y) {
  const double first = start->real, by = step->real;
  return OP.out(y).run([=](Tensors& t) {
    std::vector<double> out(t[0].elements());
    for (size_t i = 0; i < out.size(); ++i) out[i] = first + by * i;
    write(t[0], out);
  });
}
ACLNN(Linspace, S start, S end, int64_t steps, X y) {
  const double first = start->real, last = end->real;
  return OP.out(y).run([=](Tensors& t) {
    std::vector<double> out(steps);
    for (int64_t i = 0; i < steps; ++i) {
      out[i] = steps == 1 ? first : first + (last - first) * i / (steps - 1);
    }
    write(t[0], out);
  });
}
ACLNN(Cumsum, X x, int64_t dim, int, X y) {
  return OP.in(x).out(y).run([=](Tensors& t) {
    const Axis a = axis_of(t[0], dim);
    auto values = read<double>(t[0]);
    for (int64_t o = 0; o < a.outer; ++o) {
      for (int64_t i = 1; i < a.length; ++i) {
        for (int64_t k = 0; k < a.inner; ++k) {
          const int64_t at = (o * a.length + i) * a.inner + k;
          values[at] += values[at - a.inner];
        }
      }
    }
    write(t[1], values);
  });
}
ACLNN(Sort, X x, bool, int64_t dim, bool descending, X y, X order) {
  return OP.in(x).out(y).out(order).run([=](Tensors& t) {
    const Axis a = axis_of(t[0], dim);
    const auto values = read<double>(t[0]);
    std::vector<double> sorted(values.size());
    std::vector<int64_t> places(values.size());
    for (int64_t o = 0; o < a.outer; ++o) {
      for (int64_t k = 0; k < a.inner; ++k) {
        const auto at = [&](int64_t i) { return (o * a.length + i) * a.inner + k; };
        std::vector<int64_t> by(a.length);
        std::iota(by.begin(), by.end(), 0);
        std::stable_sort(by.begin(), by.end(), [&](int64_t p, int64_t q) {
          return descending ? values[at(p)] > values[at(q)] : values[at(p)] < values[at(q)];
        });
        for (int64_t i = 0; i < a.length; ++i) {
          sorted[at(i)] = values[at(by[i])];
          places[at(i)] = by[i];
        }
      }
    }
    write(t[1], sorted);
    write(t[2], places);
  });
}
ACLNN(ArgMax, X x, int64_t dim, bool, X y) {
  return OP.in(x).out(y).run([=](Tensors& t) {
    const Axis a = axis_of(t[0], dim);
    const auto values = read<double>(t[0]);
    std::vector<int64_t> out;
    for (int64_t o = 0; o < a.outer; ++o) {
      for (int64_t k = 0; k < a.inner; ++k) {
        int64_t best = 0;
        for (int64_t i = 1; i < a.length; ++i) {
          if (values[(o * a.length + i) * a.inner + k] > values[(o * a.length + best) * a.inner + k]) {
            best = i;
          }
        }
        out.push_back(best);
      }
    }
    write(t[1], out);
  });
}
