/* Products of bits with real matrices, by additions from tables ("the method of four Russians").

   Of 4 bits x a row of the product needs one of 16 sums of 4 rows of w. The 16 sums are made once and serve all cases, so
   that a case pays one addition where a dense product pays four products, however many of its bits are on (Arlazarov,
   Dinic, Kronrod & Faradzev 1970, "On economical construction of the transitive closure of a directed graph").

   Bits lie in words of 32: word k of case i is bits[k * n + i]. Columns are taken by tiles of 32, the depth by chunks of
   32: tables of 16 KB, which a core keeps beside it. Each number of the result is the same sum in the same order whatever
   the other cases are, and however the tiles are shared between threads. */

#include <pthread.h>
#include <stdlib.h>

#include "_vectors.h"

#define TILE 32
#define CHUNK 32
#define GROUPS 8
#define ENTRIES 16
#define ENTRY (4 * TILE) /* bytes */
#define TABLE (GROUPS * ENTRIES * TILE)
#define ROWS 1024 /* cases whose sums are kept at once */
#define PAGE 4096

static pthread_key_t memory_of_thread; /* freed when the thread ends */
static pthread_once_t has_key = PTHREAD_ONCE_INIT;
static void make_key(void) { pthread_key_create(&memory_of_thread, free); }

/* This thread's memory for tables, a chunk of rows, and the sums of n cases, kept from call to call. It begins a page: a
   third faster than anywhere else. */
static float *working_memory(int64_t n) {
    static _Thread_local float *memory;
    static _Thread_local size_t bytes;
    size_t needed = sizeof(float) * (size_t)(TABLE + CHUNK * TILE + TILE * n);
    if (needed > bytes) {
        void *fresh;
        pthread_once(&has_key, make_key);
        if (posix_memalign(&fresh, PAGE, needed)) abort();
        free(memory);
        memory = fresh, bytes = needed;
        pthread_setspecific(memory_of_thread, fresh);
    }
    return memory;
}

/* -- bits --------------------------------------------------------------------------------------------------------- */

#define ON(x) ((integers)((x) == 1.0f))
#define OTHER(x) ((integers)((x) != 0.0f) & (integers)((x) != 1.0f)) /* true of NaN too */

#if LANES == 16
static const integers PLACES = {1,   2,   4,    8,    16,   32,   64,    128,
                                256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
#else
static const integers PLACES = {1, 2, 4, 8, 16, 32, 64, 128};
#endif

INLINE int any(integers mask) {
    int32_t lanes[LANES], found = 0;
    memcpy(lanes, &mask, sizeof lanes);
    for (int i = 0; i < LANES; i++) found |= lanes[i];
    return found != 0;
}

/* Rows of zeros and ones, n of the `all` rows of x, as words along a row: those of row i at bits[k * all + i]. 0 at the
   first row that holds anything else. */
INLINE int rows_to_words(const float *x, int64_t n, int64_t all, int64_t n_in, int64_t stride, int32_t *bits) {
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + i * stride;
        integers other = {0};
        for (int64_t k = 0; k < n_in; k += CHUNK) {
            float padded[CHUNK];
            const float *in = row + k;
            if (k + CHUNK > n_in) {
                memset(padded, 0, sizeof padded);
                memcpy(padded, in, sizeof(float) * (size_t)(n_in - k));
                in = padded;
            }
            words found = {0};
            for (int j = 0; j < CHUNK / LANES; j++) {
                floats v = *(const anywhere *)(in + j * LANES);
                other |= OTHER(v);
                found |= (words)(ON(v) & PLACES) << (uint32_t)(j * LANES);
            }
            uint32_t lanes[LANES], word = 0;
            memcpy(lanes, &found, sizeof lanes);
            for (int j = 0; j < LANES; j++) word |= lanes[j];
            bits[k / CHUNK * all + i] = (int32_t)word;
        }
        if (any(other)) return 0;
    }
    return 1;
}

/* The same of the transpose, for at most 32 cases: one word for each column, at bits[column]. */
INLINE int columns_to_words(const float *x, int64_t cases, int64_t n_in, int64_t stride, int32_t *bits) {
    integers other = {0};
    int64_t i = 0;
    for (; i + LANES <= n_in; i += LANES) {
        integers found = {0};
        for (int64_t c = 0; c < cases; c++) {
            floats v = *(const anywhere *)(x + c * stride + i);
            other |= OTHER(v);
            found |= ON(v) & (int32_t)(1u << c);
        }
        memcpy(bits + i, &found, sizeof found);
    }
    if (any(other)) return 0;
    for (; i < n_in; i++) {
        uint32_t word = 0;
        for (int64_t c = 0; c < cases; c++) {
            float v = x[c * stride + i];
            if (v != 0.0f && v != 1.0f) return 0;
            word |= (v == 1.0f ? 1u : 0u) << c;
        }
        bits[i] = (int32_t)word;
    }
    return 1;
}

