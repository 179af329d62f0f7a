// The parts of aclrt* that only set something, and the allocator and profiler descriptions: taken,
// kept where somebody asks for them again, without effect on results.
#include <map>
#include <mutex>
#include <string>

#include "api.h"
#include "report.h"

API aclError aclrtSetOpExecuteTimeOut(uint32_t) { return kSuccess; }
API aclError aclrtSetOpWaitTimeout(uint32_t) { return kSuccess; }
API aclError aclrtCtxSetSysParamOpt(int, int64_t) { return kSuccess; }
API aclError aclrtSetSysParamOpt(int, int64_t) { return kSuccess; }
API aclError aclrtSetDeviceSatMode(int) { return kSuccess; }
API aclError aclrtSetStreamFailureMode(aclrtStream, uint64_t) { return kSuccess; }
API aclError aclrtSetExceptionInfoCallback(void (*)(void*)) { return kSuccess; }
API aclError aclrtSubscribeReport(uint64_t, aclrtStream) { return kSuccess; }
API aclError aclrtUnSubscribeReport(uint64_t, aclrtStream) { return kSuccess; }
API aclError aclrtProcessReport(int32_t) { return kSuccess; }
API aclError aclrtDeviceCanAccessPeer(int32_t* can, int32_t, int32_t) {
  *can = 1;
  return kSuccess;
}
API aclError aclrtDeviceEnablePeerAccess(int32_t, uint32_t) { return kSuccess; }
API aclError aclrtGetDeviceResLimit(int32_t, int, uint32_t* value) {
  *value = 24;
  return kSuccess;
}
API aclError aclrtGetStreamResLimit(aclrtStream, int, uint32_t* value) {
  *value = 24;
  return kSuccess;
}
API aclError aclrtGetResInCurrentThread(int, uint32_t* value) {
  *value = 24;
  return kSuccess;
}
API aclError aclrtUseStreamResInCurrentThread(aclrtStream) { return kSuccess; }
API aclError aclrtDeviceTaskAbort(int32_t, uint32_t) { return kSuccess; }
API aclError aclrtGetMemUceInfo(int32_t, void*, size_t, size_t* found) {
  *found = 0;
  return kSuccess;
}
API uint32_t aclrtGetDeviceIdFromExceptionInfo(const void*) { return 0; }
API uint32_t aclrtGetErrorCodeFromExceptionInfo(const void*) { return 0; }
API uint32_t aclrtGetStreamIdFromExceptionInfo(const void*) { return 0; }
API uint32_t aclrtGetTaskIdFromExceptionInfo(const void*) { return 0; }
API uint32_t aclrtGetThreadIdFromExceptionInfo(const void*) { return 0; }

API void* aclrtAllocatorCreateDesc() { return new int(0); }
API aclError aclrtAllocatorDestroyDesc(void* desc) {
  delete static_cast<int*>(desc);
  return kSuccess;
}
API aclError aclrtAllocatorSetObjToDesc(void*, void*) { return kSuccess; }
API aclError aclrtAllocatorSetAllocFuncToDesc(void*, void*) { return kSuccess; }
API aclError aclrtAllocatorSetFreeFuncToDesc(void*, void*) { return kSuccess; }
API aclError aclrtAllocatorSetAllocAdviseFuncToDesc(void*, void*) { return kSuccess; }
API aclError aclrtAllocatorSetGetAddrFromBlockFuncToDesc(void*, void*) { return kSuccess; }
API aclError aclrtAllocatorRegister(aclrtStream, void*) { return kSuccess; }
API aclError aclrtAllocatorUnregister(aclrtStream) { return kSuccess; }

// The driver's view that other libraries of the wheel link against.
API int halHostRegister(void*, uint64_t, uint32_t, uint32_t, void**) { return 0; }
API int halHostUnregister(void*, uint32_t) { return 0; }
