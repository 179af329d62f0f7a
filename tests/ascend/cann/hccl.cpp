// The operators of HCCL. All are matched by their order in a communicator: another kind, count,
// type, root or reduction on one rank is an error that names both; a send waits for its receiver.
#include "hccl.h"

#include <cstring>

#include "api.h"
#include "faults.h"
#include "ledger.h"
#include "report.h"

namespace standin {
namespace {
using Ranges = std::vector<ordering::Range>;
using Parts = std::vector<std::vector<char>>;

bool faulted(const Note& note) {
  if (faults::due("link_down")) {
    Stream::fail_all(kLinkError, "EI0013: link down during " + note.text());
    return true;
  }
  if (faults::due("notify_timeout")) {
    Stream::fail_all(kStreamSyncTimeout, "EI0002: the wait for a notify ran out during " +
                                             note.text());
    return true;
  }
  return false;
}

bool same(const Note& a, const Note& b) {
  return a.operation == b.operation && a.count == b.count && a.type == b.type &&
         a.detail == b.detail;
}

// One collective: every rank posts `mine` bytes, `finish` gets everybody's in the order of ranks.
HcclResult collective(Communicator* comm, aclrtStream stream, const Note& note, const void* mine,
                      size_t bytes, void* out, size_t out_bytes,
                      std::function<void(const Parts&)> finish) {
  const uint64_t turn = comm->collectives++;
  ledger::message(note.operation, bytes);
  const auto work = [=] {
    if (faulted(note)) return;
    const auto name = [&](uint64_t t, uint32_t r) {
      return "c" + std::to_string(t) + "." + std::to_string(r);
    };
    comm->box.set_status(comm->rank, note.text());
    comm->box.post(name(turn, comm->rank), note, mine, bytes);
    Parts parts(comm->size);
    for (uint32_t r = 0; r < comm->size; ++r) {
      Note theirs;
      if (!comm->box.take(name(turn, r), hccl_timeout_s(), &theirs, &parts[r])) {
        return wait_ran_out(*comm, note, r);
      }
      if (!same(note, theirs)) return ranks_disagree(*comm, note, r, theirs);
    }
    if (turn) comm->box.remove(name(turn - 1, comm->rank));  // all have come here: all have read it
    finish(parts);
  };
  const Ranges reads = bytes ? Ranges{{mine, bytes}} : Ranges{};
  const Ranges writes = out_bytes ? Ranges{{out, out_bytes}} : Ranges{};
  return stream_of(stream)->launch("Hccl" + note.operation, work, reads, writes) ? kHcclRuntime : 0;
}

std::string letter(uint32_t from, uint32_t to, uint64_t turn) {
  return "p" + std::to_string(from) + "-" + std::to_string(to) + "." + std::to_string(turn);
}

HcclResult send(const void* data, uint64_t count, int type, uint32_t to, Communicator* comm,
                aclrtStream stream) {
  const Note note{"Send", count, type, static_cast<int>(to)};
  const uint64_t turn = comm->sent.at(to)++;
  const size_t bytes = count * hccl_type_bytes(type);
  ledger::message("Send", bytes);
  const auto work = [=] {
    if (faulted(note)) return;
    comm->box.set_status(comm->rank, note.text());
    const std::string name = letter(comm->rank, to, turn);
    comm->box.post(name, note, data, bytes);
    static const bool blocks = option_number("BLOCKING_SENDS", 1) != 0;
    if (blocks && !comm->box.wait_gone(name, hccl_timeout_s())) wait_ran_out(*comm, note, to);
  };
  return stream_of(stream)->launch("HcclSend", work, Ranges{{data, bytes}}, {}) ? kHcclRuntime : 0;
}

HcclResult receive(void* data, uint64_t count, int type, uint32_t from, Communicator* comm,
                   aclrtStream stream) {
  const Note note{"Recv", count, type, static_cast<int>(from)};
  const uint64_t turn = comm->received.at(from)++;
  const size_t bytes = count * hccl_type_bytes(type);
  ledger::message("Recv", bytes);
  const auto work = [=] {
    comm->box.set_status(comm->rank, note.text());
    const std::string name = letter(from, comm->rank, turn);
    Note theirs;
    std::vector<char> bytes_sent;
    if (!comm->box.take(name, hccl_timeout_s(), &theirs, &bytes_sent)) {
      return wait_ran_out(*comm, note, from);
    }
    if (theirs.count != count || theirs.type != type) {
      return ranks_disagree(*comm, note, from, theirs);
    }
    std::memcpy(data, bytes_sent.data(), bytes);
    comm->box.remove(name);
  };
  return stream_of(stream)->launch("HcclRecv", work, {}, Ranges{{data, bytes}}) ? kHcclRuntime : 0;
}
}  // namespace
}  // namespace standin

using namespace standin;