/* x (n, n_in) of zeros and ones, its rows `stride` apart, as words along a row. Returns 0 where it holds anything else. */
FOR_EVERY_MACHINE
int KERNEL(pack_rows)(const float *x, int64_t n, int64_t n_in, int64_t stride, int32_t *bits) {
    return rows_to_words(x, n, n, n_in, stride, bits);
}

/* The same of the transpose: words along a column of x (n_cases, n_in), word k of column i at bits[k * n_in + i]. */
FOR_EVERY_MACHINE
int KERNEL(pack_columns)(const float *x, int64_t n_cases, int64_t n_in, int64_t stride, int32_t *bits) {
    for (int64_t first = 0; first < n_cases; first += CHUNK) {
        int64_t cases = n_cases - first < CHUNK ? n_cases - first : CHUNK;
        if (!columns_to_words(x + first * stride, cases, n_in, stride, bits + first / CHUNK * n_in)) return 0;
    }
    return 1;
}

typedef struct {
    const float *x;
    int32_t *along_rows, *along_columns, *other; /* the last is set where x holds anything but bits; null: no such words */
    int64_t n, n_in;
} pack;

/* Both of them, of the 32 cases of each chunk from first to last. */
FOR_EVERY_MACHINE
void KERNEL(pack)(const pack *a, int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; chunk++) {
        int64_t at = chunk * CHUNK, cases = a->n - at < CHUNK ? a->n - at : CHUNK, m = a->n_in;
        const float *x = a->x + at * m;
        if (!rows_to_words(x, cases, a->n, m, m, a->along_rows + at)) *a->other = 1;
        if (a->along_columns && !columns_to_words(x, cases, m, m, a->along_columns + chunk * m)) *a->other = 1;
    }
}

/* -- tables ------------------------------------------------------------------------------------------------------- */

#define BLOCK_SIDE 8
typedef float eight __attribute__((vector_size(32)));
typedef float eight_anywhere __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t eight_integers __attribute__((vector_size(32)));
#define TWO(a, b, ...) SHUFFLE(eight_integers, a, b, __VA_ARGS__)

