/* A library without functions, under the name of one that MXNet's wheel for aarch64 asks the loader for and takes nothing from that GLIBC has not:
 * Arm's libamath and libastring have faster versions of GLIBC's own functions, under the same names. */
