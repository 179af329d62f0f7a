// aclrt*: device, context, memory, streams, events. Names and codes as in the public reference.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "api.h"
#include "faults.h"
#include "memory.h"
#include "report.h"
#include "streams.h"

using standin::Event;
using standin::Stream;
namespace memory = standin::memory;

namespace {
int device_number = 0;
int context_token = 0;
thread_local aclrtContext current_context = nullptr;
thread_local char recent_message[512];

int devices() { return static_cast<int>(standin::option_number("DEVICES", 8)); }

aclError copy(const char* who, void* to, size_t room, const void* from, size_t bytes) {
  if (bytes > room) {
    standin::found(std::string(who) + " copies " + std::to_string(bytes) + " bytes into " +
                   std::to_string(room));
    return kRuntimeInvalidParam;
  }
  standin::host_accesses(
      who, memory::on_device(from) ? std::vector<standin::ordering::Range>{{from, bytes}}
                                   : std::vector<standin::ordering::Range>{},
      memory::on_device(to) ? std::vector<standin::ordering::Range>{{to, bytes}}
                            : std::vector<standin::ordering::Range>{});
  std::memmove(to, from, bytes);
  return Stream::failure();
}
}  // namespace

API aclError aclInit(const char*) {
  standin::say("device \"stand-in\" answers in the place of CANN: nothing here ran on silicon");
  return kSuccess;
}
API aclError aclFinalize() { return kSuccess; }
API const char* aclGetRecentErrMsg() {
  std::strncpy(recent_message, standin::last_error().c_str(), sizeof recent_message - 1);
  return recent_message;
}
API aclError aclrtGetLastError(int) { return Stream::failure(); }
API aclError aclrtPeekAtLastError(int) { return Stream::failure(); }
API const char* aclrtGetSocName() {
  static const std::string name = standin::option("SOC", "Ascend910B1");
  return name.c_str();
}
API aclError aclrtGetDeviceCount(uint32_t* count) {
  *count = devices();
  return kSuccess;
}
API aclError aclrtSetDevice(int32_t device) {
  if (device < 0 || device >= devices()) return kNoDevice;
  device_number = device;
  current_context = &context_token;
  return kSuccess;
}
API aclError aclrtGetDevice(int32_t* device) {
  if (!current_context) return kContextNull;
  *device = device_number;
  return kSuccess;
}
API aclError aclrtResetDevice(int32_t) {
  for (Stream* stream : standin::all_streams()) stream->synchronize(-1);
  return kSuccess;
}
API aclError aclrtResetDeviceForce(int32_t device) { return aclrtResetDevice(device); }
API aclError aclrtCreateContext(aclrtContext* context, int32_t device) {
  *context = &context_token;
  current_context = *context;
  device_number = device;
  return kSuccess;
}
API aclError aclrtDestroyContext(aclrtContext) { return kSuccess; }
API aclError aclrtSetCurrentContext(aclrtContext context) {
  current_context = context;
  return context ? kSuccess : kRuntimeInvalidParam;
}
API aclError aclrtGetCurrentContext(aclrtContext* context) {
  *context = current_context;
  return current_context ? kSuccess : kContextNull;
}
API aclError aclrtGetRunMode(int* mode) {
  *mode = 1;  // the program runs on the host
  return kSuccess;
}

API aclError aclrtMalloc(void** pointer, size_t bytes, int) {
  *pointer = standin::faults::due("out_of_memory") ? nullptr : memory::allocate(bytes);
  if (*pointer) return kSuccess;
  standin::remember("out of memory: " + std::to_string(bytes) + " bytes asked, " +
                    std::to_string(memory::in_use()) + " of " + std::to_string(memory::capacity()) +
                    " in use");
  return kMemoryAllocation;
}
API aclError aclrtMallocAlign32(void** pointer, size_t bytes, int policy) {
  return aclrtMalloc(pointer, bytes, policy);
}
API aclError aclrtMallocCached(void** pointer, size_t bytes, int policy) {
  return aclrtMalloc(pointer, bytes, policy);
}
API aclError aclrtFree(void* pointer) {
  for (Stream* stream : standin::all_streams()) stream->synchronize(-1);
  if (!memory::release(pointer)) {
    standin::found("aclrtFree of a pointer that is no living block");
    return kRuntimeInvalidParam;
  }
  return kSuccess;
}
API aclError aclrtMallocHost(void** pointer, size_t bytes) {
  *pointer = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  return *pointer ? kSuccess : kMemoryAllocation;
}
API aclError aclrtFreeHost(void* pointer) {
  std::free(pointer);
  return kSuccess;
}
API aclError aclrtGetMemInfo(int, size_t* vacant, size_t* total) {
  *total = memory::capacity();
  *vacant = *total - memory::in_use();
  return kSuccess;
}
API aclError aclrtMemset(void* pointer, size_t room, int32_t value, size_t count) {
  if (count > room) return kRuntimeInvalidParam;
  standin::host_accesses("aclrtMemset", {}, {{pointer, count}});
  std::memset(pointer, value, count);
  return Stream::failure();
}
API aclError aclrtMemcpy(void* to, size_t room, const void* from, size_t count, int) {
  return copy("aclrtMemcpy", to, room, from, count);
}
API aclError aclrtMemcpyAsync(void* to, size_t room, const void* from, size_t count, int,
                              aclrtStream stream) {
  if (count > room) {
    standin::found("aclrtMemcpyAsync copies " + std::to_string(count) + " bytes into " +
                   std::to_string(room));
    return kRuntimeInvalidParam;
  }
  std::vector<standin::ordering::Range> reads, writes;
  if (memory::on_device(from)) reads.push_back({from, count});
  if (memory::on_device(to)) writes.push_back({to, count});
  return standin::stream_of(stream)->launch(
      "aclrtMemcpyAsync", [=] { std::memmove(to, from, count); }, reads, writes);
}
API aclError aclrtMemsetAsync(void* pointer, size_t room, int32_t value, size_t count,
                              aclrtStream stream) {
  if (count > room) return kRuntimeInvalidParam;
  return standin::stream_of(stream)->launch(
      "aclrtMemsetAsync", [=] { std::memset(pointer, value, count); }, {}, {{pointer, count}});
}

