/* A whole update of an RBM of bits: the model's states, both means of h, the weights' step, and what follows from it for
   the biases, in one call. A machine of a million weights takes a millisecond, of which single calls took an eighth. */

#include "_threads.h"
#include "_vectors.h"

/* The data's or the model's half of an update: bits of its n cases along the visible units (null where the means of h are
   given) and along the cases (null where the caller adds this half to the weights), the means (n, n_h), and each case's
   share. */
typedef struct {
    float *v;
    int32_t *along_v, *along_cases;
    float *mean;
    const float *share;
    int64_t n;
} phase;

/* In one pass over x (n, m): sum += the rows, each weighted by sign * weight[i] * other[i] (1 where `other` is null), and
   dots = x direction. */
INLINE void fold(const float *x, int64_t n, int64_t m, float sign, const float *weight, const float *other,
                 const float *direction, float *sum, float *dots) {
    for (int64_t i = 0; i < n; i++, x += m) {
        float counts = sign * weight[i] * (other ? other[i] : 1.0f);
        floats total[4] = {{0}}, near = total[0] + counts;
        int64_t j = 0;
        for (; j + 4 * LANES <= m; j += 4 * LANES)
            for (int b = 0; b < 4; b++) {
                floats v = *(const anywhere *)(x + j + b * LANES);
                *(anywhere *)(sum + j + b * LANES) += near * v;
                total[b] += v * *(const anywhere *)(direction + j + b * LANES);
            }
        for (; j + LANES <= m; j += LANES) {
            floats v = *(const anywhere *)(x + j);
            *(anywhere *)(sum + j) += near * v;
            total[0] += v * *(const anywhere *)(direction + j);
        }
        float rest = 0;
        for (; j < m; j++) {
            sum[j] += counts * x[j];
            rest += x[j] * direction[j];
        }
        floats lanes = (total[0] + total[1]) + (total[2] + total[3]);
        for (int b = 0; b < LANES; b++) rest += lanes[b];
        dots[i] = rest;
    }
}

typedef struct {
    team parallel; /* torch's threads */
    phase *phases; /* the data's, packed; the model's, packed unless there are chains */
    float *w, *b, *c, *mu, *lambda;
    const float *decay_v, *decay_h; /* subtracted from the biases' gradients; null for none */
    float *chain;                   /* where not null: hidden states (n, n_h) that the model's v are drawn from, */
    float *next;                    /* room for the hidden states after the update (null where no chain goes on), */
    float *inputs;                  /* for (n, n_v or n_h), */
    int32_t *words;                 /* and for the words of the hidden states */
    float *mean_v;                  /* not null: chains start at the data, by h drawn into `chain` first; (n, n_v) */
    double *error;                  /* then the data's mean squared distance from it */
    float *v, *h, *right;           /* (4, n_v): <v> in both phases, their difference, and mu; (2, n_h): <h>; (2, n_h) */
    float *dots, *parts;            /* two for each case; (2, n_v + n_h) */
    float *down_v, *down_h;         /* the biases' gradients of minus the log-likelihood */
    int64_t n_v, n_h, key_0, key_v, key_h, centred, settles, sixteen, threads, grain;
    float keep, rate, offset_rate;
} rbm_update;

static void share(const rbm_update *a, kernel run, const void *arguments, int64_t n, int64_t size) {
    int64_t paid = n * size / a->grain;
    deepbelief_over_threads(a->parallel, run, arguments, n, paid < a->threads ? paid : a->threads);
}

/* The means of v in the phases first to last, and v mu of each case. */
FOR_EVERY_MACHINE
void KERNEL(means_of_v)(const rbm_update *a, int64_t first, int64_t last) {
    for (int64_t p = first; p < last; p++) {
        const phase *of = a->phases + p;
        float *mean = a->v + p * a->n_v, *dots = a->dots + (p ? a->phases[0].n : 0);
        memset(mean, 0, sizeof(float) * (size_t)a->n_v);
        fold(of->v, of->n, a->n_v, 1, of->share, 0, a->mu, mean, dots);
    }
}

/* What single cases add to the biases' gradients, in the phases first to last: G' mu and G lambda, G = <v h'>_data -
   <v h'>_model, come by way of each case's own products. */
FOR_EVERY_MACHINE
void KERNEL(shifts)(const rbm_update *a, int64_t first, int64_t last) {
    const int64_t n_v = a->n_v, n_h = a->n_h;
    for (int64_t p = first; p < last; p++) {
        const phase *of = a->phases + p;
        float sign = p ? -1 : 1, *to_v = a->parts + p * (n_v + n_h), *to_h = to_v + n_v;
        float *dots = a->dots + (p ? a->phases[0].n : 0), *along = dots + a->phases[0].n + a->phases[1].n;
        memset(to_v, 0, sizeof(float) * (size_t)(n_v + n_h));
        fold(of->mean, of->n, n_h, sign, of->share, dots, a->lambda, to_h, along);
        fold(of->v, of->n, n_v, sign, of->share, along, a->mu, to_v, dots);
    }
}

