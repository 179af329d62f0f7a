// Small kernels for a cube core and its two vector cores that each break one rule, and one that does not.
//
// The cube core multiplies x [16, 16] by its own transpose and leaves the product in the workspace; the
// vector cores copy it to the output. A kernel is that, with one step changed.
#include <cstring>
#include <functional>
#include <map>
#include <string>

#include "launch.h"

using namespace AscendC;

namespace {

constexpr int kRows = 16, kElements = 256;
half input[kElements];
float output[2 * kElements], shared[2 * kElements];
const emulator::Device& kDevice = emulator::kAscend910B2;

// What a kernel changes. Each step of the correct kernel can be left out or replaced.
struct Change {
  bool load_flag = true, product_flag = true, store_flag = true, cross_flag = true;
  int rows = kRows, k = kRows, m = kRows;
  bool reload = false;           // the rows again, while they may still be read
  bool again = false;            // the product again, while it may still be stored
  bool answer = false;           // the cube core writes once more, after no answer
  bool to_output = false;        // the product to the output as well
  bool early = false;            // the vector cores wait for a flag that is set before the product
  QuantMode_t quant = QuantMode_t::NoQuant;
  std::function<void()> cube = [] {}, vector = [] {};
};

template <HardEvent event>
void Order(TPipe& pipe) {
  const TEventID id = pipe.AllocEventID<event>();
  SetFlag<event>(id);
  WaitFlag<event>(id);
  pipe.ReleaseEventID<event>(id);
}

void Cube(TPipe& pipe, const Change& change) {
  TBuf<TPosition::A1> rows;
  TBuf<TPosition::A2> left;
  TBuf<TPosition::B2> right;
  TBuf<TPosition::CO1> sums;
  pipe.InitBuffer(rows, 2 * kElements);
  pipe.InitBuffer(left, 2 * kElements);
  pipe.InitBuffer(right, 2 * kElements);
  pipe.InitBuffer(sums, 4 * kElements);
  GlobalTensor<half> x;
  GlobalTensor<float> y;
  x.SetGlobalBuffer(input, kElements);
  y.SetGlobalBuffer(shared, 2 * kElements);
  const LocalTensor<half> l1 = rows.Get<half>(), a = left.Get<half>(), b = right.Get<half>();
  const LocalTensor<float> c = sums.Get<float>();
  if (change.early) CrossCoreSetFlag<2, PIPE_MTE2>(6);
  const Nd2NzParams copy(1, change.rows, 16, 0, 16, 16, 1, 0);
  DataCopy(l1, x, copy);
  if (change.load_flag) Order<HardEvent::MTE2_MTE1>(pipe);
  LoadData(a, l1, LoadData2DParams(0, 1, 1, 0, 0, false, 0));
  LoadData(b, l1, LoadData2DParams(0, 1, 1, 0, 0, false, 0));
  if (change.reload) DataCopy(l1, x, copy);
  if (change.product_flag) Order<HardEvent::MTE1_M>(pipe);
  MmadParams size;
  size.m = change.m;
  size.n = 16;
  size.k = change.k;
  Mmad(c, a, b, size);
  if (change.store_flag) Order<HardEvent::M_FIX>(pipe);
  FixpipeParamsV220 out;
  out.nSize = 16;
  out.mSize = kRows;
  out.srcStride = 16;
  out.dstStride = 16;
  out.quantPre = change.quant;
  Fixpipe<float, float, CFG_ROW_MAJOR>(y, c, out);
  if (change.to_output) {
    y.SetGlobalBuffer(output, 2 * kElements);
    Fixpipe<float, float, CFG_ROW_MAJOR>(y, c, out);
  }
  if (change.again) Mmad(c, a, b, size);
  change.cube();
  CrossCoreSetFlag<2, PIPE_FIX>(0);
  if (change.answer) Fixpipe<float, float, CFG_ROW_MAJOR>(y, c, out);
}

void Vector(TPipe& pipe, const Change& change) {
  TQue<TPosition::VECIN, 1> in;
  TQue<TPosition::VECOUT, 1> out;
  pipe.InitBuffer(in, 1, 4 * kElements);
  pipe.InitBuffer(out, 1, 4 * kElements);
  GlobalTensor<float> x, y;
  x.SetGlobalBuffer(shared, 2 * kElements);
  y.SetGlobalBuffer(output, 2 * kElements);
  change.vector();
  if (change.early) CrossCoreWaitFlag(6);
  if (change.cross_flag) CrossCoreWaitFlag(0);
  LocalTensor<float> a = in.AllocTensor<float>(), b = out.AllocTensor<float>();
  DataCopy(a, x, kElements);
  in.EnQue(a);
  a = in.DeQue<float>();
  Adds(b, a, 0.0f, kElements);
  in.FreeTensor(a);
  out.EnQue(b);
  b = out.DeQue<float>();
  DataCopy(y[GetSubBlockIdx() * kElements], b, kElements);
  out.FreeTensor(b);
  if (!change.cross_flag) CrossCoreWaitFlag(0);
}

template <typename T>
Change With(T Change::*member, T value) {
  Change change;
  change.*member = value;
  return change;
}

Change OnCube(std::function<void()> step) { return With(&Change::cube, std::move(step)); }
Change OnVector(std::function<void()> step) { return With(&Change::vector, std::move(step)); }

Change Rows(int rows, int k) {
  Change change;
  change.rows = rows;
  change.k = k;
  return change;
}

Change Early() {
  Change change;
  change.early = true;
  change.cross_flag = false;
  return change;
}

// Buffers of a pipe of its own, for an instruction that fails before it computes.
template <TPosition position>
LocalTensor<half> Buffer(uint32_t bytes) {
  TBuf<position> buffer;
  GetTPipePtr()->InitBuffer(buffer, bytes);
  return buffer.template Get<half>();
}

const std::map<std::string, Change> kKernels = {
    {"a correct kernel", Change{}},
    {"a copy not waited for", With(&Change::load_flag, false)},
    {"a product of what is being loaded", With(&Change::product_flag, false)},
    {"a sum stored before it is there", With(&Change::store_flag, false)},
    {"a sum overwritten while it is stored", With(&Change::again, true)},
    {"rows overwritten while they are loaded", With(&Change::reload, true)},
    {"the workspace read before anything wrote it", With(&Change::cross_flag, false)},
    {"the workspace read after a flag that says nothing of it", Early()},
    {"the workspace overwritten while it is read", With(&Change::answer, true)},
    {"an output of two kinds of cores", With(&Change::to_output, true)},
    {"a row of the sums that nothing wrote", Rows(13, 16)},
    {"columns that nothing wrote", Rows(13, 13)},
    {"a product of one row", With(&Change::m, 1)},
    {"a sum rounded to another type", With(&Change::quant, QuantMode_t::F322F16)},
    {"a vector instruction on a cube core", OnCube([] { Duplicate(Buffer<TPosition::A1>(512), half(0), 64); })},
    {"a vector buffer on a cube core", OnCube([] { Buffer<TPosition::VECCALC>(512); })},
    {"a product on a vector core", OnVector([] {
       const LocalTensor<half> w = Buffer<TPosition::VECCALC>(2048);
       Mmad(w.ReinterpretCast<float>(), w, w, MmadParams{});
     })},
    {"a left matrix in L0B", OnCube([] {
       MmadParams size;
       size.m = size.n = size.k = 16;
       const LocalTensor<half> b = Buffer<TPosition::B2>(512);
       Mmad(Buffer<TPosition::CO1>(1024).ReinterpretCast<float>(), b, b, size);
     })},
    {"L0C beyond 128 KB", OnCube([] { Buffer<TPosition::CO1>(128 * 1024); })},
    {"L0A beyond 64 KB", OnCube([] { Buffer<TPosition::A2>(64 * 1024); })},
    {"L1 beyond 512 KB", OnCube([] { Buffer<TPosition::A1>(512 * 1024); })},
    {"256 fractals in a load", OnCube([] { LoadData2DParams(0, 256, 1, 0, 0, false, 0); })},
    {"rows 65536 elements apart", OnCube([] { Nd2NzParams(1, 2, 16, 0, 65536, 16, 1, 0); })},
    {"fractals off by a block", OnCube([] {
       const LocalTensor<half> l1 = Buffer<TPosition::A1>(1024);
       LoadData(Buffer<TPosition::A2>(1024)[16], l1, LoadData2DParams(0, 1, 1, 0, 0, false, 0));
     })},
    {"a flag between cores that nothing sets", OnVector([] { CrossCoreWaitFlag(3); })},
    {"a flag between cores that nothing waits for", OnCube([] { CrossCoreSetFlag<2, PIPE_FIX>(3); })},
    {"a flag of one vector core only", OnCube([] { CrossCoreWaitFlag(4); })},
    {"a flag between cores with the id 11", OnCube([] { CrossCoreSetFlag<2, PIPE_FIX>(11); })},
    {"16 flags that nothing waited for", OnCube([] {
       for (int i = 0; i < 16; ++i) CrossCoreSetFlag<2, PIPE_FIX>(5);
     })},
    {"an event id that was not allocated", OnCube([] { GetTPipePtr()->ReleaseEventID<HardEvent::MTE1_M>(5); })},
};

}  // namespace

