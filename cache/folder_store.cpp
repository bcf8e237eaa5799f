#include "cache/folder_store.h"

#include <utility>

#include "cache/entry_file.h"
#include "cache/replace_file.h"
#include "cache/signed_store.h"

namespace mhcjit::cache {
namespace {

class FolderStore final : public EntryStore {
 public:
  FolderStore(std::string root, FolderAccess access) : root_(std::move(root)), access_(access) {}

  llvm::Expected<std::optional<Bytes>> read(llvm::StringRef digest) override {
    const std::string path = root_ + "/" + (digest + entry_extension).str();
    return read_file(access_.ops, path, max_entry_file_bytes, access_.trust, access_.recency);
  }

  llvm::Error write(llvm::StringRef digest, llvm::StringRef file) override {
    return replace_file(access_.ops, root_, digest.str(), entry_extension, file, access_.flush);
  }

 private:
  const std::string root_;
  const FolderAccess access_;
};

}  // namespace

std::unique_ptr<EntryStore> folder_store(std::string root, FolderAccess access) {
  return std::make_unique<FolderStore>(std::move(root), access);
}

llvm::Error open_folder(FileOps& ops, const std::string& root, Trust trust) {
  llvm::Expected<bool> usable = check_folder(ops, root, trust);
  if (!usable) return usable.takeError();
  if (*usable) return llvm::Error::success();
  if (llvm::Error error = make_folder(ops, root)) return error;
  return check_folder(ops, root, trust).takeError();
}

Trust trust_with(llvm::StringRef hmac_key) { return hmac_key.empty() ? Trust::owner : Trust::everyone; }

std::unique_ptr<EntryStore> open_folder_store(std::string root, const std::string& hmac_key) {
  return signed_store(folder_store(std::move(root), {.trust = trust_with(hmac_key)}), hmac_key);
}

}  // namespace mhcjit::cache
