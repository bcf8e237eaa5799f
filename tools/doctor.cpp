#include "runtime/doctor.h"

#include "tools/command.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

cl::SubCommand doctor("doctor", "say what was found on this machine, and what to do about what is missing");
cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(doctor));

// Lines of "  label   value", further lines of a value below its first; what was not found has none.
class Section {
 public:
  Section(const std::string& title, const std::string& problem) : text_(title + "\n"), problem_(problem) {}

  Section& line(const char* label, const std::string& value) {
    llvm::StringRef rest = value;
    for (; !rest.empty(); label = "") {
      const auto [first, others] = rest.split('\n');
      text_ += fmt::format("  {:<12}{}\n", label, first.str());
      rest = others;
    }
    return *this;
  }

  std::string str() {
    if (problem_.empty()) return text_ + "  ok\n";
    return line("problem", problem_).text_;
  }

 private:
  std::string text_;
  const std::string& problem_;
};

std::string gibibytes(std::uint64_t bytes) {
  return bytes == 0 ? "" : fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
}

// "160 T's of 20 problems, measured on NVIDIA H200 with 132 multiprocessors"
std::string measured(const runtime::Findings::TunedRecord& record) {
  if (record.device.empty()) return "";
  return fmt::format("{} T's of {} problems, measured on {} with {} multiprocessors", record.rows, record.problems,
                     record.device, record.multiprocessors);
}

std::string to_text(const runtime::Findings& found) {
  std::string text = fmt::format("mhcjit {}\n", found.library_version);
  text += Section("driver", found.driver.problem)
              .line("path", found.driver.path)
              .line("supports", found.driver.version.empty() ? "" : "CUDA " + found.driver.version)
              .str();
  if (!found.devices_problem.empty()) text += Section("devices", found.devices_problem).str();
  for (const runtime::Findings::Device& device : found.devices)
    text += Section(fmt::format("device cuda:{}", device.ordinal), device.problem)
                .line("name", device.name)
                .line("capability", device.compute_capability)
                .line("kernels for", device.architecture)
                .line("memory", gibibytes(device.memory_bytes))
                .str();
  text += Section("nvrtc", found.nvrtc.problem)
              .line("path", found.nvrtc.path)
              .line("builtins", found.nvrtc.builtins_path)
              .line("found by", found.nvrtc.found_by)
              .line("version", found.nvrtc.version)
              .line("identity", found.nvrtc.identity)
              .line("not taken", fmt::format("{}", fmt::join(found.nvrtc.others, "\n")))
              .line("searched", fmt::format("{}", fmt::join(found.nvrtc.searched, "\n")))
              .str();
  text += Section("cache", found.cache.problem)
              .line("folder", found.cache.root.empty() ? "none, kernels are kept in memory only" : found.cache.root)
              .line("compiler", found.cache.recorded_compiler)
              .str();
  for (const runtime::Findings::Cache& cache : found.read_only_caches)
    text += Section("read-only cache", cache.problem)
                .line("folder", cache.root)
                .line("compiler", cache.recorded_compiler)
                .str();
  if (!found.remote.url.empty())
    text += Section("remote cache", found.remote.problem)
                .line("url", found.remote.url)
                .line("use", found.remote.read_only ? "read only" : "read, and sent what is compiled")
                .str();
  if (!found.key_file.path.empty())
    text += Section("key", found.key_file.problem).line("file", found.key_file.path).str();
  if (!found.tuned.path.empty())
    text += Section("tuned record", found.tuned.problem)
                .line("path", found.tuned.path)
                .line("for", found.tuned.architecture)
                .line("has", measured(found.tuned))
                .str();
  for (const runtime::Findings::TunedRecord& record : found.shipped)
    text +=
        Section("shipped plans", record.problem).line("for", record.architecture).line("has", measured(record)).str();
  return text + fmt::format("ready: {}\n", found.gpu_ready()             ? "kernels can be compiled and run on the GPU"
                                           : found.nvrtc.problem.empty() ? "warmup, and the CPU path (run --device cpu)"
                                                                         : "the CPU path (run --device cpu)");
}