INLINE float dot(const float *a, const float *b, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) total += (double)a[i] * b[i];
    return (float)total;
}

static void halves_of(const rbm_update *a, half *halves) {
    for (int p = 0; p < 2; p++) {
        const phase *of = a->phases + p;
        halves[p] = (half){of->along_cases, of->mean, of->share, of->along_cases ? of->n : 0, p ? -a->rate : a->rate};
    }
}

/* sums = sigmoid(sums + bias) for the rows of a tile, to `mean` too. */
INLINE void activate(float *sums, int64_t n, const float *bias, float *mean, int64_t n_out, int64_t width, const int tile) {
    for (int64_t i = 0; i < n; i++, sums += tile, mean += n_out) {
        for (int j = 0; j < tile; j += LANES) {
            floats x = *(anywhere *)(sums + j) + *(const anywhere *)(bias + j);
            SIGMOID(x, x)
            *(anywhere *)(sums + j) = x;
        }
        copy_of(mean, sums, width, tile);
    }
}

/* From the sums of a tile, both phases' means of h, and these over cases. `right` gets -rate lambda and
   rate (<h>_model - <h>_data) where the gradient is centred. */
INLINE void means_of_h(const rbm_update *a, float *sums, int64_t column, int64_t width, const int tile) {
    const int64_t n_h = a->n_h;
    float near[PAIR] = {0}, total[2][PAIR] = {{0}}, *right = a->right;
    if (a->c) memcpy(near, a->c + column, BYTES(width)); /* null where all means are given, and nothing settles */
    for (int p = 0; p < 2; p++) {
        const phase *of = a->phases + p;
        if (of->along_v) {
            activate(sums, of->n, near, of->mean + column, n_h, width, tile);
            sums += of->n * tile;
        }
        floats sum[PAIR / LANES] = {{0}};
        for (int64_t i = 0; i < of->n; i++) {
            const float *from = of->mean + i * n_h + column;
            float padded[PAIR] = {0};
            if (width < tile) from = memcpy(padded, from, sizeof(float) * (size_t)width);
            for (int j = 0; j < tile / LANES; j++) sum[j] += of->share[i] * *(const anywhere *)(from + j * LANES);
        }
        memcpy(total[p], sum, sizeof total[p]);
        memcpy(a->h + p * n_h + column, total[p], sizeof(float) * (size_t)width);
    }
    if (a->centred)
        for (int64_t j = 0; j < width; j++) {
            right[column + j] = -a->rate * a->lambda[column + j];
            right[n_h + column + j] = a->rate * (total[1][j] - total[0][j]);
        }
}

/* The means of h of both phases, their means over cases, and w = keep w + rate times the centred gradient, for the tiles
   first to last of hidden units, whose weights are in the core's second cache from the first to the last use. */
FOR_EVERY_MACHINE
void KERNEL(means_and_step)(const rbm_update *a, int64_t first, int64_t last) {
    const phase *phases = a->phases;
    float *w = a->w;
    const int64_t n_v = a->n_v, n_h = a->n_h;
    int64_t most = n_v < ROWS ? n_v : ROWS;
    if (phases[0].n + phases[1].n > most) most = phases[0].n + phases[1].n;
    float *table = working_memory(most), *rows = table + TABLE, *sums = rows + CHUNK * TILE;
    half halves[2];
    halves_of(a, halves);
    for (int64_t tile = first; tile < last; tile++) {
        int64_t column = tile * TILE, width = n_h - column < TILE ? n_h - column : TILE, n = 0;
        for (int p = 0; p < 2; p++) n += phases[p].along_v ? phases[p].n : 0;
        memset(sums, 0, sizeof(float) * (size_t)(n * TILE));
        for (int64_t k = 0; n && k < n_v; k += CHUNK) {
            int64_t depth = n_v - k < CHUNK ? n_v - k : CHUNK, at = n_h;
            const float *from = w + k * n_h + column;
            if (depth < CHUNK || width < TILE) {
                memset(rows, 0, sizeof(float) * CHUNK * TILE);
                for (int64_t i = 0; i < depth; i++) copy(rows + i * TILE, from + i * n_h, width);
                from = rows, at = TILE;
            }
            int groups = (int)((depth + 3) / 4);
            fill_tables(from, at, groups, table, 0);
            if (k + 2 * CHUNK <= n_v) fetch(w + (k + CHUNK) * n_h + column, n_h, CHUNK);
            float *to = sums;
            for (int p = 0; p < 2; p++) {
                if (!phases[p].along_v) continue;
                add(phases[p].along_v + k / CHUNK * phases[p].n, phases[p].n, table, to, groups, 0);
                to += phases[p].n * TILE;
            }
        }
        means_of_h(a, sums, column, width, TILE);
        step_tile(w, a->keep, n_v, n_h, halves, 2, a->v + 2 * n_v, a->right, a->centred ? 2 : 0, column, table);
    }
}

