// Convolution in three dimensions (fewer are axes of length 1), forward and gradients, as plain loops.
#pragma once
#include <array>

#include "tensors.h"

namespace standin {
struct Convolution {
  using Triple = std::array<int64_t, 3>;
  int64_t batch, in, out, groups;  // channels in and out
  Triple size, kernel, result, stride, pad, dilation;

  // `x` [N, C, (D,) (H,) W] and `w` [O, C / groups, ...] of the same rank; settings of the last axes.
  Convolution(const Dims& x, const Dims& w, const Dims& y, const Dims& stride_, const Dims& pad_,
              const Dims& dilation_, int64_t groups_);
  std::vector<float> forward(const std::vector<float>& x, const std::vector<float>& w) const;
  std::vector<float> input_gradient(const std::vector<float>& dy, const std::vector<float>& w) const;
  std::vector<float> weight_gradient(const std::vector<float>& x, const std::vector<float>& dy) const;

 private:
  // Calls f(place in x, place in w, place in y, run length, step in x) for rows of outputs.
  template <class F>
  void rows(F f) const;
};
}  // namespace standin
