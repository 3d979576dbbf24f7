/* The kernels with vectors of 8 numbers, for every machine. */

#include "_draws.c"
#include "_products.c"
#include "_sixteen.c"
#include "_update.c"
