/* Products of bits by sums of 16-bit integers, twice as many in a vector as float32 numbers: `precision="bf16"`.

   Of up to 512 rows of w each column is rounded to whole multiples of a unit, the smallest for which no sum of a subset
   of its numbers leaves 16 bits. Sums of these are exact, and are added up in float32. In a trained RBM of MNIST a unit
   is about .001 and a product errs by .003; weights rounded to bfloat16 make it .005, and a sum rounded to it .008.

   A tile has 64 columns: a lane of 32 bits holds number j of one vector of columns, and number j of the next above. */

#define PAIR (2 * TILE)
#define DEPTH 512
#define LARGEST (32767 - DEPTH / 2 - 8) /* DEPTH numbers are rounded by a half at most; 8 for their own sum's error */
#define WHOLE 12582912.0f /* 1.5 * 2^23: a sum with it is rounded to integers, whose 16 bits are its last ones */
#define MOST_CASES 128 /* whose means are summed in 16 bits */
#define WIDTH(n, column) ((n) - (column) < PAIR ? (n) - (column) : PAIR)
#define BYTES(n) (sizeof(float) * (size_t)(n))
#define SIZE(x) (floats)((integers)(x) & 0x7fffffff)

/* Memory of a thread: tables, 512 rows of 64 numbers in float32 and in 16 bits, and `n` rows of 16-bit sums. */
typedef struct {
    float *table, *rows, *packed, *sums, *rest;
} room;

INLINE room make_room(int64_t n, int64_t rest) {
    float *table = working_memory(3 * DEPTH + n + rest), *rows = table + TABLE, *packed = rows + DEPTH * PAIR;
    return (room){table, rows, packed, packed + DEPTH * TILE, packed + (DEPTH + n) * TILE};
}

/* Cases first to first + n of `all`, as words along the rows of a product. */
typedef struct {
    const int32_t *bits;
    int64_t all, first, n;
} span;

/* Whole numbers a and b, within 16 bits, in one vector. */
INLINE floats both(floats a, floats b) {
    return (floats)(((integers)(a + WHOLE) & 0xffff) | (integers)((words)(b + WHOLE) << 16));
}

/* to (64) = keep to + unit times a row of sums + the sum over d of left[d] right[d] (64). */
INLINE void widen(const float *sums, const float *unit, float *to, float keep, const float *left,
                  const float (*right)[PAIR], int64_t n_dense) {
    for (int j = 0; j < PAIR; j += 2 * LANES) {
        integers s = (integers)*(const anywhere *)(sums + j / 2), low = (integers)((words)s << 16) >> 16;
        floats a = __builtin_convertvector(low, floats) * *(const anywhere *)(unit + j);
        floats b = __builtin_convertvector(s >> 16, floats) * *(const anywhere *)(unit + j + LANES);
        for (int64_t d = 0; d < n_dense; d++) {
            a += left[d] * *(const anywhere *)(right[d] + j);
            b += left[d] * *(const anywhere *)(right[d] + j + LANES);
        }
        *(anywhere *)(to + j) = keep * *(anywhere *)(to + j) + a;
        *(anywhere *)(to + j + LANES) = keep * *(anywhere *)(to + j + LANES) + b;
    }
}

/* The unit of a column whose numbers sum to `sum`, and their sizes to `size`: what is above 0 sums to half of size + sum,
   and what is below to half of size - sum. Never 0, and not finite where a number is not. */
#define UNIT(sum, size) ((0.5f * ((size) + SIZE(sum)) + 1e-30f) * (1.0f / LARGEST))

/* `depth` rows of a tile of w in 16 bits, with zeros to whole groups of four, and each column's unit. */
INLINE void shorten(const float *from, int64_t stride, int64_t depth, int64_t width, room of, float *unit) {
    if (width < PAIR) {
        memset(of.rows, 0, BYTES(depth * PAIR));
        for (int64_t i = 0; i < depth; i++) memcpy(of.rows + i * PAIR, from + i * stride, BYTES(width));
        from = of.rows, stride = PAIR;
    }
    floats sum[PAIR / LANES] = {{0}}, size[PAIR / LANES] = {{0}}, scale[PAIR / LANES];
    for (int64_t i = 0; i < depth; i++)
        for (int j = 0; j < PAIR / LANES; j++) {
            floats v = *(const anywhere *)(from + i * stride + j * LANES);
            sum[j] += v, size[j] += SIZE(v);
        }
    for (int j = 0; j < PAIR / LANES; j++) {
        floats of_column = UNIT(sum[j], size[j]);
        *(anywhere *)(unit + j * LANES) = of_column;
        scale[j] = 1.0f / of_column;
    }
    for (int64_t i = 0; i < depth; i++)
        for (int j = 0; j < PAIR / LANES; j += 2) {
            const float *row = from + i * stride + j * LANES;
            floats v = both(*(const anywhere *)row * scale[j], *(const anywhere *)(row + LANES) * scale[j + 1]);
            *(anywhere *)(of.packed + i * TILE + j * LANES / 2) = v;
        }
    memset(of.packed + depth * TILE, 0, BYTES((-depth & 3) * TILE));
}

