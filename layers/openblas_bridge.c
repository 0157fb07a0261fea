/* Answers NumPy's calls of its own OpenBLAS (ILP64: integers of 64 bits) with the OpenBLAS that MXNet brings (LP64: 32 bits).
 *
 * Compiled by layers/openblas_bridge.py under the file name of NumPy's library, in its place, and linked against MXNet's libopenblas.so.0. It has the
 * functions that NumPy's extension modules ask for and no others; tests/layer/ compares the list with each wheel's. NumPy 1.26 calls them
 * cblas_sgemm64_ and sgesv_64_, NumPy 2 puts `scipy_` in front of each (-DPREFIX=scipy_).
 *
 * The contracts: the CBLAS interface of the BLAS Technical Forum Standard (appendix B), LAPACK's Fortran interface (3.9) with gfortran's calling
 * convention: everything by pointer, then the lengths of the character arguments by value, which C callers, NumPy among them, leave out.
 *
 * What 32 bits do not hold:
 *   - BLAS has no way of refusing: it is computed here, element by element. It takes an array of more than 2^31 elements.
 *   - LAPACK has: info = -i, "argument i had an illegal value".
 * -DLARGEST=… makes the limit small, for tests.
 */
#include <complex.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef LARGEST
#define LARGEST INT32_MAX
#endif

typedef int64_t wide;   /* NumPy's integer */
typedef int32_t narrow; /* that of MXNet's OpenBLAS */
typedef float s;
typedef double d;
typedef float complex c;
typedef double complex z;

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#ifdef PREFIX
#define OURS(name) JOIN(PREFIX, JOIN(name, 64_))
#else
#define OURS(name) JOIN(name, 64_)
#endif
#define EXPORTED __attribute__((visibility("default")))

static int fits(wide value) { return value <= LARGEST && value >= -(wide)LARGEST; }

/* OpenMP's threads do not live on in a forked child, and libgomp waits for them. The one thread that does is told to do without; threads that the
 * child starts have teams of their own. */
extern void openblas_set_num_threads(int);
static void one_thread(void) { openblas_set_num_threads(1); }
__attribute__((constructor)) static void prepare_for_forks(void) { pthread_atfork(NULL, NULL, one_thread); }

/* ---- BLAS, through CBLAS ---- */

enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, CONJUGATE = 113, UPPER = 121 };

/* Where a vector starts: BLAS goes through it backwards where the increment is negative. */
static wide start(wide n, wide increment) { return increment < 0 ? (1 - n) * increment : 0; }

/* Between elements of op(A) in neighbouring rows, and in neighbouring columns. */
static wide row_step(int order, int transpose, wide leading) { return (order == ROW_MAJOR) == (transpose == NO_TRANSPOSE) ? leading : 1; }
static wide column_step(int order, int transpose, wide leading) { return (order == ROW_MAJOR) == (transpose == NO_TRANSPOSE) ? 1 : leading; }

#define S_CONJ(value) (value)
#define D_CONJ(value) (value)
#define C_CONJ(value) conjf(value)
#define Z_CONJ(value) conj(value)

