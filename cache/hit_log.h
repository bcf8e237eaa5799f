// How often the entries of a folder were found: a file of the folder that grows by a line with each hit (FORMAT.md).
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include <llvm/ADT/StringRef.h>

#include "cache/file_ops.h"

namespace mhcjit::cache {

// One process's end of the file. Whatever stands in the way costs counts and nothing else: it is not reported, never
// waited for, and no link is followed. Thread-safe; hits of processes at the same time are all counted.
class HitLog {
 public:
  // Touches no file. Both outlive the log.
  HitLog(FileOps& ops, const std::string& root) : ops_(ops), root_(root) {}
  HitLog(const HitLog&) = delete;
  HitLog& operator=(const HitLog&) = delete;
  ~HitLog();

  // A hit of the entry of this digest. Cost: one write of 17 bytes without a flush, about 1 us; at the first call the
  // file is opened, about 7 us.
  void add(llvm::StringRef digest);

 private:
  void open();

  FileOps& ops_;
  const std::string& root_;
  std::once_flag opened_;
  int fd_ = -1;
};

// By the first 16 digits of the digest.
using HitCounts = std::map<std::string, std::int64_t>;
std::int64_t hits_of(const HitCounts& counts, llvm::StringRef digest);

// What the folder's file says; nothing where it is absent or not to be trusted. What is no line of it is passed over.
HitCounts read_hits(const std::string& root);

// Whether the file has grown so long that it should be swept.
bool hits_are_many(const std::string& root);

// Adds up the file's lines, and forgets those of entries that the folder does not have. Lost are hits at the same time,
// and from then on those of processes that have the file open.
void sweep_hits(const std::string& root);

}  // namespace mhcjit::cache
