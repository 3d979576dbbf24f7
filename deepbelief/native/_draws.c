/* Bernoulli draws in one pass: the uniform numbers are made, compared and forgotten in registers.

   Uniform numbers are Threefry4x32-12 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2,
   3"), a function of a key and the element's place alone: any split of the elements over threads gives the same draws.
   It needs additions, rotations and exclusive ors of 32 bits and nothing else, which every vector unit has. A block is
   32 elements, 8 lanes of 4 words each, whatever the vectors: those of 16 lanes make two blocks at once. */

#include <math.h>

#include "_vectors.h"

#define BLOCK 32
#define STEP (4 * LANES) /* elements whose numbers are made at once */

#define ROTATE(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
#define MIX(a, b, n) \
    a += b;          \
    b = ROTATE(b, n) ^ a;
#define TWO_ROUNDS(r0, r1, r2, r3) MIX(x0, x1, r0) MIX(x2, x3, r1) MIX(x0, x3, r2) MIX(x2, x1, r3)
#define INJECT(i)                   \
    x0 += k[(i) % 5];               \
    x1 += k[((i) + 1) % 5];         \
    x2 += k[((i) + 2) % 5];         \
    x3 += k[((i) + 3) % 5] + (uint32_t)(i);

#if LANES == 16
#define LANE {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#define LOW(a, b) SHUFFLE(words, a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define HIGH(a, b) SHUFFLE(words, a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
/* the words of both blocks in the order of their elements */
#define IN_ORDER                                                                                 \
    {                                                                                            \
        words low = LOW(x0, x1), next = LOW(x2, x3), high = HIGH(x0, x1), last = HIGH(x2, x3);   \
        x0 = low, x1 = next, x2 = high, x3 = last;                                               \
    }
#else
#define LANE {0, 1, 2, 3, 4, 5, 6, 7}
#define IN_ORDER
#endif

/* u: STEP numbers of 24 bits on [0, 1), those of elements 32 * block and on. */
#define UNIFORMS(block, key, u)                                                                                  \
    {                                                                                                            \
        const uint32_t k[5] = {(uint32_t)(key), (uint32_t)((key) >> 32), 0, 0,                                   \
                               0x1BD11BDAu ^ (uint32_t)(key) ^ (uint32_t)((key) >> 32)};                         \
        const words lane = LANE;                                                                                 \
        uint64_t counter = (uint64_t)(block)*8;                                                                  \
        words x0 = lane + (uint32_t)counter, x1 = lane * 0 + (uint32_t)(counter >> 32) + k[1];                   \
        x1 -= (words)(x0 < lane); /* a carry, -1 where true */                                                   \
        x0 += k[0];                                                                                              \
        words x2 = lane * 0 + k[2], x3 = lane * 0 + k[3];                                                        \
        TWO_ROUNDS(10, 26, 11, 21) TWO_ROUNDS(13, 27, 23, 5) INJECT(1)                                           \
        TWO_ROUNDS(6, 20, 17, 11) TWO_ROUNDS(25, 10, 18, 20) INJECT(2)                                           \
        TWO_ROUNDS(10, 26, 11, 21) TWO_ROUNDS(13, 27, 23, 5) INJECT(3)                                           \
        IN_ORDER                                                                                                 \
        u[0] = __builtin_convertvector((integers)(x0 >> 8), floats) * 0x1p-24f;                                  \
        u[1] = __builtin_convertvector((integers)(x1 >> 8), floats) * 0x1p-24f;                                  \
        u[2] = __builtin_convertvector((integers)(x2 >> 8), floats) * 0x1p-24f;                                  \
        u[3] = __builtin_convertvector((integers)(x3 >> 8), floats) * 0x1p-24f;                                  \
    }

/* softplus(x) = max(x, 0) + log(1 + exp(-|x|)): adds the first part to `linear`, multiplies `product` by the other. */
#define SOFTPLUS(x, linear, product)                              \
    {                                                             \
        integers up = (x) > 0.0f;                                 \
        linear += (floats)((integers)(x) & up);                   \
        floats y = WHERE(up, -(x), x);                            \
        y = WHERE(y < -LIMIT, -LIMIT, y);                         \
        EXP(y, e)                                                 \
        product *= 1.0f + e;                                      \
    }

