"""The inner loops of the compiled scan: one block of steps, eight channels side by side in the vector lanes.

Four states of eight channels stay in registers while a block's steps pass by; then the next four. Nothing larger
than a block (``STEPS`` steps) is ever kept. The backward block recomputes its states from the state at its start
(Gu and Dao 2023, arXiv 2312.00752, section 3.3.2: recompute instead of store).

Layouts inside a block, all flat float32 arrays, t counted in image order whatever the direction of the scan:
    steps, inputs, outputs   [t][8 channels]
    weights                  [t][width]: for each four states n..n+3 the eight numbers B_n..B_n+3, C_n..C_n+3
    states, rates            [n][8 channels]; rates are A / ln 2, so that the decay is 2^(delta * rate)
"""

from __future__ import annotations

from dermomamba.scan.cpu_compile import compiled
from dermomamba.scan.cpu_vector import LANES, exp2_four, fma, load, spread, store, totals, zeros

STEPS = 64


@compiled
def scan_block(count, reverse, steps, inputs, weights, width, outputs, states, s0, rates, r0, n_states):
    """Add ``C_t . h_t`` to outputs and move the states to the block's end.

    Args:
        count: steps in the block.
        reverse: walk from the last step to the first.
        steps: delta.
        inputs: delta * u.
        weights: B and C.
        width: floats a step in ``weights``.
        outputs: added to.
        states: h, from index ``s0`` on.
        rates: from index ``r0`` on.
        n_states: N, a multiple of four.
    """
    stride = -1 if reverse else 1
    begin = count - 1 if reverse else 0
    for n in range(0, n_states, 4):
        s, r = s0 + n * LANES, r0 + n * LANES
        h0, h1, h2, h3 = load(states, s), load(states, s + 8), load(states, s + 16), load(states, s + 24)
        a0, a1, a2, a3 = load(rates, r), load(rates, r + 8), load(rates, r + 16), load(rates, r + 24)
        t = begin
        for _ in range(count):
            step, value, y = load(steps, t * LANES), load(inputs, t * LANES), load(outputs, t * LANES)
            w = t * width + 2 * n
            e0, e1, e2, e3 = exp2_four(step * a0, step * a1, step * a2, step * a3)
            h0 = fma(e0, h0, value * spread(weights, w))
            h1 = fma(e1, h1, value * spread(weights, w + 1))
            h2 = fma(e2, h2, value * spread(weights, w + 2))
            h3 = fma(e3, h3, value * spread(weights, w + 3))
            y = fma(h0, spread(weights, w + 4), y)
            y = fma(h1, spread(weights, w + 5), y)
            y = fma(h2, spread(weights, w + 6), y)
            y = fma(h3, spread(weights, w + 7), y)
            store(outputs, t * LANES, y)
            t += stride
        store(states, s, h0)
        store(states, s + 8, h1)
        store(states, s + 16, h2)
        store(states, s + 24, h3)


