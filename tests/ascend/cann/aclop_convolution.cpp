// Convolutions of the older interface, plain NCHW and NCDHW.
#include "aclop.h"
#include "convolution.h"

using standin::Call;
using standin::Convolution;
using standin::read;
using standin::write;

namespace {
// strides and dilations have an entry for each axis of the tensors; pads are begin and end of each
// axis that is convolved, here the same on both sides
Convolution made(Call& c, const Dims& x, const Dims& w, const Dims& y) {
  const Dims pads = c.whole_numbers("pads"), strides = c.whole_numbers("strides"),
             dilations = c.whole_numbers("dilations");
  Dims begins;
  for (size_t i = 0; i + 1 < pads.size(); i += 2) begins.push_back(pads[i]);
  const auto tail = [&](const Dims& all) { return Dims(all.end() - begins.size(), all.end()); };
  return Convolution(x, w, y, tail(strides), begins, tail(dilations),
                     static_cast<int64_t>(c.number("groups", 1)));
}
void forward(Call& c) {
  const auto conv = made(c, c.in[0].shape, c.in[1].shape, c.out[0].shape);
  auto y = conv.forward(read<float>(c.in[0]), read<float>(c.in[1]));
  if (c.in.size() > 2 && c.in[2].present()) {
    const auto b = read<float>(c.in[2]);
    const int64_t inner = y.size() / (c.out[0].shape[0] * c.out[0].shape[1]);
    for (size_t i = 0; i < y.size(); ++i) y[i] += b[i / inner % b.size()];
  }
  write(c.out[0], y);
}
void input_gradient(Call& c) {  // input size, filter, gradient
  const auto conv = made(c, c.out[0].shape, c.in[1].shape, c.in[2].shape);
  write(c.out[0], conv.input_gradient(read<float>(c.in[2]), read<float>(c.in[1])));
}
void weight_gradient(Call& c) {  // x, filter size, gradient
  const auto conv = made(c, c.in[0].shape, c.out[0].shape, c.in[2].shape);
  write(c.out[0], conv.weight_gradient(read<float>(c.in[0]), read<float>(c.in[2])));
}
}  // namespace

ACLOP(Conv2D) { forward(c); }
ACLOP(Conv2DBackpropInput) { input_gradient(c); }
ACLOP(Conv2DBackpropFilter) { weight_gradient(c); }
ACLOP(Conv3D) { forward(c); }
ACLOP(Conv3DBackpropInput) { input_gradient(c); }
ACLOP(Conv3DBackpropFilter) { weight_gradient(c); }
