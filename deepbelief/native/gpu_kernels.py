"""Kernels for GPUs, in Triton: a layer's product, activation and draw in one pass, and the weights' step in another.

`layer` computes a tile of ``x W + bias``, its sigmoid, and 0/1 draws with these probabilities while the tile is still
in registers: neither inputs nor random numbers ever reach memory. Draws come from Philox (Salmon et al. 2011), a
counter-based generator: the key is the call's, the counter the place of four neighbouring units, so they hang neither
on the size of the tiles nor on the order of the blocks. `step` adds both halves of a gradient to a tile of weights,
with what centring and decay add, and leaves the sums by which centring shifts the biases.

Sums over tiles are left as one row for each tile, which the caller adds up: no atomic additions, whose order would
change the last bits from run to run. Products are of bfloat16 (HALF), or of float32 by three of tf32, both added up in
float32. All of a file of its own, since Triton comes with torch's builds for GPUs only.
"""

# mypy: disable-error-code="no-untyped-def"
# (Triton reads annotations itself: they say what is known when a kernel is compiled)

from __future__ import annotations

import os

import triton
import triton.language as tl

# Triton's interpreter, in which the tests run these kernels without a GPU, multiplies the bits of bfloat16 as integers:
# there the rounded numbers are multiplied as float32, which is what tensor cores do with them
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def dot(a, b, sums, HALF: tl.constexpr):
    """``sums + a b``."""
    if HALF:
        if INTERPRETED:
            a, b = a.to(tl.float32).to(tl.bfloat16).to(tl.float32), b.to(tl.float32).to(tl.bfloat16).to(tl.float32)
            return tl.dot(a, b, sums)
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16), sums)
    return tl.dot(a.to(tl.float32), b.to(tl.float32), sums, input_precision="tf32x3")


@triton.jit
def uniform(key, draw, row, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Uniform numbers on [0, 1) for the units from (row, column) on, 24 bits each: (ROWS, COLUMNS)."""
    rows = (row + tl.arange(0, ROWS))[:, None]
    fours = (column // 4 + tl.arange(0, COLUMNS // 4))[None, :]
    none = (rows + fours) * 0
    a, b, c, d = tl.philox(key, fours + none, rows + none, none + draw, none)
    words = tl.reshape(tl.join(tl.join(a, b), tl.join(c, d)), (ROWS, COLUMNS))
    return (words >> 8).to(tl.float32) * (1.0 / (1 << 24))


@triton.jit
def layer(
    x, w, bias, key, mean, state, sums,
    n, n_in, n_out, w_in, w_out, draw,
    MEAN: tl.constexpr, STATE: tl.constexpr, SUMS: tl.constexpr, HALF: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """``mean = sigmoid(x W + bias)`` and 0/1 draws with it: x (n, n_in), W (n_in, n_out) with strides, bias (n_out,).

    MEAN and STATE say which of the outputs are wanted, SUMS whether the sums over a tile's rows, (tiles, n_out), are: 1
    for those of the means, 2 for those of the draws.
    """
    across = tl.cdiv(n_out, COLUMNS)
    tile, place = tl.program_id(0) // across, tl.program_id(0) % across
    rows, columns = tile * ROWS + tl.arange(0, ROWS), place * COLUMNS + tl.arange(0, COLUMNS)
    within = rows[:, None].to(tl.int64)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, n_in, DEPTH):
        units = start + tl.arange(0, DEPTH)
        here = (rows[:, None] < n) & (units[None, :] < n_in)
        a = tl.load(x + within * n_in + units[None, :], mask=here, other=0)
        here = (units[:, None] < n_in) & (columns[None, :] < n_out)
        b = tl.load(w + units[:, None].to(tl.int64) * w_in + columns[None, :].to(tl.int64) * w_out, mask=here, other=0)
        total = dot(a, b, total, HALF)
    total += tl.load(bias + columns, mask=columns < n_out, other=0)[None, :]
    p = tl.sigmoid(total)
    inside = (rows[:, None] < n) & (columns[None, :] < n_out)
    to = within * n_out + columns[None, :]
    if MEAN:
        tl.store(mean + to, p.to(mean.dtype.element_ty), mask=inside)
    if SUMS == 1:
        tl.store(sums + tile * n_out + columns, tl.sum(tl.where(inside, p, 0.0), axis=0), mask=columns < n_out)
    if STATE:
        on = uniform(tl.load(key), draw, tile * ROWS, place * COLUMNS, ROWS, COLUMNS) < p
        drawn = tl.where(on & inside, 1.0, 0.0)
        tl.store(state + to, drawn.to(state.dtype.element_ty), mask=inside)
        if SUMS == 2:
            tl.store(sums + tile * n_out + columns, tl.sum(drawn, axis=0), mask=columns < n_out)


@triton.jit
def step(
    w, x, p, n, y, q, m, up_v, up_h, mu, offset, to_v, to_h, rate, l2,
    n_v, n_h,
    CENTRED: tl.constexpr, HALF: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """``W += rate dW``, with ``dW = x' p / n - y' q / m - up_v offset' - mu up_h' - l2 W``.

    The data are x (n, n_v) with means p (n, n_h), the model's draws y (m, n_v) with means q (m, n_h); `up_v` and `up_h`
    are the data's less the model's means, `mu` and `offset` the offsets of centring. Leaves ``dW offset`` as one row
    for each tile of columns, (tiles, n_v), and ``dW' mu`` as one for each tile of rows, (tiles, n_h).
    """
    across = tl.cdiv(n_h, COLUMNS)
    tile, place = tl.program_id(0) // across, tl.program_id(0) % across
    rows, columns = tile * ROWS + tl.arange(0, ROWS), place * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    total = outer(x, p, n, n_v, n_h, rows, columns, total, HALF, DEPTH) * (-1.0 * m / n)
    total = outer(y, q, m, n_v, n_h, rows, columns, total, HALF, DEPTH) * (-1.0 / m)
    inside = (rows[:, None] < n_v) & (columns[None, :] < n_h)
    at = w + rows[:, None].to(tl.int64) * n_h + columns[None, :]
    old = tl.load(at, mask=inside, other=0)
    total -= l2 * old
    if CENTRED:
        of_v, of_h = (
            tl.load(mu + rows, mask=rows < n_v, other=0),
            tl.load(offset + columns, mask=columns < n_h, other=0),
        )
        more_v = tl.load(up_v + rows, mask=rows < n_v, other=0)
        more_h = tl.load(up_h + columns, mask=columns < n_h, other=0)
        total -= more_v[:, None] * of_h[None, :] + of_v[:, None] * more_h[None, :]
        tl.store(to_v + place * n_v + rows, tl.sum(total * of_h[None, :], axis=1), mask=rows < n_v)
        tl.store(to_h + tile * n_h + columns, tl.sum(total * of_v[:, None], axis=0), mask=columns < n_h)
    tl.store(at, old + rate * total, mask=inside)


@triton.jit
def outer(x, p, n, n_v, n_h, rows, columns, total, HALF: tl.constexpr, DEPTH: tl.constexpr):
    """A tile of ``total + x' p`` over `n` cases."""
    for start in range(0, n, DEPTH):
        cases = start + tl.arange(0, DEPTH)
        here = (rows[:, None] < n_v) & (cases[None, :] < n)
        a = tl.load(x + cases[None, :].to(tl.int64) * n_v + rows[:, None], mask=here, other=0)
        here = (cases[:, None] < n) & (columns[None, :] < n_h)
        b = tl.load(p + cases[:, None].to(tl.int64) * n_h + columns[None, :], mask=here, other=0)
        total = dot(a, b, total, HALF)
    return total
