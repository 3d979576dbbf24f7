/* What the kernels share: vectors by GCC's and Clang's vector extension. They hold 8 numbers, compiled for each kind of
   x86, and in `_wide.c` 16, for processors that add so many at once. */

#ifndef DEEPBELIEF_VECTORS_H
#define DEEPBELIEF_VECTORS_H

#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define MANY_MACHINES /* functions can be compiled for several kinds of processor at once */
#endif

#ifndef LANES
#define LANES 8
#endif

#if LANES == 16
#define KERNEL(name) deepbelief_##name##_512
#define FOR_EVERY_MACHINE
#elif defined(MANY_MACHINES)
#define KERNEL(name) deepbelief_##name
#define FOR_EVERY_MACHINE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KERNEL(name) deepbelief_##name
#define FOR_EVERY_MACHINE
#endif
#define INLINE static inline __attribute__((always_inline))


typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));
typedef float floats __attribute__((vector_size(4 * LANES)));
typedef float anywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* in memory, at any address */

/* The lanes of a and b that the numbers say, b's counted on from a's; `kind` is their type. */
#if defined(__clang__)
#define SHUFFLE(kind, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(kind, a, b, ...) __builtin_shuffle(a, b, (kind){__VA_ARGS__})
#endif

/* e = exp(y) to about 2e-7 of itself, for y within +-87: 2^n times a polynomial of degree 6 (Cephes' expf). */
#define EXP(y, e)                                                                                     \
    floats shifted = (y) * 1.44269504088896341f + 12582912.0f; /* 1.5 * 2^23: rounds to integers */   \
    floats n = shifted - 12582912.0f;                                                                 \
    integers power = ((integers)shifted + (127 - 0x4B400000)) << 23;                                  \
    floats r = (y) - n * 0.693359375f + n * 2.12194440e-4f;                                           \
    floats e = r * 1.9875691500e-4f + 1.3981999507e-3f;                                               \
    e = e * r + 8.3334519073e-3f;                                                                     \
    e = e * r + 4.1665795894e-2f;                                                                     \
    e = e * r + 1.6666665459e-1f;                                                                     \
    e = e * r + 5.0000001201e-1f;                                                                     \
    e = (e * r * r + r + 1.0f) * (floats)power;

#define WHERE(mask, a, b) (floats)(((integers)(a) & (mask)) | ((integers)(b) & ~(mask)))
#define LIMIT ((floats){0} + 87.0f)

/* m = 1 / (1 + exp(-x)). NaN stays NaN. */
#define SIGMOID(x, m)                             \
    {                                             \
        floats y = -(x);                          \
        y = WHERE(y > LIMIT, LIMIT, y);           \
        y = WHERE(y < -LIMIT, -LIMIT, y);         \
        EXP(y, e)                                 \
        m = 1.0f / (1.0f + e);                    \
    }

#endif