@compiled
def gradient_block(
    count, reverse, steps, inputs, weights, width, grads, states, s0, rates, r0, n_states,
    carry, c0, d_inputs, d_steps, d_weights, d_rates, q0, kept
):  # fmt: skip
    """The adjoint of ``scan_block``: walks against the scan with the adjoint state g.

    ``g_t = C_t dy_t + a_{t+1} g_{t+1}``; the gradients of delta u, B, C and delta A follow from g_t, h_t and h_{t-1}.

    Args:
        grads: [t][8] dy.
        states: h before the block (left as it is).
        carry: g handed on from the block behind, moved to this block's beginning.
        c0: index into carry.
        d_inputs: [t][8] added to: gradient of delta * u.
        d_steps: [t][8] added to: gradient of delta through the decay, over ln 2.
        d_weights: [t][width] added to: gradients of B and C, laid out as ``weights``.
        d_rates: [n][8] added to: gradient of A, from index ``q0`` on.
        kept: scratch of 64 * STEPS floats: each step's decay a and decayed state a h.
    """
    stride = -1 if reverse else 1
    for n in range(0, n_states, 4):
        s, r, c, q = s0 + n * LANES, r0 + n * LANES, c0 + n * LANES, q0 + n * LANES
        h0, h1, h2, h3 = load(states, s), load(states, s + 8), load(states, s + 16), load(states, s + 24)
        a0, a1, a2, a3 = load(rates, r), load(rates, r + 8), load(rates, r + 16), load(rates, r + 24)
        t = count - 1 if reverse else 0
        for i in range(count):
            step, value, w, k = load(steps, t * LANES), load(inputs, t * LANES), t * width + 2 * n, i * 64
            e0, e1, e2, e3 = exp2_four(step * a0, step * a1, step * a2, step * a3)
            h0, h1, h2, h3 = h0 * e0, h1 * e1, h2 * e2, h3 * e3  # the part that decayed: a h
            store(kept, k, e0)
            store(kept, k + 8, e1)
            store(kept, k + 16, e2)
            store(kept, k + 24, e3)
            store(kept, k + 32, h0)
            store(kept, k + 40, h1)
            store(kept, k + 48, h2)
            store(kept, k + 56, h3)
            h0 = fma(value, spread(weights, w), h0)
            h1 = fma(value, spread(weights, w + 1), h1)
            h2 = fma(value, spread(weights, w + 2), h2)
            h3 = fma(value, spread(weights, w + 3), h3)
            t += stride
        g0, g1, g2, g3 = load(carry, c), load(carry, c + 8), load(carry, c + 16), load(carry, c + 24)
        d0, d1, d2, d3 = load(d_rates, q), load(d_rates, q + 8), load(d_rates, q + 16), load(d_rates, q + 24)
        for i in range(count - 1, -1, -1):
            t -= stride
            step, value, dy = load(steps, t * LANES), load(inputs, t * LANES), load(grads, t * LANES)
            w, k = t * width + 2 * n, i * 64
            b0, b1, b2, b3 = spread(weights, w), spread(weights, w + 1), spread(weights, w + 2), spread(weights, w + 3)
            g0 = fma(dy, spread(weights, w + 4), g0)
            g1 = fma(dy, spread(weights, w + 5), g1)
            g2 = fma(dy, spread(weights, w + 6), g2)
            g3 = fma(dy, spread(weights, w + 7), g3)
            p0, p1, p2, p3 = load(kept, k + 32), load(kept, k + 40), load(kept, k + 48), load(kept, k + 56)
            sums = totals(
                g0 * value, g1 * value, g2 * value, g3 * value,
                fma(value, b0, p0) * dy, fma(value, b1, p1) * dy, fma(value, b2, p2) * dy, fma(value, b3, p3) * dy,
            )  # fmt: skip
            store(d_weights, w, load(d_weights, w) + sums)
            store(d_inputs, t * LANES, fma(g0, b0, fma(g1, b1, fma(g2, b2, fma(g3, b3, load(d_inputs, t * LANES))))))
            p0, p1, p2, p3 = p0 * g0, p1 * g1, p2 * g2, p3 * g3  # gradient of delta A
            store(d_steps, t * LANES, fma(p0, a0, fma(p1, a1, fma(p2, a2, fma(p3, a3, load(d_steps, t * LANES))))))
            d0, d1, d2, d3 = fma(p0, step, d0), fma(p1, step, d1), fma(p2, step, d2), fma(p3, step, d3)
            g0, g1 = g0 * load(kept, k), g1 * load(kept, k + 8)
            g2, g3 = g2 * load(kept, k + 16), g3 * load(kept, k + 24)
        store(carry, c, g0)
        store(carry, c + 8, g1)
        store(carry, c + 16, g2)
        store(carry, c + 24, g3)
        store(d_rates, q, d0)
        store(d_rates, q + 8, d1)
        store(d_rates, q + 16, d2)
        store(d_rates, q + 24, d3)


@compiled
def clear(array, count):
    """Set the first ``count`` floats (a multiple of eight) to zero."""
    for i in range(0, count, LANES):
        store(array, i, zeros())
