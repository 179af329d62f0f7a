// Communicators: how ranks find each other. Codes and words of the errors are those that users of
// HCCL meet (EI0002 a wait that ran out, EI0005 operators that do not agree, EI0006 no connection).
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <sstream>

#include "api.h"
#include "hccl.h"
#include "report.h"

namespace standin {
double hccl_timeout_s() {
  static const double seconds = static_cast<double>(option_number("TIMEOUT_S", 120));
  return seconds;
}

void ranks_disagree(const Communicator& comm, const Note& mine, uint32_t other,
                    const Note& theirs) {
  found("EI0005: the ranks of communicator " + comm.name + " disagree: rank " +
        std::to_string(comm.rank) + " launched " + mine.text() + ", rank " +
        std::to_string(other) + " launched " + theirs.text());
}

void wait_ran_out(const Communicator& comm, const Note& mine, uint32_t other) {
  if (Stream::failure()) return;
  const std::string line =
      "EI0002: the wait for a notify ran out: rank " + std::to_string(comm.rank) + " in " +
      mine.text() + " of communicator " + comm.name + " waited " +
      std::to_string(static_cast<int>(hccl_timeout_s())) + " s for rank " + std::to_string(other) +
      ", whose last operator there is: " + comm.box.status(other);
  Stream::fail_all(kStreamSyncTimeout, line);
}
}  // namespace standin

using standin::Communicator;
using standin::HcclResult;

namespace {
constexpr size_t kRootInfoBytes = 4108;

HcclResult join(const std::string& folder, uint32_t size, uint32_t rank, void** comm) {
  const double join_timeout = static_cast<double>(standin::option_number("CONNECT_TIMEOUT_S", 120));
  auto* made = new Communicator(folder, size, rank);
  *comm = made;
  made->box.post("join." + std::to_string(rank), {"join", 0, 0, 0}, nullptr, 0);
  for (uint32_t other = 0; other < size; ++other) {
    standin::Note note;
    std::vector<char> data;
    if (!made->box.take("join." + std::to_string(other), join_timeout, &note, &data)) {
      standin::remember("EI0006: rank " + std::to_string(rank) + " got no connection to rank " +
                        std::to_string(other) + " of " + std::to_string(size) +
                        " within the time of HCCL_CONNECT_TIMEOUT");
      standin::say(standin::last_error());
      return standin::kHcclTimeout;
    }
  }
  return 0;
}
}  // namespace

API HcclResult HcclGetRootInfo(void* info) {
  static int made = 0;
  const std::string folder = standin::option("BOARD", "/dev/shm") + "/standin-" +
                             std::to_string(getpid()) + "-" + std::to_string(time(nullptr)) + "-" +
                             std::to_string(made++);
  mkdir(folder.c_str(), 0700);
  std::memset(info, 0, kRootInfoBytes);
  std::strncpy(static_cast<char*>(info), folder.c_str(), kRootInfoBytes - 1);
  return 0;
}
API HcclResult HcclCommInitRootInfo(uint32_t size, const void* info, uint32_t rank, void** comm) {
  return join(static_cast<const char*>(info), size, rank, comm);
}
API HcclResult HcclCommInitRootInfoConfig(uint32_t size, const void* info, uint32_t rank,
                                          const void*, void** comm) {
  return join(static_cast<const char*>(info), size, rank, comm);
}
API HcclResult HcclCreateSubCommConfig(void** whole, uint32_t size, uint32_t* ranks, uint64_t id,
                                       uint32_t rank, void*, void** comm) {
  const auto* parent = static_cast<Communicator*>(*whole);
  std::ostringstream folder;
  folder << standin::option("BOARD", "/dev/shm") << '/' << parent->name << "-sub" << id;
  for (uint32_t i = 0; i < size; ++i) folder << '-' << ranks[i];
  mkdir(folder.str().c_str(), 0700);
  return join(folder.str(), size, rank, comm);
}
API HcclResult HcclCommDestroy(void*) { return 0; }
API HcclResult HcclGetRankSize(void* comm, uint32_t* size) {
  *size = static_cast<Communicator*>(comm)->size;
  return 0;
}
API HcclResult HcclGetRankId(void* comm, uint32_t* rank) {
  *rank = static_cast<Communicator*>(comm)->rank;
  return 0;
}
API HcclResult HcclGetCommName(void* comm, char* name) {
  std::strncpy(name, static_cast<Communicator*>(comm)->name.c_str(), 127);
  return 0;
}
API HcclResult HcclGetCommAsyncError(void*, HcclResult* result) {
  *result = standin::Stream::failure() ? standin::kHcclRemote : 0;
  return 0;
}
API const char* HcclGetErrorString(HcclResult code) {
  return code == 0 ? "no error" : "an error of the stand-in for HCCL";
}
API HcclResult HcclSetConfig(int, ...) { return 0; }
API uint32_t HcclGetCommConfigCapability() { return 0; }
API HcclResult HcclCommResume(void*) { return 0; }
API HcclResult HcclCommWorkingDevNicSet(void*, uint32_t*, bool*, uint32_t) { return 0; }
// HCCL's own executor: MindSpore starts it with every communicator and our graphs do not use it.
API HcclResult HcomExecInitialize() { return 0; }
API HcclResult HcomExecFinalize() { return 0; }
