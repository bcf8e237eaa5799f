// The library's one-line messages go to the host's callback, or nowhere.
#pragma once

#include <functional>
#include <string_view>

#include "mhcjit/mhcjit.h"

namespace mhcjit {

class Log {
 public:
  using Sink = std::function<void(mhcjit_log_level, std::string_view line)>;

  Log() = default;
  Log(Sink sink, mhcjit_log_level most_detailed) : sink_(std::move(sink)), most_detailed_(most_detailed) {}

  bool wants(mhcjit_log_level level) const { return sink_ && level <= most_detailed_; }

  void operator()(mhcjit_log_level level, std::string_view line) const {
    if (wants(level)) sink_(level, line);
  }

 private:
  Sink sink_;
  mhcjit_log_level most_detailed_ = MHCJIT_LOG_WARNING;
};

}  // namespace mhcjit
