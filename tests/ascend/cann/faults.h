// Faults on request: PREDIFF_STANDIN_FAULT is "<kind>@<n>", at the n-th launch of this process:
// device_lost, link_down (at the n-th message), notify_timeout (the same), out_of_memory (at the
// n-th allocation); PREDIFF_STANDIN_FAULT_RANK limits it to one rank.
#pragma once
#include <string>

namespace standin::faults {
// True when the fault `kind` is due now; counts the call.
bool due(const std::string& kind);
}  // namespace standin::faults
