#include "tests/fake_driver/fake_nvrtc.h"

#include <elf.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

fake::Compiler* fake_compiler() {
  static auto* const compiler = new fake::Compiler;
  return compiler;
}

namespace {

struct Program {
  std::string source;
  std::string cubin;
  std::string log;
};

Program* from_handle(nvrtcProgram handle) { return reinterpret_cast<Program*>(handle); }

struct Kernel {
  std::string name;
  std::vector<std::size_t> parameter_bytes;
};

// The number behind `text`; 0 where the source has no such text.
std::size_t number_behind(std::string_view source, const std::string& text) {
  const std::size_t at = source.find(text);
  return at == source.npos ? 0 : std::strtoul(source.data() + at + text.size(), nullptr, 10);
}

// The size of a struct, as an emitted unit asserts it.
std::size_t bytes_of_type(std::string_view source, const std::string& type) {
  return type == "device::TensorMap" ? 128 : number_behind(source, "static_assert(sizeof(" + type + ") == ");
}

// "NAME(const __grid_constant__ TYPE parameter, ...)", behind the "__global__ ... __launch_bounds__(...)" of a unit.
Kernel kernel_in(std::string_view source) {
  constexpr std::string_view qualifiers = "const __grid_constant__ ";
  const std::size_t begin = source.find("\nmhcjit_", source.find("__global__")) + 1;
  const std::size_t list = source.find('(', begin), end = source.find(')', begin);
  Kernel kernel = {std::string(source.substr(begin, list - begin)), {}};
  for (std::size_t at = source.find(qualifiers, list); at < end; at = source.find(qualifiers, at)) {
    at += qualifiers.size();
    const std::string type(source.substr(at, source.find(' ', at) - at));
    kernel.parameter_bytes.push_back(bytes_of_type(source, type));
  }
  return kernel;
}

// Holds "NAME<zero>BYTES BYTES ...<zero>".
std::string cubin_for(int sm, const Kernel& kernel) {
  std::string names = kernel.name + '\0';
  for (const std::size_t bytes : kernel.parameter_bytes) names += std::to_string(bytes) + ' ';
  names += '\0';
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_ident[EI_ABIVERSION] = 8;
  header.e_type = ET_EXEC;
  header.e_machine = EM_CUDA;
  header.e_version = EV_CURRENT;
  header.e_flags = static_cast<unsigned>(sm) << 8;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_shoff = sizeof header;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 2;
  Elf64_Shdr sections[2] = {};
  sections[1].sh_type = SHT_PROGBITS;
  sections[1].sh_offset = sizeof header + sizeof sections;
  sections[1].sh_size = names.size();
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) +
         std::string(reinterpret_cast<const char*>(sections), sizeof sections) + names;
}

}  // namespace

nvrtcResult nvrtcVersion(int* major, int* minor) {
  *major = 13;
  *minor = 0;
  return NVRTC_SUCCESS;
}

const char* nvrtcGetErrorString(nvrtcResult result) {
  return result == NVRTC_ERROR_COMPILATION ? "NVRTC_ERROR_COMPILATION" : "another NVRTC error";
}

nvrtcResult nvrtcCreateProgram(nvrtcProgram* program, const char* source, const char*, int, const char* const*,
                               const char* const*) {
  *program = reinterpret_cast<nvrtcProgram>(new Program{source, "", ""});
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram* program) {
  delete from_handle(*program);
  *program = nullptr;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram handle, int count, const char* const* options) {
  Program& program = *from_handle(handle);
  fake::Compiler& compiler = *fake_compiler();
  const Kernel kernel = kernel_in(program.source);
  ++compiler.compiles;
  {
    const std::lock_guard lock(compiler.mutex);
    compiler.compiled.push_back(kernel.name);
  }
  const int at_once = ++compiler.units_at_once;
  for (int most = compiler.most_units_at_once; most < at_once;)
    if (compiler.most_units_at_once.compare_exchange_weak(most, at_once)) break;
  std::this_thread::sleep_for(compiler.duration.load());
  --compiler.units_at_once;
  if (const nvrtcResult result = compiler.result) {
    program.log = "mhcjit.cu(1): error: the fake compiler was told to refuse";
    return result;
  }
  int sm = 0;
  for (int i = 0; i < count; ++i)
    if (const std::string_view option = options[i]; option.starts_with("--gpu-architecture=sm_"))
      sm = std::atoi(option.substr(22).data());
  program.cubin = cubin_for(sm, kernel);
  program.log = "ptxas info    : Compiling entry function '" + kernel.name +
                "' for 'sm_90a'\nptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem\n";
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t* bytes) {
  *bytes = from_handle(program)->cubin.size();
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char* into) {
  const std::string& cubin = from_handle(program)->cubin;
  std::memcpy(into, cubin.data(), cubin.size());
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t* bytes) {
  *bytes = from_handle(program)->log.size() + 1;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char* into) {
  const std::string& log = from_handle(program)->log;
  std::memcpy(into, log.c_str(), log.size() + 1);
  return NVRTC_SUCCESS;
}