/* The same for tiles of 64 hidden units, by sums in 16 bits. */
FOR_EVERY_MACHINE
void KERNEL(means_and_step_16)(const rbm_update *a, int64_t first, int64_t last) {
    const int64_t n_v = a->n_v, n_h = a->n_h;
    const bits_product product = {0, a->w, 0, 0, n_v, n_h, n_h, 0};
    span spans[2];
    half halves[2];
    int64_t n = 0, most = n_v < ROWS ? n_v : ROWS;
    int n_spans = 0;
    for (int p = 0; p < 2; p++)
        if (a->phases[p].along_v) {
            spans[n_spans++] = (span){a->phases[p].along_v, a->phases[p].n, 0, a->phases[p].n};
            n += a->phases[p].n;
        }
    halves_of(a, halves);
    halves[0].factor *= a->phases[0].share[0]; /* all are the same */
    room of = make_room(n > most ? n : most, 2 * n);
    for (int64_t tile = first; tile < last; tile++) {
        int64_t column = tile * PAIR, width = WIDTH(n_h, column);
        tile_of_product(&product, spans, n_spans, column, of, of.rest);
        means_of_h(a, of.rest, column, width, PAIR);
        step_tile_16(a->w, a->keep, n_v, n_h, halves, a->v + 2 * n_v, a->right, a->centred ? 2 : 0, column, of);
    }
}

/* Products of bits and w, in the precision of the update, over threads. */
static void multiply(const rbm_update *a, const bits_product *product) {
    int64_t wide = a->sixteen ? PAIR : TILE, tiles = (product->n_out + wide - 1) / wide;
    kernel run = a->sixteen ? (kernel)KERNEL(bits_product_16) : (kernel)KERNEL(bits_product);
    share(a, run, product, tiles, product->n * product->n_in * (wide / TILE));
}

/* The data's means of h, and h drawn from them into the chains. */
static void start_at_data(const rbm_update *a) {
    phase *of = a->phases;
    int64_t n = of->n, n_v = a->n_v, n_h = a->n_h;
    if (!of->along_v) {
        bernoulli draw = {of->mean, a->chain, n * n_h, a->key_0};
        share(a, (kernel)KERNEL(bernoulli), &draw, (n * n_h + BLOCK - 1) / BLOCK, BLOCK);
        return;
    }
    bits_product product = {of->along_v, a->w, a->inputs, n, n_v, n_h, n_h, 0};
    multiply(a, &product);
    sigmoid_bernoulli draw = {a->inputs, a->c, of->mean, a->chain, n * n_h, n_h, a->key_0};
    share(a, (kernel)KERNEL(sigmoid_bernoulli), &draw, (n * n_h + BLOCK - 1) / BLOCK, BLOCK);
    of->along_v = 0; /* its means are there */
}

/* The squared distance of the data from `mean_v`, summed over units, on average. */
static double distance(const rbm_update *a) {
    const phase *of = a->phases;
    double total = 0;
    for (int64_t i = 0; i < of->n; i++) {
        const float *v = of->v + i * a->n_v, *mean = a->mean_v + i * a->n_v;
        float parts[LANES] = {0};
        int64_t j = 0;
        for (; j + LANES <= a->n_v; j += LANES)
            for (int b = 0; b < LANES; b++) parts[b] += (v[j + b] - mean[j + b]) * (v[j + b] - mean[j + b]);
        for (; j < a->n_v; j++) parts[0] += (v[j] - mean[j]) * (v[j] - mean[j]);
        float sum = 0;
        for (int b = 0; b < LANES; b++) sum += parts[b];
        total += (double)of->share[i] * sum;
    }
    return total;
}