/* The same of the transpose: the tile's columns lie along rows of w. They are shortened first and turned then. */
INLINE void shorten_turned(const float *from, int64_t stride, int64_t depth, int64_t width, room of, float *unit) {
    enum { SPAN = 16 }; /* numbers that are summed apart, whatever a vector holds */
    int64_t whole = depth / SPAN * SPAN, padded = (depth + CHUNK - 1) / CHUNK * CHUNK;
    float ends[PAIR][SPAN] = {{0}}, scale[PAIR];
    for (int64_t j = 0; j < PAIR; j++) {
        floats sums[SPAN / LANES] = {{0}}, sizes[SPAN / LANES] = {{0}};
        if (j < width) memcpy(ends[j], from + j * stride + whole, BYTES(depth - whole));
        for (int64_t i = 0; j < width && i <= whole; i += SPAN)
            for (int b = 0; b < SPAN / LANES; b++) {
                floats v = *(const anywhere *)((i < whole ? from + j * stride + i : ends[j]) + b * LANES);
                sums[b] += v, sizes[b] += SIZE(v);
            }
        floats sum = {0}, size = {0};
        for (int b = 0; b < SPAN; b++) sum[0] += sums[b / LANES][b % LANES], size[0] += sizes[b / LANES][b % LANES];
        unit[j] = UNIT(sum, size)[0], scale[j] = 1.0f / unit[j];
    }
    for (int64_t j = 0; j < TILE; j++) {
        int64_t low = j / LANES * 2 * LANES + j % LANES, high = low + LANES; /* the columns of a row's lane j */
        float *to = of.rows + j * padded;
        memset(to + whole, 0, BYTES(padded - whole));
        for (int64_t i = 0; i < depth; i += LANES) {
            /* past the last column `ends` are zeros throughout */
            const float *a = i < whole && low < width ? from + low * stride + i : ends[low] + i % SPAN;
            const float *b = i < whole && high < width ? from + high * stride + i : ends[high] + i % SPAN;
            *(anywhere *)(to + i) = both(*(const anywhere *)a * scale[low], *(const anywhere *)b * scale[high]);
        }
    }
    for (int64_t i = 0; i < depth; i += BLOCK_SIDE)
        for (int j = 0; j < TILE; j += BLOCK_SIDE) turn(of.rows + j * padded + i, padded, of.packed + i * TILE + j);
}

/* Ask for rows k to k + 32 of a tile while another is added: all of w is more than the second cache holds. */
INLINE void ask(const bits_product *a, int64_t k, int64_t column) {
    if (k >= a->n_in || column >= a->n_out) return;
    int64_t n_rows = a->n_in - k < CHUNK ? a->n_in - k : CHUNK, width = WIDTH(a->n_out, column);
    const float *from = a->turned ? a->w + column * a->stride + k : a->w + k * a->stride + column;
    int64_t n = a->turned ? width : n_rows, length = a->turned ? n_rows : width;
    for (int64_t i = 0; i < n; i++, from += a->stride) {
        for (int64_t j = 0; j < length; j += 16) __builtin_prefetch(from + j, 0, 2);
        __builtin_prefetch(from + length - 1, 0, 2);
    }
}

/* totals (n, 64) = bits times a tile of w, for the n cases of all spans. */
INLINE void tile_of_product(const bits_product *a, const span *spans, int n_spans, int64_t column, room of,
                            float *totals) {
    int64_t n = 0, width = WIDTH(a->n_out, column), blocks = (a->n_in + DEPTH - 1) / DEPTH;
    int64_t even = ((a->n_in + blocks - 1) / blocks + CHUNK - 1) / CHUNK * CHUNK; /* rows of each block but the last */
    for (int p = 0; p < n_spans; p++) n += spans[p].n;
    memset(totals, 0, BYTES(n * PAIR));
    for (int64_t block = 0; block < a->n_in; block += even) {
        int64_t depth = a->n_in - block < even ? a->n_in - block : even;
        float unit[PAIR];
        if (a->turned) shorten_turned(a->w + column * a->stride + block, a->stride, depth, width, of, unit);
        else shorten(a->w + block * a->stride + column, a->stride, depth, width, of, unit);
        memset(of.sums, 0, BYTES(n * TILE));
        for (int64_t k = 0; k < depth; k += CHUNK) {
            int groups = (int)(((depth - k < CHUNK ? depth - k : CHUNK) + 3) / 4);
            fill_tables(of.packed + k * TILE, TILE, groups, of.table, 1);
            if (block + even < a->n_in) ask(a, block + even + k, column);
            else ask(a, k, column + PAIR);
            float *to = of.sums;
            for (int p = 0; p < n_spans; p++) {
                const span *cases = spans + p;
                add(cases->bits + (block + k) / CHUNK * cases->all + cases->first, cases->n, of.table, to, groups, 1);
                to += cases->n * TILE;
            }
        }
        for (int64_t i = 0; i < n; i++) widen(of.sums + i * TILE, unit, totals + i * PAIR, 1, 0, 0, 0);
    }
}

