/* The kernels once more, with vectors of 16 numbers, and which of the two this processor is for. */

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "_threads.h"

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define LANES 16
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#include "_draws.c"
#include "_products.c"
#include "_sixteen.c"
#include "_update.c"
#pragma GCC pop_options
#endif

/* 16 or 8: the numbers of a vector that pay here. 0: without such vectors a dense product is as fast as one of bits. */
int deepbelief_lanes(void) {
#if defined(MANY_MACHINES)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 16;
#endif
#if defined(__x86_64__) && defined(__GNUC__)
    return __builtin_cpu_supports("avx2") ? 8 : 0;
#else
    return 0;
#endif
}
