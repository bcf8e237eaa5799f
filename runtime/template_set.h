// The headers that a generated source may include: those inside the library, or those of a developer's folder.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <llvm/Support/Error.h>

#include "runtime/nvrtc.h"

namespace mhcjit::runtime {

struct TemplateSet {
  std::vector<Header> headers;  // ordered by name
  std::string digest;           // SHA-256 over all names and texts, hexadecimal

  // What `headers` points into when a folder was read; empty for the embedded templates.
  std::vector<std::pair<std::string, std::string>> files;
};

// `folder` "" gives the embedded templates, made once in a process. Any other folder is read now, all its .cuh files.
// Errors: IO (the folder or one of its files cannot be read, or it holds no .cuh file).
llvm::Expected<std::shared_ptr<const TemplateSet>> load_templates(const std::string& folder);

}  // namespace mhcjit::runtime
