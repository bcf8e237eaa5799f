/* mhcjit: the mHC "pre" operator, specialised and compiled at run time.
 *
 * mHC = Manifold-Constrained Hyper-Connections (arXiv 2512.24880, section 4, equations 14-18).
 * A layer keeps n parallel residual streams. "pre" reads all n streams of a token, derives three sets of
 * mixing coefficients from them and collapses the streams into the input of the sublayer.
 *
 * A host application does four things:
 *
 *     mhcjit_engine *engine;      mhcjit_engine_create(NULL, &engine);                       once
 *     const mhcjit_operator *op;  mhcjit_prepare(engine, &problem, device, stream, &op);     once per shape
 *     size_t bytes;               mhcjit_workspace_bytes(op, T, &bytes);                     once per T
 *     mhcjit_pre_forward(op, &args, stream);                                                 every layer
 *
 * Each header has a subject:
 *
 *     status.h                        outcomes of calls; how structs grow
 *     engine.h                        engines, problems, preparing, compiling, counters; threads and limits
 *     pre_forward.h, pre_backward.h   formulas, shapes and arguments, an operator each
 *     arguments.h                     the argument struct of an operator as a table, for other languages
 *
 * C++ has mhcjit.hpp over this one.
 */
#ifndef MHCJIT_MHCJIT_H
#define MHCJIT_MHCJIT_H

#include "mhcjit/arguments.h"
#include "mhcjit/engine.h"
#include "mhcjit/pre_backward.h"
#include "mhcjit/pre_forward.h"
#include "mhcjit/status.h"

#endif /* MHCJIT_MHCJIT_H */
