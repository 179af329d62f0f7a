// Three-dimensional convolutions of the older interface, plain NCDHW.
#include "aclop.h"
#include "convolution.h"

using standin::Call;
using standin::Convolution;
using standin::read;
using standin::write;

namespace {
Dims three(const Dims& five) { return Dims(five.end() - 3, five.end()); }
// pads are begin and end of each axis; ours are the same on both sides
Dims begins(const Dims& six) { return {six[0], six[2], six[4]}; }
Convolution made(Call& c, const Dims& x, const Dims& w, const Dims& y) {
  return Convolution(x, w, y, three(c.whole_numbers("strides")), begins(c.whole_numbers("pads")),
                     three(c.whole_numbers("dilations")),
                     static_cast<int64_t>(c.number("groups", 1)));
}
}  // namespace

ACLOP(Conv3D) {
  const auto conv = made(c, c.in[0].shape, c.in[1].shape, c.out[0].shape);
  auto y = conv.forward(read<float>(c.in[0]), read<float>(c.in[1]));
  if (c.in.size() > 2 && c.in[2].present()) {
    const auto b = read<float>(c.in[2]);
    const int64_t inner = y.size() / (c.out[0].shape[0] * c.out[0].shape[1]);
    for (size_t i = 0; i < y.size(); ++i) y[i] += b[i / inner % b.size()];
  }
  write(c.out[0], y);
}
ACLOP(Conv3DBackpropInput) {  // input size, filter, gradient
  const auto conv = made(c, c.out[0].shape, c.in[1].shape, c.in[2].shape);
  write(c.out[0], conv.input_gradient(read<float>(c.in[2]), read<float>(c.in[1])));
}
ACLOP(Conv3DBackpropFilter) {  // x, filter size, gradient
  const auto conv = made(c, c.in[0].shape, c.out[0].shape, c.in[2].shape);
  write(c.out[0], conv.weight_gradient(read<float>(c.in[0]), read<float>(c.in[2])));
}
