#include "faults.h"

#include <atomic>
#include <cstdlib>

#include "report.h"

namespace standin::faults {
namespace {
struct Wanted {
  std::string kind;
  long at = 0;
  std::atomic<long> seen{0};
  Wanted() {
    const std::string text = option("FAULT", "");
    const long only = option_number("FAULT_RANK", -1);
    if (text.empty() || (only >= 0 && only != rank())) return;
    const size_t mark = text.find('@');
    kind = text.substr(0, mark);
    at = mark == std::string::npos ? 1 : std::strtol(text.c_str() + mark + 1, nullptr, 10);
  }
};
}  // namespace

bool due(const std::string& kind) {
  static Wanted wanted;
  return wanted.kind == kind && ++wanted.seen >= wanted.at;
}
}  // namespace standin::faults
