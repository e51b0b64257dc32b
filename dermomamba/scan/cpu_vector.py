"""Eight float32 lanes as a numba type, so that a kernel written in Python keeps its states in vector registers.

Each operation is one LLVM vector instruction (AVX2: one register; SSE and NEON: two). ``exp2`` is a polynomial of
degree 5 after splitting off the integer part (relative error under 2e-7, exact at 0, minimax by Lawson's
iteration); ``log1p`` sums the series of 2 atanh(w / (2 + w)). Indices are never checked: only the kernels beside
this file call it. Arguments of ``exp2`` must not exceed 127; the kernels' never exceed 0.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 8
FLOAT, INT = ir.FloatType(), ir.IntType(32)
FLOATS, INTS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)
EXP2 = (1.0, 0.6931470036506653, 0.24022242426872253, 0.05550733581185341, 0.009671512991189957, 0.0013264727313071)
LOG1P = (2.0, 0.6666631698608398, 0.40024909377098083, 0.2796059846878052, 0.2817835807800293)
LOWEST = -100.0  # 2^-100 is nothing to a float32 state, and spares the subnormal numbers
ROUND = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer, found in the low bits


class Vector(types.Type):
    """Numba's name for eight float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name="dermomamba_f32x8")


vector = Vector()


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """Held by value, in a register."""

    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, FLOATS)


class _Binary(AbstractTemplate):
    def generic(self, args, kws):
        return signature(vector, vector, vector) if args == (vector, vector) else None


for _operator, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    infer_global(_operator)(type("VectorTemplate", (_Binary,), {}))

    @lower_builtin(_operator, vector, vector)
    def _lower(context, builder, sig, args, instruction=_instruction):
        return getattr(builder, instruction)(*args)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(FLOATS, [value] * LANES)


def _fused(builder, a, b, c):
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [a, b, c])


def _clamp(builder, x, bound: float, relation: str):
    return builder.select(builder.fcmp_ordered(relation, x, _constant(bound)), x, _constant(bound))


def _splat(builder, scalar):
    single = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), scalar, ir.Constant(INT, 0))
    zeros = ir.Constant(INTS, [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(FLOATS, ir.Undefined), zeros)


def _shuffle(builder, a, b, order):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT, len(order)), list(order)))


