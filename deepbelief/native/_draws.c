/* Bernoulli draws in one pass: the uniform numbers are made, compared and forgotten in registers.

   Uniform numbers are Threefry4x32-12 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2,
   3"), a function of a key and the element's place alone: any split of the elements over threads gives the same draws.
   It needs additions, rotations and exclusive ors of 32 bits and nothing else, which every vector unit has. A block is
   32 elements, 8 lanes of 4 words each. */

#include <math.h>

#include "_vectors.h"

#define BLOCK 32

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

/* u[j]: 8 numbers of 24 bits on [0, 1), those of elements 32 * block + 8 * j and on. */
#define UNIFORMS(block, key, u)                                                                                  \
    {                                                                                                            \
        const uint32_t k[5] = {(uint32_t)(key), (uint32_t)((key) >> 32), 0, 0,                                   \
                               0x1BD11BDAu ^ (uint32_t)(key) ^ (uint32_t)((key) >> 32)};                         \
        const words lane = {0, 1, 2, 3, 4, 5, 6, 7};                                                             \
        uint64_t counter = (uint64_t)(block)*LANES; /* a multiple of 8, so lanes never carry */                  \
        words x0 = lane + (uint32_t)counter + k[0], x1 = lane * 0 + (uint32_t)(counter >> 32) + k[1];            \
        words x2 = lane * 0 + k[2], x3 = lane * 0 + k[3];                                                        \
        TWO_ROUNDS(10, 26, 11, 21) TWO_ROUNDS(13, 27, 23, 5) INJECT(1)                                           \
        TWO_ROUNDS(6, 20, 17, 11) TWO_ROUNDS(25, 10, 18, 20) INJECT(2)                                           \
        TWO_ROUNDS(10, 26, 11, 21) TWO_ROUNDS(13, 27, 23, 5) INJECT(3)                                           \
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
void deepbelief_bernoulli(const bernoulli *a, int64_t first_block, int64_t last_block) {
    const float *p = a->p;
    float *out = a->out;
    const uint64_t key = (uint64_t)a->key;
    const int64_t end = last_block * BLOCK < a->n ? last_block * BLOCK : a->n;
    floats u[4], x[4];
    for (int64_t block = first_block; block * BLOCK < end; block++) {
        int64_t left = end - block * BLOCK;
        size_t n = sizeof(float) * (size_t)(left < BLOCK ? left : BLOCK);
        UNIFORMS(block, key, u)
        if (left >= BLOCK) {
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

/* mean = sigmoid(inputs + bias), out = 1 where u < mean, over rows of n_columns; the same draws as of the mean alone. */
FOR_EVERY_MACHINE
void deepbelief_sigmoid_bernoulli(const sigmoid_bernoulli *a, int64_t first_block, int64_t last_block) {
    const float *inputs = a->inputs, *bias = a->bias;
    float *mean = a->mean, *out = a->out;
    const int64_t n_columns = a->n_columns, end = last_block * BLOCK < a->n ? last_block * BLOCK : a->n;
    const uint64_t key = (uint64_t)a->key;
    floats u[4], x[4], b[4];
    int64_t column = (first_block * BLOCK) % n_columns;
    for (int64_t block = first_block; block * BLOCK < end; block++) {
        int64_t left = end - block * BLOCK;
        size_t n = (size_t)(left < BLOCK ? left : BLOCK);
        if (n == BLOCK && column + BLOCK <= n_columns) {
            memcpy(x, inputs + block * BLOCK, sizeof x);
            memcpy(b, bias + column, sizeof b);
            column += BLOCK;
            if (column == n_columns) column = 0;
        } else {
            float wrapped[BLOCK] = {0};
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
        memcpy(mean + block * BLOCK, x, n * sizeof(float));
        memcpy(out + block * BLOCK, u, n * sizeof(float));
    }
}

typedef struct {
    const float *x, *bias_a, *bias_b;
    double *out;
    int64_t n_columns;
    float scale_a, scale_b;
} softplus_change;

/* out[i] = sum_j softplus(scale_b x[i,j] + bias_b[j]) - softplus(scale_a x[i,j] + bias_a[j]), rows first to last.
   The factors 1 + exp(-|.|) lie in (1, 2], so 64 of them are multiplied before one logarithm is taken in double. */
FOR_EVERY_MACHINE
void deepbelief_softplus_change(const softplus_change *of, int64_t first, int64_t last) {
    const float *x = of->x, *bias_a = of->bias_a, *bias_b = of->bias_b;
    const float scale_a = of->scale_a, scale_b = of->scale_b;
    double *out = of->out;
    const int64_t n_columns = of->n_columns;
    for (int64_t row = first; row < last; row++) {
        const float *in = x + row * n_columns;
        double total = 0;
        int64_t column = 0;
        while (column + LANES <= n_columns) {
            floats linear_a = {0}, linear_b = {0}, product_a = linear_a + 1.0f, product_b = product_a;
            for (int i = 0; i < 64 && column + LANES <= n_columns; i++, column += LANES) {
                floats v, b;
                memcpy(&v, in + column, sizeof v);
                memcpy(&b, bias_a + column, sizeof b);
                floats a = scale_a * v + b;
                SOFTPLUS(a, linear_a, product_a)
                memcpy(&b, bias_b + column, sizeof b);
                floats c = scale_b * v + b;
                SOFTPLUS(c, linear_b, product_b)
            }
            for (int i = 0; i < LANES; i++)
                total += (double)linear_b[i] - linear_a[i] + log((double)product_b[i] / product_a[i]);
        }
        for (; column < n_columns; column++) {
            double a = (double)scale_a * in[column] + bias_a[column], b = (double)scale_b * in[column] + bias_b[column];
            total += fmax(b, 0) - fmax(a, 0) + log1p(exp(-fabs(b))) - log1p(exp(-fabs(a)));
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
void deepbelief_bernoulli_log_prob(const bernoulli_log_prob *a, int64_t first, int64_t last) {
    const float *inputs = a->inputs, *bias = a->bias, *x = a->x;
    double *out = a->out;
    float *error = a->error;
    const int64_t n_cases = a->n_cases, n_columns = a->n_columns;
    for (int64_t row = first; row < last; row++) {
        const float *in = inputs + row * n_columns, *seen = x + row % n_cases * n_columns;
        float *slope = error ? error + row * n_columns : 0;
        double total = 0;
        int64_t column = 0;
        while (column + LANES <= n_columns) {
            floats linear = {0}, product = linear + 1.0f;
            for (int i = 0; i < 64 && column + LANES <= n_columns; i++, column += LANES) {
                floats y, b, v;
                memcpy(&y, in + column, sizeof y);
                memcpy(&b, bias + column, sizeof b);
                memcpy(&v, seen + column, sizeof v);
                y += b;
                integers up = y > 0.0f;
                floats down = WHERE(up, -y, y);
                down = WHERE(down < -LIMIT, -LIMIT, down);
                EXP(down, e)
                linear += v * y - (floats)((integers)y & up);
                product *= 1.0f + e;
                if (slope) {
                    floats one = e * 0.0f + 1.0f;
                    floats mean = WHERE(up, one, e) / (1.0f + e);
                    v -= mean;
                    memcpy(slope + column, &v, sizeof v);
                }
            }
            for (int i = 0; i < LANES; i++) total += (double)linear[i] - log((double)product[i]);
        }
        for (; column < n_columns; column++) {
            double y = (double)in[column] + bias[column], e = exp(-fabs(y));
            total += seen[column] * y - fmax(y, 0) - log1p(e);
            if (slope) slope[column] = (float)(seen[column] - (y > 0 ? 1 : e) / (1 + e));
        }
        out[row] = total;
    }
}
