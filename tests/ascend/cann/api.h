// The C interface of CANN that MindSpore's Ascend back end calls, as far as our graphs use it:
// numbers and signatures from the public API reference (AscendCL, aclnn, HCCL). Host stand-in only.
#pragma once
#include <cstddef>
#include <cstdint>

using aclError = int;
using aclrtStream = void*;
using aclrtEvent = void*;
using aclrtContext = void*;

constexpr aclError kSuccess = 0;
constexpr aclError kInvalidParam = 100000;
constexpr aclError kFeatureUnsupported = 200000;
constexpr aclError kRuntimeInvalidParam = 107000;   // ACL_ERROR_RT_PARAM_INVALID
constexpr aclError kNoDevice = 107001;              // ACL_ERROR_RT_INVALID_DEVICEID
constexpr aclError kContextNull = 107002;           // ACL_ERROR_RT_CONTEXT_NULL
constexpr aclError kMemoryAllocation = 207001;      // ACL_ERROR_RT_MEMORY_ALLOCATION
constexpr aclError kLostHeartbeat = 507010;         // ACL_ERROR_RT_LOST_HEARTBEAT
constexpr aclError kStreamSyncTimeout = 507046;     // ACL_ERROR_RT_STREAM_SYNC_TIMEOUT
constexpr aclError kLinkError = 507056;             // ACL_ERROR_RT_LINK_ERROR

enum DType : int {
  kFloat = 0, kHalf = 1, kInt8 = 2, kInt32 = 3, kUint8 = 4, kInt16 = 6, kUint16 = 7, kUint32 = 8,
  kInt64 = 9, kUint64 = 10, kDouble = 11, kBool = 12, kBf16 = 27, kUndefinedType = -1,
};

enum CopyKind : int { kHostToHost = 0, kHostToDevice = 1, kDeviceToHost = 2, kDeviceToDevice = 3 };

#define API extern "C" __attribute__((visibility("default")))