llvm::json::Value text_or_null(const std::string& text) {
  return text.empty() ? llvm::json::Value(nullptr) : llvm::json::Value(text);
}

llvm::json::Object to_json(const runtime::Findings::Cache& cache) {
  return llvm::json::Object{{"root", text_or_null(cache.root)},
                            {"recorded_compiler", text_or_null(cache.recorded_compiler)},
                            {"problem", text_or_null(cache.problem)}};
}

llvm::json::Object to_json(const runtime::Findings::TunedRecord& record) {
  return llvm::json::Object{{"path", text_or_null(record.path)},
                            {"architecture", text_or_null(record.architecture)},
                            {"device", text_or_null(record.device)},
                            {"multiprocessors", record.multiprocessors},
                            {"problems", record.problems},
                            {"rows", record.rows},
                            {"problem", text_or_null(record.problem)}};
}

llvm::json::Object to_json(const runtime::Findings& found) {
  llvm::json::Array read_only_caches;
  for (const runtime::Findings::Cache& cache : found.read_only_caches) read_only_caches.push_back(to_json(cache));
  llvm::json::Array shipped;
  for (const runtime::Findings::TunedRecord& record : found.shipped) shipped.push_back(to_json(record));
  llvm::json::Array devices;
  for (const runtime::Findings::Device& device : found.devices)
    devices.push_back(llvm::json::Object{{"ordinal", device.ordinal},
                                         {"name", device.name},
                                         {"compute_capability", device.compute_capability},
                                         {"architecture", device.architecture},
                                         {"memory_bytes", device.memory_bytes},
                                         {"problem", text_or_null(device.problem)}});
  return llvm::json::Object{{"version", found.library_version},
                            {"driver", llvm::json::Object{{"path", text_or_null(found.driver.path)},
                                                          {"version", text_or_null(found.driver.version)},
                                                          {"problem", text_or_null(found.driver.problem)}}},
                            {"devices", std::move(devices)},
                            {"devices_problem", text_or_null(found.devices_problem)},
                            {"nvrtc", llvm::json::Object{{"path", text_or_null(found.nvrtc.path)},
                                                         {"builtins_path", text_or_null(found.nvrtc.builtins_path)},
                                                         {"found_by", text_or_null(found.nvrtc.found_by)},
                                                         {"version", text_or_null(found.nvrtc.version)},
                                                         {"identity", text_or_null(found.nvrtc.identity)},
                                                         {"others", llvm::json::Array(found.nvrtc.others)},
                                                         {"searched", llvm::json::Array(found.nvrtc.searched)},
                                                         {"problem", text_or_null(found.nvrtc.problem)}}},
                            {"cache", to_json(found.cache)},
                            {"read_only_caches", std::move(read_only_caches)},
                            {"remote_cache", llvm::json::Object{{"url", text_or_null(found.remote.url)},
                                                                {"read_only", found.remote.read_only},
                                                                {"problem", text_or_null(found.remote.problem)}}},
                            {"key_file", llvm::json::Object{{"path", text_or_null(found.key_file.path)},
                                                            {"problem", text_or_null(found.key_file.problem)}}},
                            {"tuned_record", to_json(found.tuned)},
                            {"shipped_records", std::move(shipped)},
                            {"gpu_ready", found.gpu_ready()}};
}

llvm::Expected<Report> run() {
  llvm::Expected<runtime::Findings> found = runtime::find_out(mhcjit_engine_options{});
  if (!found) return found.takeError();
  return Report{exit_ok, to_json(*found), to_text(*found)};
}

}  // namespace

const Command& doctor_command() {
  static const Command command = {doctor, "[--json]",
                                  "Looks for the driver, the devices, NVRTC, the cache folders and measured plans. A\n"
                                  "machine without a GPU is no failure: the exit code is 0, and the text says what\n"
                                  "works and what to install for the rest.",
                                  "  mhcjit doctor\n"
                                  "  mhcjit doctor --json",
                                  run};
  return command;
}

}  // namespace mhcjit::tools