API aclError aclrtCreateStream(aclrtStream* stream) {
  *stream = new Stream;
  return kSuccess;
}
API aclError aclrtCreateStreamWithConfig(aclrtStream* stream, uint32_t, uint32_t) {
  return aclrtCreateStream(stream);
}
API aclError aclrtDestroyStream(aclrtStream stream) {
  if (stream) delete static_cast<Stream*>(stream);
  return kSuccess;
}
API aclError aclrtDestroyStreamForce(aclrtStream stream) { return aclrtDestroyStream(stream); }
API aclError aclrtSynchronizeStream(aclrtStream stream) {
  return standin::stream_of(stream)->synchronize(-1);
}
API aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout_ms) {
  return standin::stream_of(stream)->synchronize(timeout_ms);
}
API aclError aclrtSynchronizeDevice() {
  for (Stream* stream : standin::all_streams()) stream->synchronize(-1);
  return Stream::failure();
}
API aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout_ms) {
  for (Stream* stream : standin::all_streams()) {
    if (aclError code = stream->synchronize(timeout_ms)) return code;
  }
  return Stream::failure();
}
API aclError aclrtStreamQuery(aclrtStream stream, int* status) {
  *status = standin::stream_of(stream)->idle() ? 0 : 1;  // 0 complete, 1 not ready
  return kSuccess;
}

API aclError aclrtCreateEvent(aclrtEvent* event) {
  *event = new Event;
  return kSuccess;
}
API aclError aclrtCreateEventWithFlag(aclrtEvent* event, uint32_t) { return aclrtCreateEvent(event); }
API aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t) {
  return aclrtCreateEvent(event);
}
// Records and waits that are still queued hold the event, as the device does: it is kept.
API aclError aclrtDestroyEvent(aclrtEvent) { return kSuccess; }
API aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
  standin::stream_of(stream)->record(static_cast<Event*>(event));
  return kSuccess;
}
API aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) {
  static const long skip = standin::option_number("DROP_EVENT_WAIT", 0);
  static long seen = 0;
  if (skip && ++seen >= skip) return kSuccess;  // a mistake injected by a test
  standin::stream_of(stream)->wait(static_cast<Event*>(event));
  return kSuccess;
}
API aclError aclrtResetEvent(aclrtEvent, aclrtStream) { return kSuccess; }
API aclError aclrtSynchronizeEvent(aclrtEvent handle) {
  Event* event = static_cast<Event*>(handle);
  {
    std::unique_lock<std::mutex> hold(event->lock);
    const uint64_t turn = event->asked;
    while (event->done < turn && !Stream::failure()) {
      event->changed.wait_for(hold, std::chrono::milliseconds(200));
    }
  }
  standin::host_waited_for(event);
  return Stream::failure();
}
API aclError aclrtQueryEventStatus(aclrtEvent handle, int* status) {
  Event* event = static_cast<Event*>(handle);
  bool complete;
  {
    std::lock_guard<std::mutex> hold(event->lock);
    complete = event->done >= event->asked;
  }
  if (complete) standin::host_waited_for(event);
  *status = complete ? 1 : 0;
  return kSuccess;
}
API aclError aclrtQueryEvent(aclrtEvent handle, int* status) {
  int complete = 0;
  aclrtQueryEventStatus(handle, &complete);
  *status = complete ? 0 : 1;
  return kSuccess;
}
API aclError aclrtEventElapsedTime(float* ms, aclrtEvent start, aclrtEvent end) {
  *ms = static_cast<float>(static_cast<Event*>(end)->time_ms - static_cast<Event*>(start)->time_ms);
  return kSuccess;
}
API aclError aclrtEventGetTimestamp(aclrtEvent event, uint64_t* us) {
  *us = static_cast<uint64_t>(static_cast<Event*>(event)->time_ms * 1000);
  return kSuccess;
}
API aclError aclrtLaunchCallback(void (*work)(void*), void* data, int, aclrtStream stream) {
  return standin::stream_of(stream)->launch("callback", [=] { work(data); }, {}, {});
}