extern "C" const char* broken_rule(const char* name) {
  static std::string rule;
  rule = "none";
  for (int i = 0; i < kElements; ++i) input[i] = half(i % 7 - 3);
  const Change& change = kKernels.at(name);
  try {
    emulator::Launch(kDevice, 2,
                     {emulator::Region(input, sizeof(input), false), emulator::Region(output, sizeof(output), true),
                      emulator::Region(shared, sizeof(shared), emulator::Access::kWorkspace)},
                     [&] {
                       TPipe pipe;
                       if ASCEND_IS_AIC {
                         Cube(pipe, change);
                       }
                       if ASCEND_IS_AIV {
                         Vector(pipe, change);
                         if (name == std::string("a flag of one vector core only") && GetSubBlockIdx() == 0) {
                           CrossCoreSetFlag<2, PIPE_MTE3>(4);
                         }
                       }
                     },
                     true);
  } catch (const emulator::Violation& violation) {
    rule = violation.rule;
  }
  return rule.c_str();
}

// Whether both copies in the output are x times its transpose; after the correct kernel.
extern "C" int product_is_right() {
  for (int i = 0; i < kElements; ++i) {
    float sum = 0;
    for (int k = 0; k < 16; ++k) sum += float(input[i / 16 * 16 + k]) * float(input[i % 16 * 16 + k]);
    if (output[i] != sum || output[kElements + i] != sum) return 0;
  }
  return 1;
}
