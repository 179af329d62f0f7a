// The emulated operators as MindSpore calls them, and what the last launch counted.
#include <sstream>

#include "run.h"

int Forwardfloat16(const native::Arguments& a);
int Forwardbfloat(const native::Arguments& a);
int Forwardfloat(const native::Arguments& a);
int Gradientfloat16(const native::Arguments& a);
int Gradientbfloat(const native::Arguments& a);
int Gradientfloat(const native::Arguments& a);

// qkv, table, relative, mask, dropout, settings -> out
NATIVE_OPERATOR(CuboidAttentionEmulated) {
  if (arguments.Is(0, "bfloat16")) return Forwardbfloat(arguments);
  return arguments.Is(0, "float16") ? Forwardfloat16(arguments) : Forwardfloat(arguments);
}

// qkv, table, relative, mask, dropout, settings, dout -> dqkv, partial [cores, heads, L, Lp]
NATIVE_OPERATOR(CuboidAttentionEmulatedGrad) {
  if (arguments.Is(0, "bfloat16")) return Gradientbfloat(arguments);
  return arguments.Is(0, "float16") ? Gradientfloat16(arguments) : Gradientfloat(arguments);
}

// What the last launch of this thread counted, as JSON.
extern "C" const char* CuboidAttentionLastReport() {
  static std::string text;
  const emulator::Report& report = emulator::LastReport();
  const emulator::Device& device = emulator::kAscend910B2;
  std::ostringstream json;
  json << "{\"device\": \"" << device.name << "\", \"tiling_key\": " << emulator::TilingKey()
       << ", \"microseconds\": " << report.Microseconds(device) << ", \"cycles\": " << report.cycles
       << ", \"mean_cycles\": " << report.mean_cycles << ", \"memory_cycles\": " << report.memory_cycles
       << ", \"unified_buffer_bytes\": " << report.unified_buffer_bytes << ", \"barriers\": " << report.slowest.barriers
       << ", \"conflict_cycles\": " << report.slowest.conflict_cycles << ", \"pipes\": {";
  // Of the slowest vector core; M, MTE1, FIX and "MTE2 of the cube core" of the slowest cube core.
  for (int pipe = 0; pipe < emulator::kPipes; ++pipe) {
    const bool of_cube = pipe == emulator::kLoad || pipe == emulator::kCube || pipe == emulator::kFix;
    const emulator::Counters& counters = of_cube ? report.slowest_cube : report.slowest;
    json << "\"" << emulator::NameOf(pipe) << "\": {\"instructions\": " << counters.instructions[pipe]
         << ", \"busy_cycles\": " << counters.busy[pipe] << ", \"bytes_of_launch\": " << report.total.bytes[pipe]
         << "}, ";
  }
  json << "\"MTE2 of the cube core\": {\"instructions\": " << report.slowest_cube.instructions[emulator::kCopyIn]
       << ", \"busy_cycles\": " << report.slowest_cube.busy[emulator::kCopyIn] << "}}, \"repeats\": {";
  bool first = true;
  for (const auto& [name, repeats] : report.slowest.repeats_of) {
    json << (first ? "" : ", ") << "\"" << name << "\": " << repeats;
    first = false;
  }
  json << "}}";
  text = json.str();
  return text.c_str();
}

extern "C" const char* CuboidAttentionLastError() { return emulator::LastError().c_str(); }
