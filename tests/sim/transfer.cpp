#include "transfer.h"

#include <cstring>

#include "shared_address.h"

namespace mhcjit::sim {

void write(const Transfer& transfer, std::byte* shared) {
  std::byte* to = shared + transfer.to;
  if (const auto* bytes = std::get_if<Transfer::Bytes>(&transfer.source))
    std::memcpy(to, bytes->from, transfer.bytes);
  else if (const auto* box = std::get_if<Transfer::Box>(&transfer.source))
    copy_box(box->shape, box->first, to, shared_base + transfer.to);
  else
    std::memcpy(to, &std::get<Transfer::Words>(transfer.source), transfer.bytes);
}

}  // namespace mhcjit::sim