/* T: the element; IN: how a scalar is handed over; VALUE: that scalar; BETA 0 means that the old values, NaN included, do not count. */
#define BLAS(T, CONJ, IN, VALUE, ARRAY)                                                                                                              \
  extern void JOIN(cblas_, T##axpy)(narrow, IN, const ARRAY *, narrow, ARRAY *, narrow);                                                             \
  EXPORTED void OURS(cblas_##T##axpy)(wide n, IN alpha, const ARRAY *x, wide incx, ARRAY *y, wide incy) {                                            \
    if (fits(n) && fits(incx) && fits(incy)) {                                                                                                       \
      cblas_##T##axpy(n, alpha, x, incx, y, incy);                                                                                                   \
      return;                                                                                                                                        \
    }                                                                                                                                                \
    const T *from = (const T *)x + start(n, incx);                                                                                                   \
    T *to = (T *)y + start(n, incy), a = VALUE(T, alpha);                                                                                            \
    for (wide i = 0; i < n; i++) to[i * incy] += a * from[i * incx];                                                                                 \
  }                                                                                                                                                  \
  static void T##_multiply(wide m, wide n, wide k, T alpha, const T *a, wide a_row, wide a_column, int conj_a, const T *b, wide b_row,               \
                           wide b_column, int conj_b, T beta, T *to, wide to_row, wide to_column) {                                                  \
    for (wide i = 0; i < m; i++)                                                                                                                     \
      for (wide j = 0; j < n; j++) {                                                                                                                 \
        T sum = 0, *result = to + i * to_row + j * to_column;                                                                                        \
        for (wide l = 0; l < k; l++) {                                                                                                               \
          T left = a[i * a_row + l * a_column], right = b[l * b_row + j * b_column];                                                                 \
          sum += (conj_a ? CONJ(left) : left) * (conj_b ? CONJ(right) : right);                                                                      \
        }                                                                                                                                            \
        *result = beta == 0 ? alpha * sum : alpha * sum + beta * *result;                                                                            \
      }                                                                                                                                              \
  }                                                                                                                                                  \
  extern void cblas_##T##gemv(int, int, narrow, narrow, IN, const ARRAY *, narrow, const ARRAY *, narrow, IN, ARRAY *, narrow);                      \
  EXPORTED void OURS(cblas_##T##gemv)(int order, int transpose, wide m, wide n, IN alpha, const ARRAY *a, wide lda, const ARRAY *x, wide incx,       \
                                      IN beta, ARRAY *y, wide incy) {                                                                                \
    if (fits(m) && fits(n) && fits(lda) && fits(incx) && fits(incy)) {                                                                               \
      cblas_##T##gemv(order, transpose, m, n, alpha, a, lda, x, incx, beta, y, incy);                                                                \
      return;                                                                                                                                        \
    }                                                                                                                                                \
    wide rows = transpose == NO_TRANSPOSE ? m : n, columns = transpose == NO_TRANSPOSE ? n : m;                                                      \
    T##_multiply(rows, 1, columns, VALUE(T, alpha), (const T *)a, row_step(order, transpose, lda), column_step(order, transpose, lda),               \
                 transpose == CONJUGATE, (const T *)x + start(columns, incx), incx, 0, 0, VALUE(T, beta), (T *)y + start(rows, incy), incy, 0);      \
  }                                                                                                                                                  \
  extern void cblas_##T##gemm(int, int, int, narrow, narrow, narrow, IN, const ARRAY *, narrow, const ARRAY *, narrow, IN, ARRAY *, narrow);         \
  EXPORTED void OURS(cblas_##T##gemm)(int order, int transpose_a, int transpose_b, wide m, wide n, wide k, IN alpha, const ARRAY *a, wide lda,       \
                                      const ARRAY *b, wide ldb, IN beta, ARRAY *to, wide ldc) {                                                      \
    if (fits(m) && fits(n) && fits(k) && fits(lda) && fits(ldb) && fits(ldc)) {                                                                      \
      cblas_##T##gemm(order, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, to, ldc);                                               \
      return;                                                                                                                                        \
    }                                                                                                                                                \
    T##_multiply(m, n, k, VALUE(T, alpha), (const T *)a, row_step(order, transpose_a, lda), column_step(order, transpose_a, lda),                    \
                 transpose_a == CONJUGATE, (const T *)b, row_step(order, transpose_b, ldb), column_step(order, transpose_b, ldb),                    \
                 transpose_b == CONJUGATE, VALUE(T, beta), (T *)to, row_step(order, NO_TRANSPOSE, ldc),                                              \
                 column_step(order, NO_TRANSPOSE, ldc));                                                                                             \
  }                                                                                                                                                  \
  extern void cblas_##T##syrk(int, int, int, narrow, narrow, IN, const ARRAY *, narrow, IN, ARRAY *, narrow);                                        \
  EXPORTED void OURS(cblas_##T##syrk)(int order, int triangle, int transpose, wide n, wide k, IN alpha, const ARRAY *a, wide lda, IN beta,           \
                                      ARRAY *to, wide ldc) {                                                                                         \
    if (fits(n) && fits(k) && fits(lda) && fits(ldc)) {                                                                                              \
      cblas_##T##syrk(order, triangle, transpose, n, k, alpha, a, lda, beta, to, ldc);                                                               \
      return;                                                                                                                                        \
    }                                                                                                                                                \
    wide row = row_step(order, transpose, lda), column = column_step(order, transpose, lda);                                                         \
    wide to_row = row_step(order, NO_TRANSPOSE, ldc), to_column = column_step(order, NO_TRANSPOSE, ldc);                                             \
    for (wide i = 0; i < n; i++) { /* row i of the triangle: from the diagonal on, or up to it */                                                    \
      wide first = triangle == UPPER ? i : 0, count = triangle == UPPER ? n - i : i + 1;                                                             \
      T##_multiply(1, count, k, VALUE(T, alpha), (const T *)a + i * row, row, column, 0, (const T *)a + first * row, column, row, 0,                 \
                   VALUE(T, beta), (T *)to + i * to_row + first * to_column, to_row, to_column);                                                     \
    }                                                                                                                                                \
  }                                                                                                                                                  \
  extern void T##copy_(const narrow *, const T *, const narrow *, T *, const narrow *);                                                              \
  EXPORTED wide OURS(T##copy_)(const wide *n, const T *x, const wide *incx, T *y, const wide *incy) {                                                \
    if (fits(*n) && fits(*incx) && fits(*incy)) {                                                                                                    \
      narrow count = *n, step_x = *incx, step_y = *incy;                                                                                             \
      T##copy_(&count, x, &step_x, y, &step_y);                                                                                                      \
      return 0;                                                                                                                                      \
    }                                                                                                                                                \
    const T *from = x + start(*n, *incx);                                                                                                            \
    T *to = y + start(*n, *incy);                                                                                                                    \
    for (wide i = 0; i < *n; i++) to[i * *incy] = from[i * *incx];                                                                                   \
    return 0;                                                                                                                                        \
  }