/* `bits_product` for tiles of 64 columns. */
FOR_EVERY_MACHINE
void KERNEL(bits_product_16)(const bits_product *a, int64_t first, int64_t last) {
    int64_t most = a->n < ROWS ? a->n : ROWS;
    room of = make_room(most, 2 * most);
    for (int64_t tile = first; tile < last; tile++) {
        int64_t column = tile * PAIR, width = WIDTH(a->n_out, column);
        for (int64_t case_0 = 0; case_0 < a->n; case_0 += ROWS) {
            span cases = {a->bits, a->n, case_0, a->n - case_0 < ROWS ? a->n - case_0 : ROWS};
            tile_of_product(a, &cases, 1, column, of, of.rest);
            for (int64_t i = 0; i < cases.n; i++)
                copy_of(a->out + (case_0 + i) * a->n_out + column, of.rest + i * PAIR, width, PAIR);
        }
    }
}

/* The means of n cases, times a level and a sign, as whole numbers. What is rounded off one case is added to the next:
   small means count, and the sum over cases is right to a half. */
INLINE void shorten_means(const float *mean, int64_t n, int64_t n_h, int64_t width, float level, float sign,
                          float *packed) {
    floats carry[PAIR / LANES] = {{0}}, whole[PAIR / LANES];
    for (int64_t i = 0; i < n; i++, mean += n_h, packed += TILE) {
        float padded[PAIR] = {0};
        const float *from = mean;
        if (width < PAIR) from = memcpy(padded, mean, BYTES(width));
        for (int j = 0; j < PAIR / LANES; j++) {
            floats x = *(const anywhere *)(from + j * LANES) * level + carry[j];
            whole[j] = (x + WHOLE) - WHOLE;
            carry[j] = x - whole[j];
        }
        for (int j = 0; j < PAIR / LANES; j += 2)
            *(anywhere *)(packed + j * LANES / 2) = both(whole[j] * sign, whole[j + 1] * sign);
    }
    memset(packed, 0, BYTES((-n & 3) * TILE));
}

/* A tile of `step_tile` for two halves of as many cases: the first one's factor serves both, the second is subtracted.
   There are no real rows, or two. */
INLINE void step_tile_16(float *w, float keep, int64_t n_rows, int64_t n_out, const half *halves, const float *left,
                         const float *right, int64_t n_dense, int64_t column, room of) {
    int64_t n = halves[0].n_cases, width = WIDTH(n_out, column);
    float near[2][PAIR] = {{0}}, unit[PAIR];
    for (int64_t d = 0; d < n_dense; d++) memcpy(near[d], right + d * n_out + column, BYTES(width));
    for (int64_t block = 0; block < n; block += MOST_CASES) {
        int64_t cases = n - block < MOST_CASES ? n - block : MOST_CASES, level = 32767 / cases;
        for (int p = 0; p < 2; p++)
            shorten_means(halves[p].right + block * n_out + column, cases, n_out, width, (float)level, p ? -1 : 1,
                          of.packed + p * MOST_CASES * TILE);
        for (int j = 0; j < PAIR; j++) unit[j] = halves[0].factor / (float)level;
        for (int64_t row_0 = 0; row_0 < n_rows; row_0 += ROWS) {
            int64_t some = n_rows - row_0 < ROWS ? n_rows - row_0 : ROWS;
            memset(of.sums, 0, BYTES(some * TILE));
            for (int p = 0; p < 2; p++)
                for (int64_t k = 0; k < cases; k += CHUNK) {
                    int groups = (int)(((cases - k < CHUNK ? cases - k : CHUNK) + 3) / 4);
                    fill_tables(of.packed + (p * MOST_CASES + k) * TILE, TILE, groups, of.table, 1);
                    add(halves[p].bits + (block + k) / CHUNK * n_rows + row_0, some, of.table, of.sums, groups, 1);
                }
            for (int64_t i = 0; i < some; i++) {
                float padded[PAIR] = {0}, *lies = w + (row_0 + i) * n_out + column, *to = lies;
                if (width < PAIR) to = memcpy(padded, lies, BYTES(width));
                float of_row[2] = {0};
                for (int64_t d = 0; d < n_dense; d++) of_row[d] = left[d * n_rows + row_0 + i];
                if (block) widen(of.sums + i * TILE, unit, to, 1, 0, 0, 0);
                else if (n_dense) widen(of.sums + i * TILE, unit, to, keep, of_row, (const float(*)[PAIR])near, 2);
                else widen(of.sums + i * TILE, unit, to, keep, 0, 0, 0);
                if (width < PAIR) memcpy(lies, padded, BYTES(width));
            }
        }
    }
}
