/* The pieces of one call over the threads that torch has already: a pool beside torch's would wait for the cores that
   torch's idle threads go on turning on. Whoever is free takes the next piece, so that a thread that the system does not
   let run holds no work. */

#include <stdatomic.h>

#include "_threads.h"

#define PIECES 4 /* for each thread */

typedef struct {
    kernel run;
    const void *arguments;
    int64_t n, size;
    atomic_llong next;
} job;

static void take_pieces(void *data) {
    job *of = data;
    for (;;) {
        int64_t first = atomic_fetch_add(&of->next, of->size);
        if (first >= of->n) return;
        of->run(of->arguments, first, first + of->size < of->n ? first + of->size : of->n);
    }
}

void deepbelief_over_threads(team parallel, kernel run, const void *arguments, int64_t n, int64_t threads) {
    if (!parallel || threads < 2 || n < 2) {
        run(arguments, 0, n);
        return;
    }
    if (threads > n) threads = n;
    job of = {run, arguments, n, n / (threads * PIECES), 0};
    if (of.size < 1) of.size = 1;
    parallel(take_pieces, &of, (unsigned)threads, 0);
}
