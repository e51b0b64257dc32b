"""The bare selective scan for the processor: compiled workers, forward and backward (arXiv 2312.00752, algorithm 2).

Sequences lie in memory with time last, as mamba-ssm has them; a worker turns tiles of 8 channels x 8 steps around, so
that ``cpu_blocks`` finds eight channels side by side. Arrays are flat float32:
    u, delta, y      [batch][channel][L], channels of a group a multiple of 8
    B, C             [batch][group][N][L], N a multiple of 4
    rates            [channel / 8][N][8]
    saved            [batch][channel / 8][block][N][8], the states at the beginning of each block
"""

from __future__ import annotations

import numpy as np

from dermomamba.scan.cpu_blocks import STEPS, clear, gradient_block, scan_block
from dermomamba.scan.cpu_compile import compiled
from dermomamba.scan.cpu_vector import (
    LANES,
    fma,
    lanes_to_rows,
    load,
    rows_to_lanes,
    splat,
    store,
    take_number,
    zeros,
)

LN2 = np.float32(0.6931471805599453)


@compiled
def read_rows(a, a0, b, b0, stride, count, target, width, column):
    """Four rows of ``a`` and four of ``b`` into eight columns of ``target``."""
    whole = count // LANES * LANES
    for t in range(0, whole, LANES):
        rows_to_lanes(a, a0 + t, b, b0 + t, stride, target, t * width + column, width)
    for t in range(whole, count):
        for i in range(4):
            target[t * width + column + i] = a[a0 + i * stride + t]
            target[t * width + column + 4 + i] = b[b0 + i * stride + t]


@compiled
def write_rows(source, width, column, count, a, a0, b, b0, stride):
    """The inverse of ``read_rows``."""
    whole = count // LANES * LANES
    for t in range(0, whole, LANES):
        lanes_to_rows(source, t * width + column, width, a, a0 + t, b, b0 + t, stride)
    for t in range(whole, count):
        for i in range(4):
            a[a0 + i * stride + t] = source[t * width + column + i]
            b[b0 + i * stride + t] = source[t * width + column + 4 + i]


@compiled
def read_channels(a, a0, stride, count, target):
    """Eight rows into [t][8]."""
    read_rows(a, a0, a, a0 + 4 * stride, stride, count, target, LANES, 0)


@compiled
def write_channels(source, count, a, a0, stride):
    """[t][8] into eight rows."""
    write_rows(source, LANES, 0, count, a, a0, a, a0 + 4 * stride, stride)


@compiled
def forward_worker(counter, u, delta, rates, B, C, y, saved, save, batch, groups, octets, n_states, length):
    """Take tasks (batch item, eight channels) until none is left; ``octets`` counts them in a group."""
    size, width, blocks = n_states * LANES, 2 * n_states, -(-length // STEPS)
    weights, states = np.empty(STEPS * width, np.float32), np.empty(size, np.float32)
    steps, inputs = np.empty(STEPS * LANES, np.float32), np.empty(STEPS * LANES, np.float32)
    outputs = np.empty(STEPS * LANES, np.float32)
    while True:
        task = take_number(counter)
        if task >= batch * groups * octets:
            return
        octet = task % (groups * octets)
        base, shared = task * LANES * length, task // octets * n_states * length
        clear(states, size)
        for block in range(blocks):
            t0 = block * STEPS
            count = min(STEPS, length - t0)
            for n in range(0, n_states, 4):
                row = shared + n * length + t0
                read_rows(B, row, C, row, length, count, weights, width, 2 * n)
            read_channels(delta, base + t0, length, count, steps)
            read_channels(u, base + t0, length, count, inputs)
            for t in range(0, count * LANES, LANES):
                store(inputs, t, load(inputs, t) * load(steps, t))
                store(outputs, t, zeros())
            if save:
                slot = (task * blocks + block) * size
                for n in range(0, size, LANES):
                    store(saved, slot + n, load(states, n))
            scan_block(count, False, steps, inputs, weights, width, outputs, states, 0, rates, octet * size, n_states)
            write_channels(outputs, count, y, base + t0, length)


@compiled
def backward_worker(
    counter, u, delta, rates, B, C, saved, dy, du, d_delta, d_rates, dB, dC,
    batch, groups, octets, n_states, length, parts
):  # fmt: skip
    """The adjoint; a task is one part of a group's channels.

    dB and dC come out for each part, d_rates for each batch item, to be added by the caller.
    """
    size, width, blocks = n_states * LANES, 2 * n_states, -(-length // STEPS)
    weights, d_weights = np.empty(STEPS * width, np.float32), np.empty(STEPS * width, np.float32)
    steps, inputs = np.empty(STEPS * LANES, np.float32), np.empty(STEPS * LANES, np.float32)
    values, grads = np.empty(STEPS * LANES, np.float32), np.empty(STEPS * LANES, np.float32)
    d_inputs, d_steps = np.empty(STEPS * LANES, np.float32), np.empty(STEPS * LANES, np.float32)
    kept, carry = np.empty(STEPS * 64, np.float32), np.empty(octets * size, np.float32)
    ln2 = splat(LN2)
    while True:
        task = take_number(counter)
        if task >= batch * groups * parts:
            return
        part, item = task // (batch * groups), task % (batch * groups)
        shared, shared_out = item * n_states * length, task * n_states * length
        clear(carry, octets * size)
        for block in range(blocks - 1, -1, -1):
            t0 = block * STEPS
            count = min(STEPS, length - t0)
            for n in range(0, n_states, 4):
                row = shared + n * length + t0
                read_rows(B, row, C, row, length, count, weights, width, 2 * n)
            clear(d_weights, STEPS * width)
            for o in range(part * octets // parts, (part + 1) * octets // parts):
                octet = item * octets + o
                base = octet * LANES * length + t0
                read_channels(delta, base, length, count, steps)
                read_channels(u, base, length, count, values)
                read_channels(dy, base, length, count, grads)
                for t in range(0, count * LANES, LANES):
                    store(inputs, t, load(values, t) * load(steps, t))
                clear(d_inputs, STEPS * LANES)
                clear(d_steps, STEPS * LANES)
                gradient_block(
                    count, False, steps, inputs, weights, width, grads, saved, (octet * blocks + block) * size,
                    rates, octet % (groups * octets) * size, n_states, carry, o * size,
                    d_inputs, d_steps, d_weights, d_rates, octet * size, kept,
                )  # fmt: skip
                for t in range(0, count * LANES, LANES):
                    d_input, step = load(d_inputs, t), load(steps, t)
                    store(d_steps, t, fma(d_input, load(values, t), load(d_steps, t) * ln2))
                    store(d_inputs, t, d_input * step)
                write_channels(d_inputs, count, du, base, length)
                write_channels(d_steps, count, d_delta, base, length)
            for n in range(0, n_states, 4):
                row = shared_out + n * length + t0
                write_rows(d_weights, width, 2 * n, count, dB, row, dC, row, length)
