#include "runtime/template_set.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/FileSystem.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/Path.h>
#include <llvm/Support/SHA256.h>

#include "support/error.h"
#include "templates/embedded.h"

namespace mhcjit::runtime {
namespace {

std::shared_ptr<const TemplateSet> embedded_set() {
  auto set = std::make_shared<TemplateSet>();
  for (const auto& embedded : templates::embedded_templates()) set->headers.push_back({embedded.name, embedded.text});
  return set;
}

llvm::Error cannot_read(const std::string& path, const std::error_code& error) {
  return make_error(MHCJIT_ERROR_IO,
                    "template_dir: {} cannot be read: {}; name a folder of .cuh templates, or NULL for "
                    "those of the library",
                    path, error.message());
}

}  // namespace

llvm::Expected<std::shared_ptr<const TemplateSet>> load_templates(const std::string& folder) {
  if (folder.empty()) {
    static const std::shared_ptr<const TemplateSet> embedded = embedded_set();
    return embedded;
  }
  auto set = std::make_shared<TemplateSet>();
  std::error_code error;
  for (llvm::sys::fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string& path = entry->path();
    if (!llvm::StringRef(path).ends_with(".cuh")) continue;
    auto text = llvm::MemoryBuffer::getFile(path);
    if (!text) return cannot_read(path, text.getError());
    llvm::StringRef name = path;
    name.consume_front(folder);
    set->files.emplace_back(name.ltrim('/'), (*text)->getBuffer());
  }
  if (error) return cannot_read(folder, error);
  if (set->files.empty()) return cannot_read(folder, std::make_error_code(std::errc::no_such_file_or_directory));
  std::sort(set->files.begin(), set->files.end());
  for (const auto& [name, text] : set->files) set->headers.push_back({name, text});
  return set;
}

std::vector<Header> included_headers(const TemplateSet& templates, std::string_view source) {
  std::map<std::string_view, std::string_view> found;
  std::vector<std::string_view> unread = {source};
  while (!unread.empty()) {
    llvm::StringRef text = unread.back();
    unread.pop_back();
    while (!text.empty()) {
      llvm::StringRef line;
      std::tie(line, text) = text.split('\n');
      if (!line.consume_front("#include <")) continue;
      const llvm::StringRef name = line.take_until([](char c) { return c == '>'; });
      const auto header = std::ranges::lower_bound(templates.headers, std::string_view(name), {}, &Header::name);
      if (header == templates.headers.end() || header->name != std::string_view(name)) continue;
      if (found.emplace(header->name, header->text).second) unread.push_back(header->text);
    }
  }
  std::vector<Header> headers;
  for (const auto& [name, text] : found) headers.push_back({name, text});
  return headers;
}

std::string digest_of(const std::vector<Header>& headers) {
  llvm::SHA256 hash;
  for (const Header& header : headers) {
    hash.update(fmt::format("{},{} ", header.name.size(), header.text.size()));
    hash.update(llvm::StringRef(header.name));
    hash.update(llvm::StringRef(header.text));
  }
  return llvm::toHex(hash.final(), /*LowerCase=*/true);
}

}  // namespace mhcjit::runtime
