/* How the kernels share their pieces between threads. */

#ifndef DEEPBELIEF_THREADS_H
#define DEEPBELIEF_THREADS_H

#include <stdint.h>

typedef void (*kernel)(const void *arguments, int64_t first, int64_t last);
typedef void (*team)(void (*run)(void *), void *data, unsigned threads, unsigned flags); /* OpenMP's GOMP_parallel */

/* run(arguments, first, last) for parts of 0 to n by as many threads of `parallel`, or by this one where there is none. */
void deepbelief_over_threads(team parallel, kernel run, const void *arguments, int64_t n, int64_t threads);

#endif
