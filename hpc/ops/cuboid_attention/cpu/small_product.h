// Products of matrices that fit in the first-level cache: C[M,N] = A[M,K] B[K,N].
//
// A is read element by element with any strides (so a transpose costs nothing), B and C by rows whose
// length N is a multiple of the vector width. Sums are kept in registers over the whole of K.
#ifndef HPC_OPS_CUBOID_ATTENTION_SMALL_PRODUCT_H_
#define HPC_OPS_CUBOID_ATTENTION_SMALL_PRODUCT_H_

#include "vector.h"

namespace cuboid {

struct Left {
  const float* data;
  int row_stride;
  int column_stride;
};

template <int W, int Columns, int Rows>
inline void ProductBlock(int depth, Left a, const float* b, int b_stride, float* c, int c_stride) {
  using V = native::VecOf<W>;
  V sum[Rows][Columns] = {};
  for (int k = 0; k < depth; ++k) {
    V row[Columns];
    for (int v = 0; v < Columns; ++v) row[v] = native::Load<W>(b + k * b_stride + v * W);
    for (int r = 0; r < Rows; ++r) {
      const float factor = a.data[r * a.row_stride + k * a.column_stride];
      for (int v = 0; v < Columns; ++v) sum[r][v] += factor * row[v];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < Columns; ++v) native::Store(c + r * c_stride + v * W, sum[r][v]);
  }
}

template <int W, int Columns>
inline void ProductPanel(int rows, int depth, Left a, const float* b, int b_stride, float* c,
                         int c_stride) {
  constexpr int kTall = Columns == 1 ? 8 : 4;
  int r = 0;
  const auto from = [&](int row) { return Left{a.data + row * a.row_stride, a.row_stride, a.column_stride}; };
  for (; r + kTall <= rows; r += kTall) {
    ProductBlock<W, Columns, kTall>(depth, from(r), b, b_stride, c + r * c_stride, c_stride);
  }
  if (kTall == 8 && r + 4 <= rows) {
    ProductBlock<W, Columns, 4>(depth, from(r), b, b_stride, c + r * c_stride, c_stride);
    r += 4;
  }
  if (r + 2 <= rows) {
    ProductBlock<W, Columns, 2>(depth, from(r), b, b_stride, c + r * c_stride, c_stride);
    r += 2;
  }
  if (r < rows) ProductBlock<W, Columns, 1>(depth, from(r), b, b_stride, c + r * c_stride, c_stride);
}

template <int W>
inline void Product(int rows, int columns, int depth, Left a, const float* b, int b_stride, float* c,
                    int c_stride) {
  // Four columns of vectors fill half of 32 registers; with 16 registers two do.
  constexpr int kWide = native::kWidth == 16 ? 4 : 2;
  int n = 0;
  for (; n + kWide * W <= columns; n += kWide * W) {
    ProductPanel<W, kWide>(rows, depth, a, b + n, b_stride, c + n, c_stride);
  }
  if (kWide == 4 && n + 2 * W <= columns) {
    ProductPanel<W, 2>(rows, depth, a, b + n, b_stride, c + n, c_stride);
    n += 2 * W;
  }
  for (; n < columns; n += W) {
    ProductPanel<W, 1>(rows, depth, a, b + n, b_stride, c + n, c_stride);
  }
}

}  // namespace cuboid

#endif  // HPC_OPS_CUBOID_ATTENTION_SMALL_PRODUCT_H_
