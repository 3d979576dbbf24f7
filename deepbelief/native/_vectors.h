/* What the kernels share: vectors of 8 numbers by GCC's and Clang's vector extension, compiled for each kind of x86. */

#ifndef DEEPBELIEF_VECTORS_H
#define DEEPBELIEF_VECTORS_H

#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define FOR_EVERY_MACHINE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EVERY_MACHINE
#endif
#define INLINE static inline __attribute__((always_inline))

#define LANES 8

typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));
typedef float floats __attribute__((vector_size(4 * LANES)));
typedef float anywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* in memory, at any address */

#endif
