#include "tests/fake_driver/fake_nvrtc.h"

#include <elf.h>

#include <algorithm>
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

// The names that follow "__global__ ... __launch_bounds__(...)" in an emitted unit.
std::vector<std::string> kernels_in(std::string_view source) {
  std::vector<std::string> kernels;
  for (std::size_t at = source.find("__global__"); at != source.npos; at = source.find("__global__", at + 1)) {
    const std::size_t begin = source.find("\nmhcjit_", at) + 1;
    kernels.emplace_back(source.substr(begin, source.find('(', begin) - begin));
  }
  return kernels;
}

bool begins_operator(const std::vector<std::string>& kernels) {
  return std::any_of(kernels.begin(), kernels.end(), [](const std::string& kernel) {
    return kernel == "mhcjit_pre_forward_pack_phi" || kernel == "mhcjit_pre_forward_one_pass" ||
           kernel == "mhcjit_pre_backward_coefficients";
  });
}

std::string cubin_for(int sm, const std::vector<std::string>& kernels) {
  std::string names;
  for (const std::string& kernel : kernels) names += kernel + '\0';
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
  const std::vector<std::string> kernels = kernels_in(program.source);
  if (begins_operator(kernels)) ++compiler.compiles;
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
  program.cubin = cubin_for(sm, kernels);
  for (const std::string& kernel : kernels)
    program.log += "ptxas info    : Compiling entry function '" + kernel +
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
