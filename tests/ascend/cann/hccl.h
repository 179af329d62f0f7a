// A communicator of the stand-in and the arithmetic of its reductions.
#pragma once
#include <atomic>
#include <string>
#include <vector>

#include "mailbox.h"
#include "streams.h"

namespace standin {
using HcclResult = int;
constexpr HcclResult kHcclPara = 1, kHcclTimeout = 9, kHcclRuntime = 15, kHcclRemote = 21;

struct Communicator {
  std::string name;
  uint32_t size, rank;
  Mailbox box;
  uint64_t collectives = 0;                    // launched by the host so far
  std::vector<uint64_t> sent, received;        // messages launched to and from each rank
  Communicator(std::string folder, uint32_t size_, uint32_t rank_)
      : name(folder.substr(folder.rfind('/') + 1)),
        size(size_),
        rank(rank_),
        box(folder),
        sent(size_),
        received(size_) {}
};

double hccl_timeout_s();
// Ends the process over a mismatch or a wait that ran out, naming both sides.
void ranks_disagree(const Communicator& comm, const Note& mine, uint32_t other, const Note& theirs);
void wait_ran_out(const Communicator& comm, const Note& mine, uint32_t other);
size_t hccl_type_bytes(int type);
void reduce_into(void* into, const void* more, uint64_t count, int type, int op);
}  // namespace standin
