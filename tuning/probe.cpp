#include "tuning/probe.h"

#include <sys/wait.h>

#include <cstring>

#include "support/error.h"
#include "tuning/messages.h"
#include "tuning/process.h"

namespace mhcjit::tuning {
namespace {

struct Found {
  bool is_there = false;
  codegen::Architecture architecture;
  int multiprocessors = 0;
  double copy_gigabytes_per_second = 0;
  char device[256] = {};
  char driver[32] = {};
  char failure[1024] = {};
};

template <std::size_t size>
void copy_text(char (&to)[size], std::string_view text) {
  to[text.copy(to, size - 1)] = 0;
}

Found find(const MakeTimer& make_timer, int device) {
  Found found;
  try {
    const Machine machine = make_timer(device)->machine();
    found.is_there = true;
    found.architecture = machine.architecture;
    found.multiprocessors = machine.multiprocessors;
    found.copy_gigabytes_per_second = machine.copy_gigabytes_per_second;
    copy_text(found.device, machine.device);
    copy_text(found.driver, machine.driver);
  } catch (const std::runtime_error& failure) {
    copy_text(found.failure, failure.what());
  }
  return found;
}

llvm::Expected<Machine> probe_one(const MakeTimer& make_timer, int device) {
  Channel channel;
  const pid_t self = ::getpid();
  const pid_t child = channel.is_made() ? ::fork() : -1;
  if (child < 0) return make_error(MHCJIT_ERROR_IO, "device {} cannot be looked at: {}", device, std::strerror(errno));
  if (child == 0) {
    follow(self);
    ::_exit(send(channel.theirs(), find(make_timer, device)) ? 0 : 1);
  }
  channel.close_theirs();
  Found found;
  const bool received = receive(channel.ours(), found);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!received)
    return make_error(MHCJIT_ERROR_NO_DEVICE, "device {} cannot be looked at: {}", device, describe_end(status));
  if (!found.is_there) return make_error(MHCJIT_ERROR_NO_DEVICE, "device {}: {}", device, found.failure);
  return Machine{found.device, found.architecture, found.multiprocessors, found.driver,
                 found.copy_gigabytes_per_second};
}

}  // namespace

llvm::Expected<std::vector<Machine>> probe(const MakeTimer& make_timer, std::span<const int> devices) {
  std::vector<Machine> machines;
  for (const int device : devices) {
    auto machine = probe_one(make_timer, device);
    if (!machine) return machine.takeError();
    machines.push_back(std::move(*machine));
  }
  return machines;
}

}  // namespace mhcjit::tuning
