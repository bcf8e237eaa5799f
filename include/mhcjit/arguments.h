/* The argument struct of an operator, described by the library itself. A binding for another language reads it in place
 * of a list of its own.
 *
 *     size_t count, bytes;  mhcjit_operator_arguments(&problem, &count, &bytes);
 *     for (size_t i = 0; i < count; ++i) {
 *       mhcjit_argument argument = MHCJIT_ARGUMENT_INIT;
 *       mhcjit_operator_argument(&problem, i, &argument);
 *     }
 */
#ifndef MHCJIT_ARGUMENTS_H
#define MHCJIT_ARGUMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "mhcjit/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mhcjit_argument_kind {
  MHCJIT_ARGUMENT_TENSOR = 0,  /* the address of a tensor */
  MHCJIT_ARGUMENT_ADDRESS = 1, /* that of other memory: workspace */
  MHCJIT_ARGUMENT_SIZE = 2,    /* size_t: struct_size, workspace_bytes */
  MHCJIT_ARGUMENT_INT64 = 3,   /* T */
  MHCJIT_ARGUMENT_INT32 = 4,   /* a flag, 0 or 1; reserved, 0 */
  MHCJIT_ARGUMENT_FLOAT = 5
} mhcjit_argument_kind;

typedef enum mhcjit_role {
  MHCJIT_INPUT = 0,
  MHCJIT_OPTIONAL_INPUT = 1, /* may be NULL */
  MHCJIT_OUTPUT = 2,
  MHCJIT_OPTIONAL_OUTPUT = 3 /* may be NULL */
} mhcjit_role;

/* One member of an argument struct. Strings are never freed. Start from MHCJIT_ARGUMENT_INIT. */
typedef struct mhcjit_argument {
  size_t struct_size MHCJIT_BEGINS_AS(sizeof(mhcjit_argument)); /* how structs grow: status.h */
  const char* name;
  size_t offset; /* in the argument struct */
  mhcjit_argument_kind kind;
  /* The rest is that of a tensor, else zero. */
  int32_t exists;    /* 0: the problem does not have it, as gamma without has_gamma, and NULL must be passed */
  const char* shape; /* "T n D": extents from the outermost, each T, n, D, M = n*n + 2n or a number, a blank between */
  mhcjit_role role;
  mhcjit_dtype dtype;
  size_t alignment;            /* in bytes, of its address */
  const char* accumulate_flag; /* the argument that says, by 1, that the output is added to; NULL: there is none */
} mhcjit_argument;

#define MHCJIT_ARGUMENT_INIT MHCJIT_INITIALISER(.struct_size = sizeof(mhcjit_argument))

/* How many arguments the operator of `problem` has, and sizeof of its argument struct.
 * Errors: INVALID_ARGUMENT (problem), NULL_POINTER. */
MHCJIT_API mhcjit_status mhcjit_operator_arguments(const mhcjit_problem* problem, size_t* count, size_t* struct_bytes);

/* Argument `index`, in the order of the struct; the first is struct_size. Needs no engine. Cost: microseconds.
 * Errors: INVALID_ARGUMENT (problem; index; struct_size), NULL_POINTER, OUT_OF_MEMORY. */
MHCJIT_API mhcjit_status mhcjit_operator_argument(const mhcjit_problem* problem, size_t index,
                                                  mhcjit_argument* argument);

#ifdef __cplusplus
}
#endif

#endif /* MHCJIT_ARGUMENTS_H */
