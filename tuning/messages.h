// Messages between the sweep and the process that runs plans.
#pragma once

#include <cerrno>
#include <cstddef>
#include <string_view>
#include <utility>

#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "codegen/tuned_record.h"
#include "tuning/timer.h"

namespace mhcjit::tuning {

struct Order {
  // The process is to end. A closed channel would not tell it: the processes of other devices have that open too.
  bool ends = false;
  std::size_t row = 0;
  std::size_t candidate = 0;
};

enum class Event {
  started,    // the process
  begun,      // a row
  no_row,     // its inputs cannot be made
  attempted,  // a plan
  ended       // the process
};

struct Answer {
  Event event = Event::started;
  pid_t process = 0;
  codegen::Outcome outcome = codegen::Outcome::measured;
  Timing timing = {};
  int status = 0;  // of wait()
  char text[1024] = {};

  void say(std::string_view what) { text[what.copy(text, sizeof text - 1)] = 0; }
};

// Two ends of which each receives what the other sends, message by message.
class Channel {
 public:
  Channel() : is_made_(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_) == 0) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel() {
    close_ours();
    close_theirs();
  }

  bool is_made() const { return is_made_; }
  int ours() const { return ends_[0]; }
  int theirs() const { return ends_[1]; }
  int take_ours() { return std::exchange(ends_[0], -1); }
  void close_ours() { close(0); }
  void close_theirs() { close(1); }

 private:
  void close(int which) {
    if (ends_[which] >= 0) ::close(std::exchange(ends_[which], -1));
  }

  int ends_[2] = {-1, -1};
  const bool is_made_;
};

// Returns false once every copy of the other end is closed.
template <typename Message>
bool receive(int end, Message& message) {
  ssize_t got = 0;
  do got = ::recv(end, &message, sizeof message, 0);
  while (got < 0 && errno == EINTR);
  return got == sizeof message;
}
template <typename Message>
bool send(int end, const Message& message) {
  ssize_t sent = 0;
  do sent = ::send(end, &message, sizeof message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == sizeof message;
}

}  // namespace mhcjit::tuning
