// Structs of the C ABI that grow: each begins with struct_size, which says how much of it the caller's program knows.
// Nothing beyond is read or written.
#pragma once

#include <cstddef>
#include <cstring>

#include <llvm/Support/Error.h>

#include "mhcjit/mhcjit.h"

namespace mhcjit::runtime {

struct SizedStruct {
  const char* name;
  const char* initialiser;
  std::size_t first_bytes;  // of the first version: a number, which stays when the struct grows
  std::size_t bytes;        // of this version
};

// sized<T> describes each struct.
template <typename T>
inline constexpr SizedStruct sized = {};

// `last` is the last member: nothing may follow it, as a member that a later version adds would lie in bytes that an
// older program has, but does not set.
#define MHCJIT_FILLED_STRUCT(type, last, initialiser, first_bytes)                                   \
  static_assert(offsetof(type, last) + sizeof(type::last) == sizeof(type), "add a reserved member"); \
  MHCJIT_RECEIVED_STRUCT(type, initialiser, first_bytes)
#define MHCJIT_RECEIVED_STRUCT(type, initialiser, first_bytes)                      \
  static_assert(offsetof(type, struct_size) == 0 && sizeof(type) >= (first_bytes)); \
  template <>                                                                       \
  inline constexpr SizedStruct sized<type> = {#type, #initialiser, first_bytes, sizeof(type)}

MHCJIT_FILLED_STRUCT(mhcjit_engine_options, tuned_path, MHCJIT_ENGINE_OPTIONS_INIT, 120);
MHCJIT_FILLED_STRUCT(mhcjit_problem, fp32_dx, MHCJIT_PROBLEM_INIT, 40);
MHCJIT_FILLED_STRUCT(mhcjit_pre_forward_args, workspace_bytes, MHCJIT_PRE_FORWARD_ARGS_INIT, 136);
MHCJIT_FILLED_STRUCT(mhcjit_pre_backward_args, reserved, MHCJIT_PRE_BACKWARD_ARGS_INIT, 176);
MHCJIT_RECEIVED_STRUCT(mhcjit_compile_result, MHCJIT_COMPILE_RESULT_INIT, 104);
MHCJIT_RECEIVED_STRUCT(mhcjit_counters, MHCJIT_COUNTERS_INIT, 120);
MHCJIT_RECEIVED_STRUCT(mhcjit_plan_info, MHCJIT_PLAN_INFO_INIT, 128);
MHCJIT_RECEIVED_STRUCT(mhcjit_argument, MHCJIT_ARGUMENT_INIT, 64);

// INVALID_ARGUMENT: of no version's size.
llvm::Error check_struct_size(const SizedStruct& type, std::size_t size);

// Copies what the program knows of `given` over `known`, this version's struct as it begins. Errors: INVALID_ARGUMENT,
// also where `given` is larger and not zero beyond.
llvm::Error read_struct(const SizedStruct& type, const void* given, void* known);

// `use(struct)`, an llvm::Error or Expected, with what a caller filled, as this version's struct: the caller's own
// where it is of this version.
template <typename T, typename Use>
auto with_filled(const T& given, const Use& use) -> decltype(use(given)) {
  if (given.struct_size == sizeof(T)) [[likely]]
    return use(given);
  T known = {};
  if (auto error = read_struct(sized<T>, &given, &known)) return error;
  return use(known);
}

// Before the work whose outcome the caller receives.
template <typename T>
llvm::Error check_received(const T& received) {
  return check_struct_size(sized<T>, received.struct_size);
}

// `received` has passed check_received(). Its struct_size stays.
template <typename T>
void write_received(const T& value, T& received) {
  constexpr std::size_t begin = sizeof received.struct_size;
  const std::size_t end = received.struct_size < sizeof(T) ? received.struct_size : sizeof(T);
  std::memcpy(reinterpret_cast<std::byte*>(&received) + begin, reinterpret_cast<const std::byte*>(&value) + begin,
              end - begin);
}

}  // namespace mhcjit::runtime
