// Small kernels that each break one rule of the emulated core, and correct ones beside them.
// The test asks for one by name and gets the rule that the referee saw broken, or "none".
#include <functional>
#include <map>
#include <string>

#include "launch.h"

using namespace AscendC;

namespace {

float input[1024], output[1024];
const emulator::Device& kDevice = emulator::kAscend910B2;

// Everything that a small kernel needs. `elements` is the size of each buffer.
struct Bench {
  TPipe pipe;
  TQue<TPosition::VECIN, 2> in;
  TQue<TPosition::VECOUT, 2> out;
  TBuf<TPosition::VECCALC> work;
  GlobalTensor<float> x, y;

  explicit Bench(uint32_t elements = 256, int buffers = 2) {
    x.SetGlobalBuffer(input, 1024);
    y.SetGlobalBuffer(output, 1024);
    pipe.InitBuffer(in, buffers, elements * 4);
    pipe.InitBuffer(out, buffers, elements * 4);
    pipe.InitBuffer(work, 4 * elements * 4);
  }
  LocalTensor<float> Load(uint32_t count) {
    LocalTensor<float> a = in.AllocTensor<float>();
    DataCopy(a, x, count);
    in.EnQue(a);
    return in.DeQue<float>();
  }
  void Store(LocalTensor<float>& b, uint32_t count) {
    out.EnQue(b);
    b = out.DeQue<float>();
    DataCopy(y, b, count);
    out.FreeTensor(b);
  }
};

BinaryRepeatParams Strides(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f) {
  return BinaryRepeatParams(a, b, c, d, e, f);
}

const std::map<std::string, std::function<void()>> kKernels = {
    {"a correct kernel", [] {
       Bench k;
       for (int i = 0; i < 3; ++i) {
         LocalTensor<float> a = k.Load(256), b = k.out.AllocTensor<float>();
         Muls(b, a, 2.0f, 256);
         PipeBarrier<PIPE_V>();
         Adds(b, b, 1.0f, 256);
         k.in.FreeTensor(a);
         k.Store(b, 256);
       }
     }},
    {"buffers beyond 192 KB", [] { Bench k(16 * 1024); }},
    {"more buffers than a pipe has", [] { Bench k(8, 40); }},
    {"a vector operand off by 4 bytes", [] {
       Bench k;
       LocalTensor<float> a = k.Load(256), w = k.work.Get<float>();
       Muls(w, a[1], 2.0f, 64);
     }},
    {"a copy of 20 bytes", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>();
       DataCopy(a, k.x, 5);
     }},
    {"256 repeats", [] {
       Bench k;
       LocalTensor<float> w = k.work.Get<float>();
       Muls(w, w, 2.0f, 64, 256, UnaryRepeatParams(1, 1, 8, 8));
     }},
    {"a stride of 256 blocks", [] {
       Bench k;
       LocalTensor<float> w = k.work.Get<float>();
       Add(w, w, w, 64, 1, Strides(1, 1, 1, 8, 8, 256));
     }},
    {"a mask of 65 floats", [] {
       Bench k;
       LocalTensor<float> w = k.work.Get<float>();
       Add(w, w, w, 65, 1, Strides(1, 1, 1, 8, 8, 8));
     }},
    {"4096 rows in a copy", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>();
       DataCopy(a, k.x, DataCopyParams(4096, 1, 0, 0));
     }},
    {"a tensor written past its end", [] {
       Bench k;
       LocalTensor<float> a = k.Load(256), b = k.out.AllocTensor<float>();
       Muls(b, a, 2.0f, 320);
     }},
    {"a global read past the end", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>();
       DataCopy(a, k.x[1000], 64);
     }},
    {"an input written", [] {
       Bench k;
       LocalTensor<float> b = k.out.AllocTensor<float>();
       Duplicate(b, 1.0f, 64);
       k.out.EnQue(b);
       b = k.out.DeQue<float>();
       DataCopy(k.x, b, 64);
     }},
    {"one allocation too many", [] {
       Bench k;
       for (int i = 0; i < 3; ++i) k.in.AllocTensor<float>();
     }},
    {"a queue deeper than declared", [] {
       Bench k(64, 3);
       for (int i = 0; i < 3; ++i) {
         LocalTensor<float> a = k.in.AllocTensor<float>();
         k.in.EnQue(a);
       }
     }},
    {"an empty queue read", [] {
       Bench k;
       k.in.DeQue<float>();
     }},
    {"a tensor freed twice", [] {
       Bench k;
       LocalTensor<float> a = k.Load(64);
       k.in.FreeTensor(a);
       k.in.FreeTensor(a);
     }},
    {"a tensor freed while queued", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>();
       k.in.EnQue(a);
       k.in.FreeTensor(a);
     }},
    {"a tensor given to another queue", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>();
       k.out.EnQue(a);
     }},
    {"a tensor never freed", [] {
       Bench k;
       k.Load(64);
     }},
    {"a tensor used after it was freed", [] {
       Bench k;
       LocalTensor<float> a = k.Load(64), w = k.work.Get<float>();
       k.in.FreeTensor(a);
       Muls(w, a, 2.0f, 64);
     }},
    {"a tensor read before anything wrote it", [] {
       Bench k;
       LocalTensor<float> w = k.work.Get<float>();
       Muls(w, w, 2.0f, 64);
     }},
    {"the padding of a copy read", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>(), w = k.work.Get<float>();
       DataCopyPad(a, k.x, DataCopyExtParams(1, 20, 0, 0, 0), DataCopyPadExtParams<float>());
       k.in.EnQue(a);
       a = k.in.DeQue<float>();
       Muls(w, a, 2.0f, 8);
     }},
    {"the padding of a copy read after it was filled", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>(), b = k.out.AllocTensor<float>();
       DataCopyPad(a, k.x, DataCopyExtParams(1, 20, 0, 0, 0), DataCopyPadExtParams<float>(true, 0, 3, 0.0f));
       k.in.EnQue(a);
       a = k.in.DeQue<float>();
       Muls(b, a, 2.0f, 8);
       k.in.FreeTensor(a);
       k.Store(b, 8);
     }},
    {"an output that is read", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>();
       DataCopy(a, k.y, 64);
     }},
    {"no barrier between dependent instructions", [] {
       Bench k;
       LocalTensor<float> w = k.work.Get<float>();
       Duplicate(w, 1.0f, 64);
       Adds(w[64], w, 1.0f, 64);
     }},
    {"a copy read without a flag", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>(), w = k.work.Get<float>();
       DataCopy(a, k.x, 64);
       Muls(w, a, 2.0f, 64);
     }},
    {"a copy read after its flag", [] {
       Bench k;
       LocalTensor<float> a = k.in.AllocTensor<float>(), b = k.out.AllocTensor<float>();
       DataCopy(a, k.x, 64);
       const event_t id = static_cast<event_t>(GetTPipePtr()->FetchEventID(HardEvent::MTE2_V));
       SetFlag<HardEvent::MTE2_V>(id);
       WaitFlag<HardEvent::MTE2_V>(id);
       Muls(b, a, 2.0f, 64);
       k.in.EnQue(a);
       a = k.in.DeQue<float>();
       k.in.FreeTensor(a);
       k.Store(b, 64);
     }},
    {"a copy over what is still being read", [] {
       Bench k;
       LocalTensor<float> a = k.Load(64), w = k.work.Get<float>();
       Muls(w, a, 2.0f, 64);
       DataCopy(a, k.x, 64);
     }},
    {"a scalar read without a flag", [] {
       Bench k;
       LocalTensor<float> w = k.work.Get<float>();
       Duplicate(w, 1.0f, 64);
       w.GetValue(3);
     }},
    {"a store before the result is there", [] {
       Bench k;
       LocalTensor<float> b = k.out.AllocTensor<float>();
       Duplicate(b, 1.0f, 64);
       DataCopy(k.y, b, 64);
     }},
    {"a flag never waited for", [] { SetFlag<HardEvent::V_MTE2>(0); }},
    {"a flag never set", [] { WaitFlag<HardEvent::V_MTE2>(0); }},
    {"a flag set twice", [] {
       SetFlag<HardEvent::V_MTE2>(0);
       SetFlag<HardEvent::V_MTE2>(0);
     }},
    {"more queued tensors than events", [] {
       TPipe pipe;
       TQue<TPosition::VECIN, 9> in;
       pipe.InitBuffer(in, 9, 64);
       for (int i = 0; i < 9; ++i) {
         LocalTensor<float> a = in.AllocTensor<float>();
         in.EnQue(a);
       }
     }},
    {"an event id fetched while freed buffers hold all of them", [] {
       TPipe pipe;
       TQue<TPosition::VECIN, 8> in;
       pipe.InitBuffer(in, 8, 64);
       LocalTensor<float> tensors[8];
       for (LocalTensor<float>& a : tensors) a = in.AllocTensor<float>();
       for (LocalTensor<float>& a : tensors) in.FreeTensor(a);
       pipe.FetchEventID(HardEvent::V_MTE2);
     }},
    {"an event id of 8", [] { SetFlag<HardEvent::V_MTE2>(8); }},
    {"repeats that depend on each other", [] {
       Bench k;
       LocalTensor<float> a = k.Load(256), w = k.work.Get<float>();
       Duplicate(w, 0.0f, 64);
       PipeBarrier<PIPE_V>();
       MulAddDst(w, a, a, 64, 4, Strides(1, 1, 1, 0, 8, 8));
     }},
    {"source and destination that overlap in part", [] {
       Bench k;
       LocalTensor<float> w = k.work.Get<float>();
       Duplicate(w, 0.0f, 128);
       PipeBarrier<PIPE_V>();
       Adds(w[8], w, 1.0f, 64);
     }},
    {"a widening cast that rounds", [] {
       Bench k;
       LocalTensor<float> w = k.work.Get<float>();
       LocalTensor<half> h = w[512].ReinterpretCast<half>();
       Duplicate(h, half(1), 64);
       PipeBarrier<PIPE_V>();
       Cast(w, h, RoundMode::CAST_RINT, 64);
     }},
};

}  // namespace

