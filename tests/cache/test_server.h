// A server on a loopback port whose every answer a test writes byte by byte, so that it can lie, cut and hang.
#pragma once

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace mhcjit::cache {

inline std::chrono::milliseconds since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
}

// Waits for what happens on another thread or in another process.
template <typename Condition>
bool eventually(Condition&& condition) {
  const auto start = std::chrono::steady_clock::now();
  while (!condition()) {
    if (since(start) > std::chrono::seconds(20)) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// A socket on a port of 127.0.0.1 that nobody else has.
inline int loopback_socket(int& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    ADD_FAILURE() << std::strerror(errno);
    return fd;
  }
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), size), 0) << std::strerror(errno);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  port = ntohs(address.sin_port);
  return fd;
}

// One connection after another, each one request and what `answer` makes of it.
class TestServer {
 public:
  // A client's connection. Every member gives up when the server ends.
  class Connection {
   public:
    Connection(int fd, const std::atomic<bool>& ending) : fd_(fd), ending_(ending) {}

    // False when the client has gone.
    bool send(const std::string& bytes) const {
      for (std::size_t sent = 0; sent < bytes.size();) {
        if (!wait_for(POLLOUT)) return false;
        const ssize_t count = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count <= 0) return false;
        sent += static_cast<std::size_t>(count);
      }
      return true;
    }

    // "" when the client has gone.
    std::string receive() const {
      char buffer[4096];
      if (!wait_for(POLLIN)) return "";
      const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
      return count > 0 ? std::string(buffer, static_cast<std::size_t>(count)) : "";
    }

    // Until the client goes.
    void hang() const {
      while (!receive().empty()) continue;
    }

   private:
    bool wait_for(short events) const {
      while (!ending_) {
        pollfd item = {fd_, events, 0};
        if (::poll(&item, 1, /*timeout=*/20) > 0) return true;
      }
      return false;
    }

    const int fd_;
    const std::atomic<bool>& ending_;
  };

  struct Request {
    std::string method, path, head, body;
  };
  using Answer = std::function<void(const Request&, const Connection&)>;

  explicit TestServer(Answer answer) : answer_(std::move(answer)), listener_(loopback_socket(port_)) {
    EXPECT_EQ(::listen(listener_, 16), 0);
    thread_ = std::thread([this] { run(); });
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;
  ~TestServer() {
    ending_ = true;
    thread_.join();
    ::close(listener_);
  }

  std::string url() const { return fmt::format("http://127.0.0.1:{}/cache", port_); }

  std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void run() {
    while (!ending_) {
      pollfd item = {listener_, POLLIN, 0};
      if (::poll(&item, 1, /*timeout=*/20) <= 0) continue;
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      serve(Connection(fd, ending_));
      ::close(fd);
    }
  }

  void serve(const Connection& connection) {
    std::string text;
    std::size_t end = std::string::npos;
    while ((end = text.find("\r\n\r\n")) == std::string::npos) {
      const std::string more = connection.receive();
      if (more.empty()) return;
      text += more;
    }
    const std::size_t field = text.find("Content-Length: ");
    const std::size_t length = field < end ? std::stoul(text.substr(field + 16)) : 0;
    Request request;
    request.method = text.substr(0, text.find(' '));
    request.path = text.substr(request.method.size() + 1);
    request.path.resize(request.path.find(' '));
    request.head = text.substr(0, end);
    request.body = text.substr(end + 4);
    while (request.body.size() < length) {
      const std::string more = connection.receive();
      if (more.empty()) return;
      request.body += more;
    }
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    answer_(request, connection);
  }

  const Answer answer_;
  int port_ = 0;
  const int listener_;
  std::atomic<bool> ending_ = false;
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  std::thread thread_;
};

inline std::string response(int status, const std::string& body, const std::string& fields = "") {
  return fmt::format("HTTP/1.1 {} Status\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{}", status, body.size(),
                     fields, body);
}

}  // namespace mhcjit::cache
