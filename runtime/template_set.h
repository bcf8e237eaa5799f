// The headers that a generated source may include: those inside the library, or those of a developer's folder.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <llvm/Support/Error.h>

#include "runtime/nvrtc.h"

namespace mhcjit::runtime {

struct TemplateSet {
  std::vector<Header> headers;  // ordered by name, which is the path below the folder: "device/device.cuh"

  // `headers` points into these when a folder was read; empty for the embedded templates.
  std::vector<std::pair<std::string, std::string>> files;
};

// `folder` "" gives the embedded templates, made once in a process. Any other folder is read now, all .cuh files in it
// and below it. Errors: IO (the folder or one of its files cannot be read, or it holds no .cuh file).
llvm::Expected<std::shared_ptr<const TemplateSet>> load_templates(const std::string& folder);

// The headers that `source` includes with angle brackets, and those that they include, ordered by name. The compiler
// reports a header that the set does not have.
std::vector<Header> included_headers(const TemplateSet& templates, std::string_view source);

// SHA-256 over all names and texts, hexadecimal.
std::string digest_of(const std::vector<Header>& headers);

}  // namespace mhcjit::runtime
