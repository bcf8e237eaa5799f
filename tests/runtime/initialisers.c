#include "tests/runtime/initialisers.h"

const mhcjit_engine_options c_engine_options = MHCJIT_ENGINE_OPTIONS_INIT;
const mhcjit_problem c_problem = MHCJIT_PROBLEM_INIT;
const mhcjit_pre_forward_args c_pre_forward_args = MHCJIT_PRE_FORWARD_ARGS_INIT;
const mhcjit_pre_backward_args c_pre_backward_args = MHCJIT_PRE_BACKWARD_ARGS_INIT;
const mhcjit_compile_result c_compile_result = MHCJIT_COMPILE_RESULT_INIT;
const mhcjit_plan_info c_plan_info = MHCJIT_PLAN_INFO_INIT;
const mhcjit_counters c_counters = MHCJIT_COUNTERS_INIT;
const mhcjit_argument c_argument = MHCJIT_ARGUMENT_INIT;
