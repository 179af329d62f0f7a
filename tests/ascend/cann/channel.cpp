// acltdt*: the channel by which a device sends printed tensors to the host. Ours never sends any.
#include <unistd.h>

#include <algorithm>

#include "api.h"

namespace {
int channel = 0, dataset = 0;
constexpr aclError kQueueEmpty = 207013;
}  // namespace

API void* acltdtCreateChannel(uint32_t, const char*) { return &channel; }
API void* acltdtCreateChannelWithCapacity(uint32_t, const char*, size_t) { return &channel; }
API aclError acltdtStopChannel(void*) { return kSuccess; }
API aclError acltdtDestroyChannel(void*) { return kSuccess; }
API aclError acltdtCleanChannel(void*) { return kSuccess; }
API aclError acltdtReceiveTensor(const void*, void*, int32_t timeout_ms) {
  usleep(static_cast<useconds_t>(std::clamp(timeout_ms, 1, 100)) * 1000);
  return kQueueEmpty;
}
API void* acltdtCreateDataset() { return &dataset; }
API aclError acltdtDestroyDataset(void*) { return kSuccess; }
API size_t acltdtGetDatasetSize(const void*) { return 0; }
API const char* acltdtGetDatasetName(void*) { return ""; }
API aclError acltdtQueryChannelSize(const void*, size_t* size) {
  *size = 0;
  return kSuccess;
}
