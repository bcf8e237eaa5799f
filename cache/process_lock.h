// Keeps processes from doing the same work at the same time.
#pragma once

#include <chrono>
#include <string>

#include <llvm/ADT/StringRef.h>

#include "cache/file_ops.h"

namespace mhcjit::cache {

// The lock file's name in a cache folder.
inline constexpr llvm::StringLiteral lock_file_name("compile.lock");

// In place of a digest: for whoever changes the folder's record of compilers.
inline constexpr llvm::StringLiteral compiler_record_lock("000000000000000");

// An advisory lock on one digest, which the kernel frees when its holder ends, however it ends; a stopped holder keeps
// it. It is a byte of one small file (an open-file-description lock), so two digests never wait for each other, and two
// caches of one process exclude each other as two processes do. The file is never deleted: who deletes a lock file lets
// two holders in. Holding no lock is allowed: whoever takes one is to do the work in any case.
class ProcessLock {
 public:
  enum class State {
    held,
    timed_out,    // another holds it still
    unsupported,  // the file system or this kernel has no such locks
    no_file       // the lock file cannot be opened, and no entry could be written beside it either
  };

  // Waits up to `timeout`, asking again every 1 to 50 ms. `path` is the lock file, made with mode 0600 where it is
  // absent. `digest` is a SHA-256 in hexadecimal digits.
  ProcessLock(FileOps& ops, const std::string& path, llvm::StringRef digest, std::chrono::milliseconds timeout);
  ProcessLock(const ProcessLock&) = delete;
  ProcessLock& operator=(const ProcessLock&) = delete;
  ~ProcessLock();

  State state() const { return state_; }

  // True if another process had it at first.
  bool waited() const { return waited_; }

 private:
  State acquire(llvm::StringRef digest, std::chrono::milliseconds timeout);
  bool set(short type);

  FileOps& ops_;
  int fd_ = -1;
  off_t byte_ = 0;
  bool waited_ = false;
  State state_ = State::no_file;
};

}  // namespace mhcjit::cache