API HcclResult HcclAllReduce(void* in, void* out, uint64_t count, int type, int op, void* comm,
                             aclrtStream stream) {
  const size_t bytes = count * hccl_type_bytes(type);
  return collective(static_cast<Communicator*>(comm), stream, {"AllReduce", count, type, op}, in,
                    bytes, out, bytes, [=](const Parts& parts) {
                      std::vector<char> sum = parts[0];
                      for (size_t r = 1; r < parts.size(); ++r) {
                        reduce_into(sum.data(), parts[r].data(), count, type, op);
                      }
                      std::memcpy(out, sum.data(), bytes);
                    });
}
API HcclResult HcclReduce(void* in, void* out, uint64_t count, int type, int op, uint32_t root,
                          void* comm, aclrtStream stream) {
  const size_t bytes = count * hccl_type_bytes(type);
  auto* c = static_cast<Communicator*>(comm);
  const bool here = c->rank == root;
  return collective(c, stream, {"Reduce", count, type, op}, in, bytes, out, here ? bytes : 0,
                    [=](const Parts& parts) {
                      if (!here) return;
                      std::vector<char> sum = parts[0];
                      for (size_t r = 1; r < parts.size(); ++r) {
                        reduce_into(sum.data(), parts[r].data(), count, type, op);
                      }
                      std::memcpy(out, sum.data(), bytes);
                    });
}
API HcclResult HcclReduceScatter(void* in, void* out, uint64_t count, int type, int op, void* comm,
                                 aclrtStream stream) {
  auto* c = static_cast<Communicator*>(comm);
  const size_t bytes = count * hccl_type_bytes(type);
  return collective(c, stream, {"ReduceScatter", count, type, op}, in, bytes * c->size, out, bytes,
                    [=](const Parts& parts) {
                      const size_t at = bytes * c->rank;
                      std::vector<char> sum(parts[0].begin() + at, parts[0].begin() + at + bytes);
                      for (size_t r = 1; r < parts.size(); ++r) {
                        reduce_into(sum.data(), parts[r].data() + at, count, type, op);
                      }
                      std::memcpy(out, sum.data(), bytes);
                    });
}
API HcclResult HcclAllGather(void* in, void* out, uint64_t count, int type, void* comm,
                             aclrtStream stream) {
  auto* c = static_cast<Communicator*>(comm);
  const size_t bytes = count * hccl_type_bytes(type);
  return collective(c, stream, {"AllGather", count, type, 0}, in, bytes, out, bytes * c->size,
                    [=](const Parts& parts) {
                      for (size_t r = 0; r < parts.size(); ++r) {
                        std::memcpy(static_cast<char*>(out) + r * bytes, parts[r].data(), bytes);
                      }
                    });
}
API HcclResult HcclBroadcast(void* data, uint64_t count, int type, uint32_t root, void* comm,
                             aclrtStream stream) {
  auto* c = static_cast<Communicator*>(comm);
  const size_t bytes = count * hccl_type_bytes(type);
  const bool here = c->rank == root;
  return collective(c, stream, {"Broadcast", count, type, static_cast<int>(root)}, data,
                    here ? bytes : 0, data, here ? 0 : bytes, [=](const Parts& parts) {
                      if (!here) std::memcpy(data, parts[root].data(), bytes);
                    });
}
API HcclResult HcclScatter(void* in, void* out, uint64_t count, int type, uint32_t root, void* comm,
                           aclrtStream stream) {
  auto* c = static_cast<Communicator*>(comm);
  const size_t bytes = count * hccl_type_bytes(type);
  return collective(c, stream, {"Scatter", count, type, static_cast<int>(root)}, in,
                    c->rank == root ? bytes * c->size : 0, out, bytes, [=](const Parts& parts) {
                      std::memcpy(out, parts[root].data() + bytes * c->rank, bytes);
                    });
}
API HcclResult HcclAlltoAll(const void* in, uint64_t count, int type, const void* out, uint64_t,
                            int, void* comm, aclrtStream stream) {
  auto* c = static_cast<Communicator*>(comm);
  const size_t bytes = count * hccl_type_bytes(type);
  char* to = static_cast<char*>(const_cast<void*>(out));
  return collective(c, stream, {"AlltoAll", count, type, 0}, in, bytes * c->size, to,
                    bytes * c->size, [=](const Parts& parts) {
                      for (size_t r = 0; r < parts.size(); ++r) {
                        std::memcpy(to + r * bytes, parts[r].data() + c->rank * bytes, bytes);
                      }
                    });
}
API HcclResult HcclBarrier(void* comm, aclrtStream stream) {
  return collective(static_cast<Communicator*>(comm), stream, {"Barrier", 0, 4, 0}, nullptr, 0,
                    nullptr, 0, [](const Parts&) {});
}
API HcclResult HcclSend(void* data, uint64_t count, int type, uint32_t to, void* comm,
                        aclrtStream stream) {
  return send(data, count, type, to, static_cast<Communicator*>(comm), stream);
}
API HcclResult HcclRecv(void* data, uint64_t count, int type, uint32_t from, void* comm,
                        aclrtStream stream) {
  return receive(data, count, type, from, static_cast<Communicator*>(comm), stream);
}
