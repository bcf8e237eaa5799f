#include "runtime/nvrtc.h"

#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>

#include <llvm/Support/Path.h>

#include "cache/folder_store.h"
#include "cache/replace_file.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

// The same on every machine: a name with a path in it would change the cubin.
constexpr char program_name[] = "mhcjit.cu";

constexpr char reinstall[] = "reinstall it, or set MHCJIT_NVRTC to another libnvrtc.so of CUDA 12 or 13";

// Only in a folder that nobody else can have prepared: a link there would lead the source over another file.
llvm::Error write_source(const std::string& path, llvm::StringRef source) {
  namespace path_of = llvm::sys::path;
  const std::string folder = path_of::parent_path(path).str();
  cache::FileOps& ops = cache::FileOps::system();
  if (auto error = cache::open_folder(ops, folder, cache::Trust::owner)) return error;
  return cache::replace_file(ops, folder, path_of::stem(path).str(), path_of::extension(path), source,
                             /*flush=*/false);
}

// Keeps the source. Returns its place, or why there is none, for the error's text.
std::string keep_source(const CompileRequest& request) {
  const std::string& path = request.kept_source_path;
  if (path.empty()) return "not kept: there is no cache folder";
  if (auto error = write_source(path, request.source)) return "not kept: " + take_failure(std::move(error)).text;
  return path;
}

class Program {
 public:
  explicit Program(const NvrtcFunctions& nvrtc) : nvrtc_(nvrtc) {}
  ~Program() {
    if (handle_ != nullptr) nvrtc_.nvrtcDestroyProgram(&handle_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  nvrtcResult create(const CompileRequest& request) {
    // NVRTC wants terminated strings, and a view promises none.
    std::vector<std::string> names, texts;
    for (const Header& header : request.headers) {
      names.emplace_back(header.name);
      texts.emplace_back(header.text);
    }
    return nvrtc_.nvrtcCreateProgram(&handle_, request.source.c_str(), program_name, static_cast<int>(names.size()),
                                     pointers(texts).data(), pointers(names).data());
  }

  nvrtcResult compile(const CompileRequest& request) {
    return nvrtc_.nvrtcCompileProgram(handle_, static_cast<int>(request.options.size()),
                                      pointers(request.options).data());
  }

  template <typename Size, typename Get>
  nvrtcResult read(Size size_of, Get get, std::string& into) const {
    std::size_t bytes = 0;
    if (const nvrtcResult result = size_of(handle_, &bytes); result != NVRTC_SUCCESS) return result;
    into.resize(bytes);
    return get(handle_, into.data());
  }

 private:
  static std::vector<const char*> pointers(const std::vector<std::string>& strings) {
    std::vector<const char*> result;
    result.reserve(strings.size());
    for (const std::string& string : strings) result.push_back(string.c_str());
    return result;
  }

  const NvrtcFunctions& nvrtc_;
  nvrtcProgram handle_ = nullptr;
};

}  // namespace

llvm::Expected<const Nvrtc*> Nvrtc::load(const NvrtcLocation& location) {
  static std::mutex mutex;
  static auto& loaded = *new std::map<std::string, std::unique_ptr<Nvrtc>>;  // must outlive static destruction
  const std::lock_guard lock(mutex);
  if (const auto found = loaded.find(location.library); found != loaded.end()) return found->second.get();

  auto before = identify(location);
  if (!before) return before.takeError();
  // The wheel's libnvrtc does not know its own folder, so its builtins must be in the process before it asks for them.
  void* handle = nullptr;
  for (const std::string& file : {location.builtins, location.library}) {
    handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr)
      return make_error(MHCJIT_ERROR_NO_NVRTC, "NVRTC ({}) cannot be opened: {}; {}", location.found_by, dlerror(),
                        reinstall);
  }
  auto nvrtc = std::make_unique<Nvrtc>();
  nvrtc->path_ = location.library;
  auto after = identify(location);
  if (!after) return after.takeError();
  // Files that were replaced in between leave open which of them were opened: the identity stays that of no compiler.
  if (*before == *after) nvrtc->identity_ = *after;
#define MHCJIT_FIND(name)                                                                             \
  nvrtc->name = reinterpret_cast<decltype(&::name)>(dlsym(handle, #name));                            \
  if (nvrtc->name == nullptr)                                                                         \
    return make_error(MHCJIT_ERROR_NO_NVRTC, "{} is not an NVRTC of CUDA 12 or 13: it has no {}; {}", \
                      location.library, #name, reinstall);
  MHCJIT_NVRTC_FUNCTIONS(MHCJIT_FIND)
#undef MHCJIT_FIND
  return loaded.emplace(location.library, std::move(nvrtc)).first->second.get();
}

llvm::Expected<CompileOutput> Nvrtc::compile(const CompileRequest& request) const {
  Program program(*this);
  CompileOutput output;
  output.compiler = identity_;
  nvrtcResult result = program.create(request);
  if (result == NVRTC_SUCCESS) {
    result = program.compile(request);
    // The log is worth having whatever became of the compile.
    program.read(nvrtcGetProgramLogSize, nvrtcGetProgramLog, output.log);
    while (!output.log.empty() && (output.log.back() == '\0' || output.log.back() == '\n')) output.log.pop_back();
  }
  if (result == NVRTC_SUCCESS) result = program.read(nvrtcGetCUBINSize, nvrtcGetCUBIN, output.cubin);
  if (result == NVRTC_SUCCESS) return output;
  if (result == NVRTC_ERROR_OUT_OF_MEMORY)
    return make_error(
        MHCJIT_ERROR_OUT_OF_MEMORY,
        "NVRTC {} ran out of host memory; free memory (a kernel takes about 100 MB, and those of an operator are "
        "compiled at the same time) and call again",
        version());
  return make_error(
      MHCJIT_ERROR_COMPILATION_FAILED,
      "NVRTC {} ({}) refused the generated source with {}; an architecture that it does not know needs a "
      "newer NVRTC, anything else is a fault of mhcjit worth reporting\noptions: {}\nsource: {}\nlog:\n{}",
      version(), path_, nvrtcGetErrorString(result), fmt::join(request.options, " "), keep_source(request),
      output.log.empty() ? "(empty)" : output.log);
}

std::string Nvrtc::version() const {
  int major = 0, minor = 0;
  if (nvrtcVersion(&major, &minor) != NVRTC_SUCCESS) return "of unknown version";
  return fmt::format("{}.{}", major, minor);
}

}  // namespace mhcjit::runtime
