// aclnn matrix products.
#include "operators.h"

using standin::read;
using standin::Tensor;
using standin::Tensors;
using standin::write;
using X = const aclTensor*;
using S = const aclScalar*;

namespace {
// [..., m, k] x [..., k, n], leading axes broadcast; one axis stands for a row or a column.
std::vector<float> product(Tensor a, Tensor b) {
  standin::require(a.type == b.type, std::string("the factors have types ") +
                                         standin::type_name(a.type) + " and " +
                                         standin::type_name(b.type));
  if (a.shape.size() == 1) {
    a.shape.insert(a.shape.begin(), 1);
    a.strides.insert(a.strides.begin(), 0);
  }
  if (b.shape.size() == 1) {
    b.shape.push_back(1);
    b.strides.push_back(0);
  }
  const size_t ra = a.shape.size(), rb = b.shape.size(), rank = std::max(ra, rb);
  const int64_t m = a.shape[ra - 2], k = a.shape[ra - 1], n = b.shape[rb - 1];
  standin::require(b.shape[rb - 2] == k, "the inner sizes of a product differ");
  Dims batch;
  for (size_t i = 0; i + 2 < rank; ++i) {
    const int64_t x = i + ra >= rank ? a.shape[i + ra - rank] : 1;
    const int64_t y = i + rb >= rank ? b.shape[i + rb - rank] : 1;
    batch.push_back(std::max(x, y));
  }
  Dims full_a = batch, full_b = batch;
  full_a.insert(full_a.end(), {m, k});
  full_b.insert(full_b.end(), {k, n});
  const auto left = read<float>(a, full_a), right = read<float>(b, full_b);
  const int64_t times = standin::count(batch);
  std::vector<float> out(times * m * n, 0.0f);
  for (int64_t t = 0; t < times; ++t) {
    for (int64_t i = 0; i < m; ++i) {
      float* to = &out[(t * m + i) * n];
      for (int64_t p = 0; p < k; ++p) {
        const float v = left[(t * m + i) * k + p];
        const float* from = &right[(t * k + p) * n];
        for (int64_t j = 0; j < n; ++j) to[j] += v * from[j];
      }
    }
  }
  return out;
}
int multiply(aclOpExecutor& op, X a, X b, X y) {
  return op.in(a).in(b).out(y).run([](Tensors& t) { write(t[2], product(t[0], t[1])); });
}
int multiply_add(aclOpExecutor& op, X c, X a, X b, S beta, S alpha, X y) {
  const float keep = static_cast<float>(beta->real), scale = static_cast<float>(alpha->real);
  return op.in(c).in(a).in(b).out(y).run([=](Tensors& t) {
    auto out = product(t[1], t[2]);
    const auto more = read<float>(t[0], t[3].shape);
    for (size_t i = 0; i < out.size(); ++i) out[i] = scale * out[i] + keep * more[i];
    write(t[3], out);
  });
}
}  // namespace

ACLNN(Matmul, X a, X b, X y, int8_t) { return multiply(OP, a, b, y); }
ACLNN(BatchMatMul, X a, X b, X y, int8_t) { return multiply(OP, a, b, y); }
ACLNN(Mm, X a, X b, X y, int8_t) { return multiply(OP, a, b, y); }
ACLNN(Mv, X a, X b, X y, int8_t) { return multiply(OP, a, b, y); }
ACLNN(Dot, X a, X b, X y) { return multiply(OP, a, b, y); }
ACLNN(Addmm, X c, X a, X b, S beta, S alpha, X y, int8_t) {
  return multiply_add(OP, c, a, b, beta, alpha, y);
}
ACLNN(Baddbmm, X c, X a, X b, S beta, S alpha, X y, int8_t) {
  return multiply_add(OP, c, a, b, beta, alpha, y);
}