/* The model's states of v, drawn from the chains' h, and their words. 0 where h holds anything but bits. */
static int draw_v(const rbm_update *a) {
    phase *to = a->phases + 1;
    int64_t n = to->n, chunks = (n + CHUNK - 1) / CHUNK, n_v = a->n_v, n_h = a->n_h;
    int32_t other = 0;
    pack of_h = {a->chain, a->words, 0, &other, n, n_h};
    share(a, (kernel)KERNEL(pack), &of_h, chunks, CHUNK * n_h);
    if (other) return 0;
    bits_product product = {a->words, a->w, a->inputs, n, n_h, n_v, n_h, 1};
    multiply(a, &product);
    sigmoid_bernoulli draw = {a->inputs, a->b, a->mean_v, to->v, n * n_v, n_v, a->key_v};
    share(a, (kernel)KERNEL(sigmoid_bernoulli), &draw, (n * n_v + BLOCK - 1) / BLOCK, BLOCK);
    pack of_v = {to->v, to->along_v, to->along_cases, &other, n, n_v};
    share(a, (kernel)KERNEL(pack), &of_v, chunks, CHUNK * n_v);
    return 1;
}

/* The gradients of minus the log-likelihood in the biases, where the weights go along dW: down_v = <v>_model - <v>_data +
   dW lambda, down_h = <h>_model - <h>_data + dW' mu, with dW = G - d_v lambda' - mu d_h' and d the differences of the means,
   data less model. Uncentred, they are the differences alone. */
static void biases(const rbm_update *a) {
    const int64_t n_v = a->n_v, n_h = a->n_h;
    const float *d_v = a->v + 2 * n_v, *h_data = a->h, *h_model = a->h + n_h, *part = a->parts, *other = part + n_v + n_h;
    float along_lambda = 0, along_mu = 0, of_v = 0, of_h = 0;
    if (a->centred) {
        along_lambda = dot(a->lambda, a->lambda, n_h), along_mu = dot(a->mu, a->mu, n_v), of_v = dot(a->mu, d_v, n_v);
        of_h = dot(a->lambda, h_model, n_h) - dot(a->lambda, h_data, n_h);
    }
    for (int64_t i = 0; i < n_v; i++) a->down_v[i] = of_h * a->mu[i] - (1 + along_lambda) * d_v[i];
    for (int64_t j = 0; j < n_h; j++) a->down_h[j] = (1 + along_mu) * (h_model[j] - h_data[j]) - of_v * a->lambda[j];
    if (a->centred) {
        for (int64_t i = 0; i < n_v; i++) a->down_v[i] += part[i] + other[i];
        for (int64_t j = 0; j < n_h; j++) a->down_h[j] += part[n_v + j] + other[n_v + j];
    }
    if (a->decay_v)
        for (int64_t i = 0; i < n_v; i++) a->down_v[i] -= a->decay_v[i];
    if (a->decay_h)
        for (int64_t j = 0; j < n_h; j++) a->down_h[j] -= a->decay_h[j];
}

/* One layer's biases take their step, and its offsets go towards the data's means. */
static void settle(const rbm_update *a, int64_t n, float *bias, const float *down, float *offset, const float *mean) {
    for (int64_t i = 0; i < n; i++) {
        bias[i] -= a->rate * down[i];
        offset[i] += a->offset_rate * (mean[i] - offset[i]);
    }
}

/* The update. 0, with nothing changed, where the chains' hidden states are no bits. */
int KERNEL(rbm_update)(const rbm_update *a) {
    const int64_t n_v = a->n_v, n_h = a->n_h, n = a->phases[0].n + a->phases[1].n;
    if (a->mean_v) start_at_data(a);
    if (a->chain && !draw_v(a)) return 0;
    if (a->mean_v) *a->error = distance(a);
    share(a, (kernel)KERNEL(means_of_v), a, 2, n * n_v / 2);
    for (int64_t i = 0; i < n_v; i++) a->v[2 * n_v + i] = a->v[i] - a->v[n_v + i];
    memcpy(a->v + 3 * n_v, a->mu, sizeof(float) * (size_t)n_v);
    if (a->sixteen) share(a, (kernel)KERNEL(means_and_step_16), a, (n_h + PAIR - 1) / PAIR, 4 * n * n_v);
    else share(a, (kernel)KERNEL(means_and_step), a, (n_h + TILE - 1) / TILE, 2 * n * n_v);
    if (a->centred) share(a, (kernel)KERNEL(shifts), a, 2, n * (n_v + n_h) / 2);
    biases(a);
    if (a->next) {
        bernoulli draw = {a->phases[1].mean, a->next, a->phases[1].n * n_h, a->key_h};
        share(a, (kernel)KERNEL(bernoulli), &draw, (draw.n + BLOCK - 1) / BLOCK, BLOCK);
    }
    if (a->settles) {
        settle(a, n_v, a->b, a->down_v, a->mu, a->v);
        settle(a, n_h, a->c, a->down_h, a->lambda, a->h);
    }
    return 1;
}