/* to[i][j] = from[j][i] for 8 x 8 numbers. */
INLINE void turn(const float *from, int64_t stride, float *to) {
    eight r[BLOCK_SIDE], s[BLOCK_SIDE];
    for (int i = 0; i < BLOCK_SIDE; i++) r[i] = *(const eight_anywhere *)(from + i * stride);
    for (int i = 0; i < BLOCK_SIDE; i += 2) {
        s[i] = TWO(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        s[i + 1] = TWO(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < BLOCK_SIDE; i += 4) {
        r[i] = TWO(s[i], s[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        r[i + 1] = TWO(s[i], s[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        r[i + 2] = TWO(s[i + 1], s[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        r[i + 3] = TWO(s[i + 1], s[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    for (int i = 0; i < 4; i++) {
        *(eight_anywhere *)(to + i * TILE) = TWO(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        *(eight_anywhere *)(to + (i + 4) * TILE) = TWO(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* Rows of tables and of sums are 4 * TILE bytes: of TILE float32 numbers, or of twice as many of 16 bits (`_sixteen.c`). */
typedef uint16_t shorts __attribute__((vector_size(4 * LANES)));
#define PLUS(a, b) (sixteen ? (floats)((shorts)(a) + (shorts)(b)) : (a) + (b))

/* The sums of all subsets of 4 rows, for each of `groups` groups: table[group][subset][TILE]. */
INLINE void fill_tables(const float *rows, int64_t stride, int groups, float *table, const int sixteen) {
    for (int g = 0; g < groups; g++, rows += 4 * stride, table += ENTRIES * TILE) {
        for (int j = 0; j < TILE; j += LANES) {
            const float *in = rows + j;
            float *t = table + j;
            floats r0 = *(const anywhere *)in, r1 = *(const anywhere *)(in + stride);
            floats r2 = *(const anywhere *)(in + 2 * stride), r3 = *(const anywhere *)(in + 3 * stride);
            floats r01 = PLUS(r0, r1), r23 = PLUS(r2, r3), none = {0};
#define PUT(i, x) *(anywhere *)(t + (i)*TILE) = (x)
            PUT(0, none), PUT(1, r0), PUT(2, r1), PUT(3, r01);
            PUT(4, r2), PUT(5, PLUS(r0, r2)), PUT(6, PLUS(r1, r2)), PUT(7, PLUS(r01, r2));
            PUT(8, r3), PUT(9, PLUS(r0, r3)), PUT(10, PLUS(r1, r3)), PUT(11, PLUS(r01, r3));
            PUT(12, r23), PUT(13, PLUS(r0, r23)), PUT(14, PLUS(r1, r23)), PUT(15, PLUS(r01, r23));
        }
    }
}

/* Ask for the next chunk of rows while this one is added. */
INLINE void fetch(const float *from, int64_t stride, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        __builtin_prefetch(from + i * stride);
        __builtin_prefetch(from + i * stride + TILE / 2);
        __builtin_prefetch(from + i * stride + TILE - 1);
    }
}

INLINE void add_groups(const int32_t *bits, int64_t n, const float *table, float *sums, const int groups,
                       const int sixteen) {
    for (int64_t i = 0; i < n; i++, sums += TILE) {
        uint64_t word = (uint32_t)bits[i];
        if (!word) continue; /* the edge of a picture */
        word *= ENTRY; /* so that four bits, moved down and masked, are a place in a table in bytes */
        floats s[TILE / LANES];
        for (int j = 0; j < TILE / LANES; j++) s[j] = *(anywhere *)(sums + j * LANES);
#pragma GCC unroll 8
        for (int g = 0; g < groups; g++) {
            const float *t = (const float *)((const char *)table + g * ENTRIES * ENTRY + (word >> (4 * g) & 15 * ENTRY));
#pragma GCC unroll 4
            for (int j = 0; j < TILE / LANES; j++) s[j] = PLUS(s[j], *(const anywhere *)(t + j * LANES));
        }
        for (int j = 0; j < TILE / LANES; j++) *(anywhere *)(sums + j * LANES) = s[j];
    }
}

/* sums[i] += the rows of the tables that word i of n picks. */
INLINE void add(const int32_t *bits, int64_t n, const float *table, float *sums, int groups, const int sixteen) {
    switch (groups) {
        case 8: add_groups(bits, n, table, sums, 8, sixteen); break;
        case 7: add_groups(bits, n, table, sums, 7, sixteen); break;
        case 6: add_groups(bits, n, table, sums, 6, sixteen); break;
        case 5: add_groups(bits, n, table, sums, 5, sixteen); break;
        case 4: add_groups(bits, n, table, sums, 4, sixteen); break;
        case 3: add_groups(bits, n, table, sums, 3, sixteen); break;
        case 2: add_groups(bits, n, table, sums, 2, sixteen); break;
        default: add_groups(bits, n, table, sums, 1, sixteen);
    }
}

/* A row of a tile, `width` numbers wide; a whole one is copied without a call. */
INLINE void copy_of(float *to, const float *from, int64_t width, const int tile) {
    if (width == tile) memcpy(to, from, sizeof(float) * (size_t)tile);
    else memcpy(to, from, sizeof(float) * (size_t)width);
}
#define copy(to, from, width) copy_of(to, from, width, TILE)

/* -- products ----------------------------------------------------------------------------------------------------- */

typedef struct {
    const int32_t *bits;
    const float *w;
    float *out;
    int64_t n, n_in, n_out, stride, turned;
} bits_product;

/* out (n, n_out) = bits (n, n_in) times w, whose entry (k, j) lies at w[k * stride + j], or at w[j * stride + k] where
   it is `turned`; tiles first to last. */
FOR_EVERY_MACHINE
void KERNEL(bits_product)(const bits_product *a, int64_t first, int64_t last) {
    const int32_t *bits = a->bits;
    const float *w = a->w;
    float *out = a->out;
    const int64_t n = a->n, n_in = a->n_in, n_out = a->n_out, stride = a->stride, turned = a->turned;
    float *table = working_memory(n < ROWS ? n : ROWS), *rows = table + TABLE, *sums = rows + CHUNK * TILE;
    for (int64_t tile = first; tile < last; tile++) {
        int64_t column = tile * TILE, width = n_out - column < TILE ? n_out - column : TILE;
        for (int64_t case_0 = 0; case_0 < n; case_0 += ROWS) {
            int64_t cases = n - case_0 < ROWS ? n - case_0 : ROWS;
            memset(sums, 0, sizeof(float) * (size_t)(cases * TILE));
            for (int64_t k = 0; k < n_in; k += CHUNK) {
                int64_t depth = n_in - k < CHUNK ? n_in - k : CHUNK, at = TILE;
                const float *from = turned ? w + column * stride + k : w + k * stride + column;
                if (!turned && depth == CHUNK && width == TILE) {
                    at = stride; /* the rows are read where they lie */
                } else {
                    int64_t i = 0;
                    if (turned && width == TILE)
                        for (; i + BLOCK_SIDE <= depth; i += BLOCK_SIDE)
                            for (int j = 0; j < TILE; j += BLOCK_SIDE) turn(from + j * stride + i, stride, rows + i * TILE + j);
                    memset(rows + i * TILE, 0, sizeof(float) * (size_t)((CHUNK - i) * TILE));
                    for (; i < depth; i++)
                        for (int64_t j = 0; j < width; j++)
                            rows[i * TILE + j] = turned ? from[j * stride + i] : from[i * stride + j];
                    from = rows;
                }
                int groups = (int)((depth + 3) / 4);
                fill_tables(from, at, groups, table, 0);
                if (k + 2 * CHUNK <= n_in) {
                    if (turned) fetch(w + column * stride + k + CHUNK, stride, width);
                    else fetch(w + (k + CHUNK) * stride + column, stride, CHUNK);
                }
                add(bits + k / CHUNK * n + case_0, cases, table, sums, groups, 0);
            }
            for (int64_t i = 0; i < cases; i++)
                copy(out + (case_0 + i) * n_out + column, sums + i * TILE, width);
        }
    }
}

/* One half of a gradient: bits of n_rows x n_cases, the cases' rows of n_out numbers, and what they are scaled by: each
   row by its share (1 where `share` is null), and all by a factor. */
typedef struct {
    const int32_t *bits;
    const float *right, *share;
    int64_t n_cases;
    float factor;
} half;

/* One tile of: w (n_rows, n_out) = keep w + the sum over halves of bits' (factor share right) + the sum over k of
   left[k] right[k]', n_dense real rows. */
INLINE void step_tile(float *w, float keep, int64_t n_rows, int64_t n_out, const half *halves, int64_t n_halves,
                      const float *left, const float *right, int64_t n_dense, int64_t column, float *work) {
    float *table = work, *rows = table + TABLE, *sums = rows + CHUNK * TILE;
    int64_t width = n_out - column < TILE ? n_out - column : TILE;
    for (int64_t row_0 = 0; row_0 < n_rows; row_0 += ROWS) {
        int64_t some = n_rows - row_0 < ROWS ? n_rows - row_0 : ROWS;
        memset(rows, 0, sizeof(float) * CHUNK * TILE);
        for (int64_t d = 0; d < n_dense && d < CHUNK; d++) copy(rows + d * TILE, right + d * n_out + column, width);
        for (int64_t i = 0; i < some; i++) {
            float *to = sums + i * TILE;
            const float *from = w + (row_0 + i) * n_out + column;
            if (i + 16 < some) fetch(from + 16 * n_out, n_out, 1);
            if (width < TILE) {
                memset(to, 0, sizeof(float) * TILE);
                copy(to, from, width);
                from = to;
            }
            floats s[TILE / LANES];
            for (int j = 0; j < TILE / LANES; j++) s[j] = *(const anywhere *)(from + j * LANES) * keep;
            for (int64_t d = 0; d < n_dense; d++) {
                float of_row = left[d * n_rows + row_0 + i];
                for (int j = 0; j < TILE / LANES; j++) s[j] += of_row * *(anywhere *)(rows + d * TILE + j * LANES);
            }
            for (int j = 0; j < TILE / LANES; j++) *(anywhere *)(to + j * LANES) = s[j];
        }
        for (int64_t part = 0; part < n_halves; part++) {
            const half *of = halves + part;
            for (int64_t k = 0; k < of->n_cases; k += CHUNK) {
                int64_t depth = of->n_cases - k < CHUNK ? of->n_cases - k : CHUNK;
                if (depth < CHUNK || width < TILE) memset(rows, 0, sizeof(float) * CHUNK * TILE);
                for (int64_t c = 0; c < depth; c++) {
                    const float *from = of->right + (k + c) * n_out + column;
                    float *to = rows + c * TILE, scale = of->share ? of->share[k + c] * of->factor : of->factor;
                    if (width < TILE) {
                        copy(to, from, width);
                        from = to;
                    }
                    for (int j = 0; j < TILE; j += LANES)
                        *(anywhere *)(to + j) = *(const anywhere *)(from + j) * scale;
                }
                int groups = (int)((depth + 3) / 4);
                fill_tables(rows, TILE, groups, table, 0);
                add(of->bits + k / CHUNK * n_rows + row_0, some, table, sums, groups, 0);
            }
        }
        for (int64_t i = 0; i < some; i++) copy(w + (row_0 + i) * n_out + column, sums + i * TILE, width);
    }
}

typedef struct {
    float *w;
    const half *halves;
    const float *left, *right;
    int64_t n_rows, n_out, n_halves, n_dense;
    float keep;
} bits_step;

/* `step_tile` for tiles first to last. */
FOR_EVERY_MACHINE
void KERNEL(bits_step)(const bits_step *a, int64_t first, int64_t last) {
    float *work = working_memory(a->n_rows < ROWS ? a->n_rows : ROWS);
    for (int64_t tile = first; tile < last; tile++)
        step_tile(a->w, a->keep, a->n_rows, a->n_out, a->halves, a->n_halves, a->left, a->right, a->n_dense, tile * TILE,
                  work);
}
