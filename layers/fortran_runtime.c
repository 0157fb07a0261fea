/* The four functions of GNU Fortran's runtime that MXNet's OpenBLAS calls, under the name of the library that it asks the loader for.
 *
 * The library itself, libgfortran.so.3 of GCC 4.3 to 6, takes 1.2 MB and needs libquadmath, another 0.25; nearly all of both reads and writes files and
 * formats numbers. libmxnet names it, too, and takes nothing from it. layers/fortran_runtime.py compiles this in its place, with its symbol
 * version; tests/layer/test_fortran_runtime.py holds each function against the library.
 *
 * The contracts: GNU Fortran 6's manual, "Argument passing conventions": lengths of characters are C's int, and by value; Fortran 2003, 7.2.3 (shorter
 * characters are compared as if filled up with blanks), 7.1.2 (powers of integers); the manual's ETIME.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>

#define EXPORTED __attribute__((visibility("default")))

/* An array of one dimension, as GCC 4.3 to 7 hand it over: the strides count elements. */
typedef struct {
  float *first;
  size_t offset;
  ptrdiff_t type;
  ptrdiff_t stride, lower, upper;
} reals;

/* The sign that a tail has when it is compared with blanks. */
static int against_blanks(const unsigned char *tail, int length) {
  for (int i = 0; i < length; i++)
    if (tail[i] != ' ') return tail[i] > ' ' ? 1 : -1;
  return 0;
}

EXPORTED int _gfortran_compare_string(int length, const unsigned char *text, int other_length, const unsigned char *other) {
  int common = length < other_length ? length : other_length;
  int sign = common > 0 ? memcmp(text, other, (size_t)common) : 0;
  if (sign != 0) return sign;
  if (length > common) return against_blanks(text + common, length - common);
  return -against_blanks(other + common, other_length - common);
}

EXPORTED void _gfortran_concat_string(int room, char *result, int length, const char *text, int other_length, const char *other) {
  const char *parts[] = {text, other};
  int lengths[] = {length, other_length};
  for (int i = 0; i < 2 && room > 0; i++) {
    int taken = lengths[i] < room ? lengths[i] : room;
    if (taken <= 0) continue;
    memcpy(result, parts[i], (size_t)taken);
    result += taken;
    room -= taken;
  }
  if (room > 0) memset(result, ' ', (size_t)room);
}

EXPORTED int32_t _gfortran_pow_i4_i4(int32_t base, int32_t exponent) {
  if (exponent < 0) { /* 1 divided by the power, as integers are divided; of 0 there is none */
    if (base == -1) return exponent % 2 ? -1 : 1;
    return base == 1;
  }
  uint32_t power = 1, square = (uint32_t)base; /* what does not fit wraps around */
  for (uint32_t left = (uint32_t)exponent; left; left >>= 1, square *= square)
    if (left & 1) power *= square;
  return (int32_t)power;
}

static float seconds(struct timeval time) { return (float)((double)time.tv_sec + 1e-6 * (double)time.tv_usec); }

EXPORTED float _gfortran_etime(reals *times) {
  struct rusage used;
  int failed = getrusage(RUSAGE_SELF, &used);
  float user = failed ? -1 : seconds(used.ru_utime), system = failed ? -1 : seconds(used.ru_stime);
  times->first[0] = user;
  times->first[times->stride] = system;
  return failed ? -1 : user + system;
}
