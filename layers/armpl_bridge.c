/* Answers MXNet's calls of Arm Performance Libraries (LP64: integers of 32 bits) with the OpenBLAS that NumPy brings (ILP64: 64 bits).
 *
 * MXNet's wheel for aarch64 needs libarmpl_lp64_mp.so, which no wheel brings. Compiled by layers/armpl_bridge.py under that name and linked against
 * NumPy's OpenBLAS, this has the functions that libmxnet asks for and no others; tests/layer/ compares the list with libmxnet's. NumPy 1.26's
 * OpenBLAS has them as cblas_sgemm64_ and sgesv_64_, NumPy 2's with `scipy_` in front (-DPREFIX=scipy_).
 *
 * The contracts: the CBLAS interface of the BLAS Technical Forum Standard (appendix B), LAPACKE's and LAPACK's (3.9), the latter with gfortran's
 * calling convention: everything by pointer, then the lengths of the character arguments by value.
 *
 * Every integer of 32 bits fits into one of 64, and what comes back (info, pivots) is not larger than a dimension that came in. An array of
 * integers cannot be shared, since its elements have another size: the callee gets one of its own.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef int32_t narrow; /* MXNet's integer */
typedef int64_t wide;   /* that of NumPy's OpenBLAS */
typedef float s;
typedef double d;

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#ifdef PREFIX
#define THEIRS(name) JOIN(PREFIX, JOIN(name, 64_))
#else
#define THEIRS(name) JOIN(name, 64_)
#endif
#define EXPORTED __attribute__((visibility("default")))

/* What LAPACKE returns where it has no memory: LAPACK_WORK_MEMORY_ERROR. */
enum { NO_MEMORY = -1010 };

static inline wide least(wide a, wide b) { return a < b ? a : b; }

/* For `count` integers; a caller's negative dimension is the callee's to refuse. */
static inline wide *room(wide count) { return malloc(sizeof(wide) * (size_t)(count > 0 ? count : 1)); }

static inline void widen(wide *to, const narrow *from, wide count) {
  for (wide i = 0; i < count; i++) to[i] = from[i];
}

static inline void narrow_down(narrow *to, const wide *from, wide count) {
  for (wide i = 0; i < count; i++) to[i] = (narrow)from[i];
}

/* Characters are one letter each. */
static const size_t one_letter = 1;

/* The functions, written by layers/armpl_bridge.py from their argument lists. */
#include "functions.h"
