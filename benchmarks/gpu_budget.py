"""Bytes that the network moves on a GPU, counted layer by layer, and the time they take at a copy rate.

    python benchmarks/gpu_budget.py --batch 64 --rate 4.3    rate in TB/s, as measured on the card

Each operator reads its inputs and writes its outputs once; convolutions and reductions are taken to find neighbours in
a cache. "plain" is PyTorch operator by operator, "fused" the operators of ``network/fused_block.py``. Counts
are elements a pixel of a stage's c channels (D = c / 4, E = c / 2, three branches).
"""

from __future__ import annotations

import argparse

from dermomamba.network import IMAGE_SIZE
from dermomamba.network.dermomamba import WIDTHS

STATES = 16
STAGE = {
    "3x3 convolution": 2.0,
    "InstanceNorm": 3.0,
    "leaky ReLU, scale, residual": 7.0,
    "3x3 convolution to 2c": 3.0,
    "BatchNorm, ReLU": 8.0,
    "max-pool": 2.5,
}
CBAM = {"two pools": 4.0, "channel gate": 4.0, "max and mean over channels": 4.0, "spatial gate": 4.0}
DECODER = {"up-sampling": 2.5, "concatenation": 8.0, "1x1": 6.0, "3x3": 3.0, "GELU": 2.0, "BatchNorm": 2.0}
SAVED = {
    "block input": 1.0, "scan output": 1.5, "BatchNorm in": 1.0, "ReLU": 1.0, "InstanceNorm in": 1.0,
    "leaky ReLU in": 1.0, "convolution in": 1.0, "BatchNorm in 2c": 2.0, "skip 2c": 2.0,
    "CBAM between gates": 2.0, "concatenation": 4.0, "1x1 out": 2.0, "3x3 out": 1.0, "GELU out": 1.0, "out": 1.0,
}  # fmt: skip
"""Elements (of 16 bits) that a training step keeps for its backward, a pixel and channel of the stage."""


def scan_bytes(inner: int, rank: int, size: int) -> int:
    """Bytes a pixel of the fused scan's forward: orient, project, lanes, scan, merge.

    Args:
        inner: E; rank: R; size: bytes of an element.
    """
    stream = 2 * (2 * STATES + rank) + STATES + rank  # written, read by lanes (B, dt) and by scan
    return size * (16 * inner + 4 * stream) + 4 * 8 * inner


def fused_block_elements(d: int) -> int:
    """Elements a pixel of one image: mixers, then three branches of in, 3x3 and out, and the untouched channels."""
    return 7 * 3 * d + 3 * (3 * d + 4 * 2 * d) + 2 * d


def plain_block_elements(d: int) -> int:
    """The same in PyTorch's operators: copies for permutes, LayerNorm, products, gate, residual, concatenations."""
    mixers = 3 * (3 * 2 * d + 3 * d) + 2 * 3 * d
    norm_in = 3 * (2 * d + 2 * d + d + 4 * d)
    convolution = 3 * (2 * 2 * d + 2 * 2 * d + 2 * 2 * d)
    out = 3 * (2 * 2 * d + 2 * 2 * d + 2 * 2 * d + 3 * 2 * d + 3 * d + 3 * d)
    return mixers + norm_in + convolution + out + 2 * 4 * d


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=4.3, help="TB/s")
    options = parser.parse_args()
    for size, name in ((4, "fp32"), (2, "bf16")):
        print(f"\n{name}, {options.batch} images: GB, and ms at {options.rate} TB/s")
        print(f"{'stage':8}{'scan':>14}{'block plain':>16}{'block fused':>16}{'rest plain':>16}")
        total = [0.0] * 4
        for i, c in enumerate(WIDTHS[:-1]):
            pixels = options.batch * IMAGE_SIZE[0] * IMAGE_SIZE[1] / 4**i
            d = c // 4
            rest = sum((*STAGE.values(), *CBAM.values(), *DECODER.values())) * c
            row = [
                3 * scan_bytes(2 * d, -(-d // 16), size) * pixels,
                size * plain_block_elements(d) * pixels,
                size * fused_block_elements(d) * pixels,
                size * rest * pixels,
            ]
            total = [t + r for t, r in zip(total, row, strict=True)]
            print(f"{i + 1:<8}" + "".join(f"{r / 1e9:8.2f} {r / options.rate / 1e9:6.2f}" for r in row))
        print(f"{'all':8}" + "".join(f"{t / 1e9:8.2f} {t / options.rate / 1e9:6.2f}" for t in total))
    kept = sum(sum(SAVED.values()) * c / 4**i for i, c in enumerate(WIDTHS[:-1]))
    kept *= 2 * options.batch * IMAGE_SIZE[0] * IMAGE_SIZE[1]
    print(f"\nsaved by a bf16 training step: {kept / 2**30:.2f} GiB, without the backward's own work space")


if __name__ == "__main__":
    main()
