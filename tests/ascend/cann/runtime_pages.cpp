// aclrtReserveMemAddress, aclrtMallocPhysical, aclrtMapMem: addresses first, pages later.
#include "api.h"
#include "faults.h"
#include "memory.h"
#include "report.h"

namespace {
struct Pages {
  size_t bytes;
};
size_t physical = 0;
}  // namespace

API aclError aclrtReserveMemAddress(void** pointer, size_t bytes, size_t, void*, uint64_t) {
  *pointer = standin::memory::reserve(bytes);
  return *pointer ? kSuccess : kMemoryAllocation;
}
API aclError aclrtReleaseMemAddress(void*) { return kSuccess; }
API aclError aclrtMallocPhysical(void** handle, size_t bytes, const void*, uint64_t) {
  if (standin::faults::due("out_of_memory") || physical + bytes > standin::memory::capacity()) {
    standin::remember("out of memory: " + std::to_string(bytes) + " bytes asked, " +
                      std::to_string(physical) + " of " +
                      std::to_string(standin::memory::capacity()) + " in use");
    return kMemoryAllocation;
  }
  physical += bytes;
  *handle = new Pages{bytes};
  return kSuccess;
}
API aclError aclrtFreePhysical(void* handle) {
  physical -= static_cast<Pages*>(handle)->bytes;
  delete static_cast<Pages*>(handle);
  return kSuccess;
}
API aclError aclrtMapMem(void* pointer, size_t bytes, size_t, void*, uint64_t) {
  if (standin::memory::map(pointer, bytes)) return kSuccess;
  standin::found("aclrtMapMem over memory that is mapped already");
  return kRuntimeInvalidParam;
}
API aclError aclrtUnmapMem(void* pointer) {
  if (standin::memory::unmap(pointer)) return kSuccess;
  standin::found("aclrtUnmapMem of memory that is not mapped");
  return kRuntimeInvalidParam;
}
API aclError aclrtMemGetAllocationGranularity(const void*, int, size_t* bytes) {
  *bytes = size_t(2) << 20;
  return kSuccess;
}
