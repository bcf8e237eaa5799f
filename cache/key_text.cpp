#include "cache/key_text.h"

#include <llvm/ADT/STLExtras.h>

#include "support/error.h"

namespace mhcjit::cache {
namespace {

// Takes "<name's bytes>,<value's bytes> <name>=<value>\n" off the front.
bool take_field(llvm::StringRef& rest, KeyField& field) {
  std::size_t name = 0, value = 0;
  if (rest.consumeInteger(10, name) || !rest.consume_front(",") || rest.consumeInteger(10, value) ||
      !rest.consume_front(" ")) {
    return false;
  }
  // '=' and the newline; subtractions, because a sum of forged lengths could wrap.
  if (rest.size() < 2 || name > rest.size() - 2 || value > rest.size() - 2 - name) return false;
  if (rest[name] != '=' || rest[name + 1 + value] != '\n') return false;
  field = {rest.take_front(name).str(), rest.substr(name + 1, value).str()};
  rest = rest.drop_front(name + value + 2);
  return true;
}

}  // namespace

llvm::Expected<std::vector<KeyField>> parse_key_text(llvm::StringRef text) {
  std::vector<KeyField> fields;
  for (llvm::StringRef rest = text; !rest.empty();) {
    const std::size_t offset = text.size() - rest.size();
    if (!take_field(rest, fields.emplace_back())) {
      return make_error(MHCJIT_ERROR_BAD_FILE, "key text: byte {} does not begin a field, it should be '{}'", offset,
                        "<length>,<length> <name>=<value>");
    }
  }
  return fields;
}

llvm::StringRef find_field(const std::vector<KeyField>& fields, llvm::StringRef name) {
  const auto found = llvm::find_if(fields, [&](const KeyField& field) { return field.name == name; });
  return found == fields.end() ? "" : llvm::StringRef(found->value);
}

}  // namespace mhcjit::cache