/* 1 where u < p, else 0. */
#define BELOW(u, p) (floats)(((u) < (p)) & 0x3F800000)

typedef struct {
    const float *p;
    float *out;
    int64_t n, key;
} bernoulli;

/* out[i] = 1 where u < p[i], else 0, for the blocks first to last of 32 elements. NaN draws 0. */
FOR_EVERY_MACHINE
void KERNEL(bernoulli)(const bernoulli *a, int64_t first_block, int64_t last_block) {
    const float *p = a->p;
    float *out = a->out;
    const uint64_t key = (uint64_t)a->key;
    const int64_t end = last_block * BLOCK < a->n ? last_block * BLOCK : a->n;
    floats u[4], x[4];
    for (int64_t block = first_block; block * BLOCK < end; block += STEP / BLOCK) {
        int64_t left = end - block * BLOCK;
        size_t n = sizeof(float) * (size_t)(left < STEP ? left : STEP);
        UNIFORMS(block, key, u)
        if (left >= STEP) {
            memcpy(x, p + block * BLOCK, sizeof x);
            for (int j = 0; j < 4; j++) x[j] = BELOW(u[j], x[j]);
            memcpy(out + block * BLOCK, x, sizeof x);
        } else {
            memset(x, 0, sizeof x);
            memcpy(x, p + block * BLOCK, n);
            for (int j = 0; j < 4; j++) x[j] = BELOW(u[j], x[j]);
            memcpy(out + block * BLOCK, x, n);
        }
    }
}

typedef struct {
    const float *inputs, *bias;
    float *mean, *out;
    int64_t n, n_columns, key;
} sigmoid_bernoulli;

/* mean = sigmoid(inputs + bias), out = 1 where u < mean, over rows of n_columns; the same draws as of the mean alone,
   which is not kept where `mean` is null. */
FOR_EVERY_MACHINE
void KERNEL(sigmoid_bernoulli)(const sigmoid_bernoulli *a, int64_t first_block, int64_t last_block) {
    const float *inputs = a->inputs, *bias = a->bias;
    float *mean = a->mean, *out = a->out;
    const int64_t n_columns = a->n_columns, end = last_block * BLOCK < a->n ? last_block * BLOCK : a->n;
    const uint64_t key = (uint64_t)a->key;
    floats u[4], x[4], b[4];
    int64_t column = (first_block * BLOCK) % n_columns;
    for (int64_t block = first_block; block * BLOCK < end; block += STEP / BLOCK) {
        int64_t left = end - block * BLOCK;
        size_t n = (size_t)(left < STEP ? left : STEP);
        if (n == STEP && column + STEP <= n_columns) {
            memcpy(x, inputs + block * BLOCK, sizeof x);
            memcpy(b, bias + column, sizeof b);
            column += STEP;
            if (column == n_columns) column = 0;
        } else {
            float wrapped[STEP] = {0};
            memset(x, 0, sizeof x);
            memcpy(x, inputs + block * BLOCK, n * sizeof(float));
            for (size_t i = 0; i < n; i++) {
                wrapped[i] = bias[column];
                if (++column == n_columns) column = 0;
            }
            memcpy(b, wrapped, sizeof b);
        }
        UNIFORMS(block, key, u)
        for (int j = 0; j < 4; j++) {
            x[j] += b[j];
            SIGMOID(x[j], x[j])
            u[j] = BELOW(u[j], x[j]);
        }
        if (mean) memcpy(mean + block * BLOCK, x, n * sizeof(float));
        memcpy(out + block * BLOCK, u, n * sizeof(float));
    }
}

typedef struct {
    const float *x, *bias_a, *bias_b;
    double *out;
    int64_t n_columns;
    float scale_a, scale_b;
} softplus_change;

/* log of the lanes' products, (prod b) / (prod a), of numbers below 2^64: eight of them fit a double. */
INLINE double log_ratio(floats b, floats a) {
    double total = 0;
    for (int i = 0; i < LANES; i += 8) {
        double ratio = 1;
        for (int j = i; j < i + 8; j++) ratio *= (double)b[j] / a[j];
        total += log(ratio);
    }
    return total;
}