extern "C" const char* broken_rule(const char* name) {
  static std::string rule;
  rule = "none";
  for (int i = 0; i < 1024; ++i) input[i] = i;
  emulator::Core core(kDevice, 0, 1);
  emulator::Regions() = {emulator::Region(input, sizeof(input), false), emulator::Region(output, sizeof(output), true)};
  emulator::Current() = &core;
  try {
    kKernels.at(name)();
    core.Finish();
  } catch (const emulator::Violation& violation) {
    rule = violation.rule;
  }
  return rule.c_str();
}

// Two cores that write the same bytes, and an output that is not written whole.
extern "C" const char* broken_launch_rule(int cores, int stride) {
  static std::string rule;
  rule = "none";
  try {
    emulator::Launch(kDevice, cores, {emulator::Region(output, 256, true)}, [=] {
      Bench k;
      LocalTensor<float> b = k.out.AllocTensor<float>();
      Duplicate(b, 1.0f, 64);
      k.out.EnQue(b);
      b = k.out.DeQue<float>();
      DataCopy(k.y[GetBlockIdx() * stride], b, 32);
      k.out.FreeTensor(b);
    });
  } catch (const emulator::Violation& violation) {
    rule = violation.rule;
  }
  return rule.c_str();
}

// Cycles that one Add of 8 repeats takes when each block of a repeat lies `stride` blocks from the last.
extern "C" double add_cycles(int stride) {
  emulator::Core core(kDevice, 0, 1);
  emulator::Current() = &core;
  TPipe pipe;
  TBuf<> work;
  pipe.InitBuffer(work, 128 * 1024);
  LocalTensor<float> w = work.Get<float>();
  Duplicate(w, 1.0f, 32 * 1024);
  PipeBarrier<PIPE_V>();
  const double before = core.counters.busy[emulator::kVector];
  Muls(w[16 * 1024 + 64], w, 1.0f, 64, 1, UnaryRepeatParams(1, stride, 8, 8));
  return core.counters.busy[emulator::kVector] - before;
}

// Cycles of a chain of dependent instructions and of independent ones: a barrier costs the latency.
extern "C" double chain_cycles(int instructions, bool dependent) {
  emulator::Core core(kDevice, 0, 1);
  emulator::Current() = &core;
  TPipe pipe;
  TBuf<> work;
  pipe.InitBuffer(work, 128 * 1024);
  LocalTensor<float> w = work.Get<float>();
  for (int i = 0; i < instructions; ++i) {
    Duplicate(w[i * 64], 1.0f, 64);
    if (dependent) PipeBarrier<PIPE_V>();
  }
  return core.cycles();
}
