/* What a C compiler makes of the initialisers. */
#ifndef MHCJIT_TESTS_INITIALISERS_H
#define MHCJIT_TESTS_INITIALISERS_H

#include "mhcjit/mhcjit.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const mhcjit_engine_options c_engine_options;
extern const mhcjit_problem c_problem;
extern const mhcjit_pre_forward_args c_pre_forward_args;
extern const mhcjit_pre_backward_args c_pre_backward_args;
extern const mhcjit_compile_result c_compile_result;
extern const mhcjit_plan_info c_plan_info;
extern const mhcjit_counters c_counters;
extern const mhcjit_argument c_argument;

#ifdef __cplusplus
}
#endif

#endif /* MHCJIT_TESTS_INITIALISERS_H */