def _polynomial(builder, x, coefficients):
    total = _constant(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = _fused(builder, total, x, _constant(c))
    return total


def _exp2(builder, *xs):
    """2^x of several vectors, step by step side by side, so that the processor finds independent work nearby."""
    xs = [_clamp(builder, x, LOWEST, ">") for x in xs]
    shifted = [builder.fadd(x, _constant(ROUND)) for x in xs]
    whole = [builder.fsub(s, _constant(ROUND)) for s in shifted]
    fraction = [builder.fsub(x, w) for x, w in zip(xs, whole, strict=True)]
    power = [builder.shl(builder.bitcast(s, INTS), ir.Constant(INTS, [23] * LANES)) for s in shifted]
    sums = [_constant(EXP2[-1])] * len(xs)
    for c in reversed(EXP2[:-1]):
        sums = [_fused(builder, s, f, _constant(c)) for s, f in zip(sums, fraction, strict=True)]
    raised = [builder.add(builder.bitcast(s, INTS), p) for s, p in zip(sums, power, strict=True)]
    return [builder.bitcast(r, FLOATS) for r in raised]


def _transposed(builder, rows):
    """Eight vectors as the columns of the square that they are the rows of."""
    for half in (1, 2, 4):
        out = [None] * LANES
        for i in range(LANES):
            if not i & half:
                a, b = rows[i], rows[i + half]
                out[i] = _shuffle(builder, a, b, [j + (LANES - half if j & half else 0) for j in range(LANES)])
                out[i + half] = _shuffle(builder, a, b, [j + (LANES if j & half else half) for j in range(LANES)])
        rows = out
    return rows


def _address(context, builder, array_type, array, index, as_vector: bool = True):
    data = context.make_array(array_type)(context, builder, array).data
    pointer = builder.gep(data, [index])
    return builder.bitcast(pointer, FLOATS.as_pointer()) if as_vector else pointer


@intrinsic
def load(typingctx, array, index):
    """Eight floats from a flat array, from ``index`` on."""

    def generate(context, builder, sig, args):
        return builder.load(_address(context, builder, sig.args[0], *args), align=4)

    return vector(array, types.intp), generate


@intrinsic
def store(typingctx, array, index, value):
    """Write eight floats to a flat array, from ``index`` on."""

    def generate(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def spread(typingctx, array, index):
    """One float of a flat array in all eight lanes."""

    def generate(context, builder, sig, args):
        return _splat(builder, builder.load(_address(context, builder, sig.args[0], *args, as_vector=False)))

    return vector(array, types.intp), generate


@intrinsic
def zeros(typingctx):
    """Eight zeros."""

    def generate(context, builder, sig, args):
        return _constant(0.0)

    return vector(), generate


@intrinsic
def splat(typingctx, value):
    """One number in all eight lanes."""

    def generate(context, builder, sig, args):
        return _splat(builder, args[0])

    return vector(types.float32), generate


@intrinsic
def fma(typingctx, a, b, c):
    """``a * b + c``."""

    def generate(context, builder, sig, args):
        return _fused(builder, *args)

    return vector(vector, vector, vector), generate


@intrinsic
def exp2(typingctx, x):
    """2^x."""

    def generate(context, builder, sig, args):
        return _exp2(builder, args[0])[0]

    return vector(vector), generate


@intrinsic
def exp2_four(typingctx, a, b, c, d):
    """``(2^a, 2^b, 2^c, 2^d)``."""

    def generate(context, builder, sig, args):
        return cgutils.pack_array(builder, _exp2(builder, *args))

    return types.UniTuple(vector, 4)(vector, vector, vector, vector), generate


@intrinsic
def softplus(typingctx, x):
    """``(log(1 + e^x), 1 / (1 + e^-x))``: the step size and its derivative."""

    def generate(context, builder, sig, args):
        x = args[0]
        positive = builder.fcmp_ordered(">", x, _constant(0.0))
        negated = builder.fsub(_constant(0.0), x)
        (w,) = _exp2(builder, builder.fmul(builder.select(positive, negated, x), _constant(1.4426950408889634)))
        s = builder.fdiv(w, builder.fadd(w, _constant(2.0)))
        log = builder.fmul(s, _polynomial(builder, builder.fmul(s, s), LOG1P))
        # written so that NaN stays NaN
        step = builder.fadd(log, builder.select(builder.fcmp_ordered("<", x, _constant(0.0)), _constant(0.0), x))
        slope = builder.fdiv(builder.select(positive, _constant(1.0), w), builder.fadd(w, _constant(1.0)))
        return cgutils.pack_array(builder, [step, slope])

    return types.UniTuple(vector, 2)(vector), generate


@intrinsic
def silu(typingctx, x):
    """``x / (1 + e^-x)``."""

    def generate(context, builder, sig, args):
        x = args[0]
        below = builder.fcmp_ordered("<", x, _constant(0.0))
        size = builder.select(below, x, builder.fsub(_constant(0.0), x))  # -|x|
        (w,) = _exp2(builder, builder.fmul(size, _constant(1.4426950408889634)))
        return builder.fdiv(builder.fmul(x, builder.select(below, w, _constant(1.0))), builder.fadd(w, _constant(1.0)))

    return vector(vector), generate


@intrinsic
def maximum(typingctx, a, b):
    """The larger of two, lane by lane; NaN where either is NaN."""

    def generate(context, builder, sig, args):
        a, b = args
        larger = builder.select(builder.fcmp_unordered(">", a, b), a, b)
        return builder.select(builder.fcmp_unordered("uno", b, b), b, larger)

    return vector(vector, vector), generate


@intrinsic
def peak(typingctx, x):
    """The largest of the eight lanes as a float."""

    def generate(context, builder, sig, args):
        x = args[0]
        for width in (4, 2, 1):
            low, high = _shuffle(builder, x, x, range(width)), _shuffle(builder, x, x, range(width, 2 * width))
            x = builder.select(builder.fcmp_unordered(">", low, high), low, high)
        return builder.extract_element(x, ir.Constant(INT, 0))

    return types.float32(vector), generate


@intrinsic
def total(typingctx, x):
    """Sum of the eight lanes as a float."""

    def generate(context, builder, sig, args):
        x = args[0]
        for width in (4, 2, 1):
            low = _shuffle(builder, x, x, range(width))
            x = builder.fadd(low, _shuffle(builder, x, x, range(width, 2 * width)))
        return builder.extract_element(x, ir.Constant(INT, 0))

    return types.float32(vector), generate


@intrinsic
def totals(typingctx, a, b, c, d, e, f, g, h):
    """The sums of eight vectors, one in each lane."""

    def generate(context, builder, sig, args):
        rows = list(args)
        for half in (4, 2, 1):  # add the halves of a pair: 4 + 2 + 1 additions in all
            pairs = []
            for i in range(len(rows) // 2):
                p, q = rows[i], rows[i + len(rows) // 2]
                keep = [j + (LANES - half if j & half else 0) for j in range(LANES)]
                other = [j + (LANES if j & half else half) for j in range(LANES)]
                pairs.append(builder.fadd(_shuffle(builder, p, q, keep), _shuffle(builder, p, q, other)))
            rows = pairs
        return rows[0]

    return vector(*[vector] * LANES), generate


def _tile(context, builder, types_, a, a0, b, b0, stride):
    """Addresses of four rows of ``a`` and four of ``b``, ``stride`` floats apart."""
    for array_type, array, start in ((types_[0], a, a0), (types_[1], b, b0)):
        for i in range(LANES // 2):
            index = builder.add(start, builder.mul(stride, ir.Constant(stride.type, i)))
            yield _address(context, builder, array_type, array, index)


@intrinsic
def rows_to_lanes(typingctx, a, a0, b, b0, stride, target, first, step):
    """Transpose a tile: four rows of eight floats from ``a``, four from ``b``, into eight rows of ``target``."""

    def generate(context, builder, sig, args):
        a, a0, b, b0, stride, target, first, step = args
        places = _tile(context, builder, (sig.args[0], sig.args[2]), a, a0, b, b0, stride)
        rows = [builder.load(place, align=4) for place in places]
        for i, row in enumerate(_transposed(builder, rows)):
            index = builder.add(first, builder.mul(step, ir.Constant(step.type, i)))
            builder.store(row, _address(context, builder, sig.args[5], target, index), align=4)
        return context.get_dummy_value()

    i = types.intp
    return types.void(a, i, b, i, i, target, i, i), generate


@intrinsic
def lanes_to_rows(typingctx, source, first, step, a, a0, b, b0, stride):
    """The inverse of ``rows_to_lanes``: eight rows of ``source`` into four rows of ``a`` and four of ``b``."""

    def generate(context, builder, sig, args):
        source, first, step, a, a0, b, b0, stride = args
        rows = []
        for i in range(LANES):
            index = builder.add(first, builder.mul(step, ir.Constant(step.type, i)))
            rows.append(builder.load(_address(context, builder, sig.args[0], source, index), align=4))
        places = _tile(context, builder, (sig.args[3], sig.args[5]), a, a0, b, b0, stride)
        for place, row in zip(places, _transposed(builder, rows), strict=True):
            builder.store(row, place, align=4)
        return context.get_dummy_value()

    i = types.intp
    return types.void(source, i, i, a, i, b, i, i), generate


@intrinsic
def take_number(typingctx, counter):
    """Return counter[0] and add one to it, in one step for all threads."""

    def generate(context, builder, sig, args):
        pointer = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), generate