#define BY_VALUE(T, scalar) (scalar)
#define BY_POINTER(T, scalar) (*(const T *)(scalar))
BLAS(s, S_CONJ, s, BY_VALUE, s)
BLAS(d, D_CONJ, d, BY_VALUE, d)
BLAS(c, C_CONJ, const void *, BY_POINTER, void)
BLAS(z, Z_CONJ, const void *, BY_POINTER, void)

#define REAL_DOT(T)                                                                                                                                  \
  extern T cblas_##T##dot(narrow, const T *, narrow, const T *, narrow);                                                                             \
  EXPORTED T OURS(cblas_##T##dot)(wide n, const T *x, wide incx, const T *y, wide incy) {                                                            \
    if (fits(n) && fits(incx) && fits(incy)) return cblas_##T##dot(n, x, incx, y, incy);                                                             \
    T sum = 0;                                                                                                                                       \
    T##_multiply(1, 1, n, 1, x + start(n, incx), 0, incx, 0, y + start(n, incy), incy, 0, 0, 0, &sum, 0, 0);                                         \
    return sum;                                                                                                                                      \
  }
REAL_DOT(s)
REAL_DOT(d)

#define COMPLEX_DOT(T, NAME, CONJUGATED)                                                                                                             \
  extern void cblas_##T##NAME##_sub(narrow, const void *, narrow, const void *, narrow, void *);                                                     \
  EXPORTED void OURS(cblas_##T##NAME##_sub)(wide n, const void *x, wide incx, const void *y, wide incy, void *result) {                              \
    if (fits(n) && fits(incx) && fits(incy)) {                                                                                                       \
      cblas_##T##NAME##_sub(n, x, incx, y, incy, result);                                                                                            \
      return;                                                                                                                                        \
    }                                                                                                                                                \
    T##_multiply(1, 1, n, 1, (const T *)x + start(n, incx), 0, incx, CONJUGATED, (const T *)y + start(n, incy), incy, 0, 0, 0, result, 0, 0);        \
  }
COMPLEX_DOT(c, dotu, 0)
COMPLEX_DOT(c, dotc, 1)
COMPLEX_DOT(z, dotu, 0)
COMPLEX_DOT(z, dotc, 1)

/* ---- LAPACK ---- */

/* Declares `name_` with the value of `*name`, or refuses it as the argument of that number. */
#define NARROW(number, name)                                                                                                                         \
  if (!fits(*name)) return *info = -(number), 0;                                                                                                     \
  narrow name##_ = (narrow)*name

/* What LAPACK wrote as 32-bit integers into the caller's array of 64-bit ones, made 64-bit in place: from the end, where nothing is overwritten
 * that is still to be read. */
static void widen(wide *array, wide count) {
  for (wide i = count; i-- > 0;) {
    narrow value;
    memcpy(&value, (const char *)array + i * sizeof value, sizeof value);
    array[i] = value;
  }
}

/* Characters are one letter each. */
static const size_t one_letter = 1;

/* The functions, written by layers/openblas_bridge.py from LAPACK's argument lists. */
#include "lapack_functions.h"