INLINE double sum_of_lanes(floats a) {
    double total = 0;
    for (int i = 0; i < LANES; i++) total += a[i];
    return total;
}

/* The first n of the numbers at `from`, and `fill` in the lanes behind them. */
INLINE floats load(const float *from, int64_t n, float fill) {
    if (n >= LANES) return *(const anywhere *)from;
    floats v = (floats){0} + fill;
    memcpy(&v, from, sizeof(float) * (size_t)n);
    return v;
}

/* out[i] = sum_j softplus(scale_b x[i,j] + bias_b[j]) - softplus(scale_a x[i,j] + bias_a[j]), rows first to last.
   The factors 1 + exp(-|.|) lie in (1, 2], so 64 of them are multiplied before a logarithm is taken in double. */
FOR_EVERY_MACHINE
void KERNEL(softplus_change)(const softplus_change *of, int64_t first, int64_t last) {
    const float *x = of->x, *bias_a = of->bias_a, *bias_b = of->bias_b;
    const float scale_a = of->scale_a, scale_b = of->scale_b;
    double *out = of->out;
    const int64_t n_columns = of->n_columns;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * n_columns;
        double total = 0;
        int64_t column = 0;
        while (column < n_columns) {
            floats linear_a = {0}, linear_b = {0}, product_a = linear_a + 1.0f, product_b = product_a;
            for (int i = 0; i < 64 && column < n_columns; i++, column += LANES) {
                int64_t left = n_columns - column;
                floats v = load(in + column, left, 0); /* lanes behind the row are the same in a and in b */
                floats a = scale_a * v + load(bias_a + column, left, 0);
                SOFTPLUS(a, linear_a, product_a)
                floats b = scale_b * v + load(bias_b + column, left, 0);
                SOFTPLUS(b, linear_b, product_b)
            }
            total += sum_of_lanes(linear_b) - sum_of_lanes(linear_a) + log_ratio(product_b, product_a);
        }
        out[row] = total;
    }
}

typedef struct {
    const float *inputs, *bias, *x;
    double *out;
    float *error;
    int64_t n_cases, n_columns;
} bernoulli_log_prob;

/* out[i] = sum_j x y - softplus(y) with y = inputs[i,j] + bias[j] and x = x[i mod n_cases, j], rows first to last; where
   `error` is not null it gets x - sigmoid(y), the derivative in y. */
FOR_EVERY_MACHINE
void KERNEL(bernoulli_log_prob)(const bernoulli_log_prob *a, int64_t first, int64_t last) {
    const float *inputs = a->inputs, *bias = a->bias, *x = a->x;
    double *out = a->out;
    float *error = a->error;
    const int64_t n_cases = a->n_cases, n_columns = a->n_columns;
    const floats one = (floats){0} + 1.0f;
    for (int64_t row = first; row < last; row++) {
        const float *in = inputs + row * n_columns, *seen = x + row % n_cases * n_columns;
        float *slope = error ? error + row * n_columns : 0;
        double total = 0;
        int64_t column = 0;
        while (column < n_columns) {
            floats linear = {0}, product = one;
            for (int i = 0; i < 64 && column < n_columns; i++, column += LANES) {
                int64_t left = n_columns - column;
                floats y = load(in + column, left, -87) + load(bias + column, left, 0); /* exp(-87) adds nothing to 1 */
                floats v = load(seen + column, left, 0);
                integers up = y > 0.0f;
                floats down = WHERE(up, -y, y);
                down = WHERE(down < -LIMIT, -LIMIT, down);
                EXP(down, e)
                linear += v * y - (floats)((integers)y & up);
                product *= one + e;
                if (slope) {
                    v -= WHERE(up, one, e) / (one + e);
                    memcpy(slope + column, &v, left < LANES ? sizeof(float) * (size_t)left : sizeof v);
                }
            }
            total += sum_of_lanes(linear) - log_ratio(product, one);
        }
        out[row] = total;
    }
}
