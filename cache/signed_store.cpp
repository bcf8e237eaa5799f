#include "cache/signed_store.h"

#include "cache/entry_file.h"
#include "cache/hmac.h"
#include "support/error.h"

namespace mhcjit::cache {
namespace {

static_assert(tag_magic.size() + sizeof(Mac) == tag_bytes);

class SignedStore final : public EntryStore {
 public:
  SignedStore(std::unique_ptr<EntryStore> store, std::string hmac_key)
      : store_(std::move(store)), hmac_key_(std::move(hmac_key)) {}

  llvm::Expected<std::optional<Bytes>> read(llvm::StringRef digest) override {
    auto file = store_->read(digest);
    if (!file || !*file) return file;
    if (llvm::Error error = check(**file)) return error;
    return file;
  }

  // A tag that is there already gives way: a bundle's entry comes with it, and has been checked.
  llvm::Error write(llvm::StringRef digest, llvm::StringRef file) override {
    const llvm::StringRef entry = without_tag(file);
    return store_->write(digest, entry.str() + tag_of(entry, hmac_key_));
  }

  llvm::Error check(llvm::StringRef file) const override {
    const llvm::StringRef entry = without_tag(file);
    const llvm::StringRef tag = file.drop_front(entry.size());
    if (same_bytes(tag, tag_of(entry, hmac_key_))) return llvm::Error::success();
    return make_error(MHCJIT_ERROR_BAD_FILE, "cache entry: tag is {}, it should be made with the key in use",
                      tag.empty() ? "absent" : "another key's or another entry's");
  }

 private:
  const std::unique_ptr<EntryStore> store_;
  const std::string hmac_key_;
};

}  // namespace

std::string tag_of(llvm::StringRef entry, llvm::StringRef hmac_key) {
  const Mac mac = hmac_sha256(hmac_key, entry);
  return tag_magic.str().append(mac.begin(), mac.end());
}

std::unique_ptr<EntryStore> signed_store(std::unique_ptr<EntryStore> store, std::string hmac_key) {
  if (hmac_key.empty()) return store;
  return std::make_unique<SignedStore>(std::move(store), std::move(hmac_key));
}

}  // namespace mhcjit::cache
