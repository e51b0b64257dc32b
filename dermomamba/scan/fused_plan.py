"""How the fused scan cuts an image into lanes, tiles and programs, and a batch into slices; no Triton needed.

The words are those of ``fused_kernels.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

EK, POSITIONS, WEIGHT_POSITIONS = 16, 128, 64
"""Channels, and positions of the image, of one block of the projections and of their weights' gradient."""

WORKSPACE, FORWARD_WORKSPACE, SHARE = 2**30, 2**32, 16
"""Bytes of temporary buffers that a slice of the batch may take: in the backward, where much else is alive; in the
forward, at most; and there one SHARE-th of the device's memory. One image may take more."""

WANTED_WARPS = 2048
"""Warps that fill a large GPU; columns are cut into shorter lanes until there are as many."""

SHORTEST_LANE = 16
"""Steps below which a lane is not cut further."""


@dataclass(frozen=True)
class Tuning:
    """How a program's threads are spread over lanes and channels.

    Attributes:
        each: channels a thread scans (EB).
        lanes: lanes of a program, a power of two up to 32 (LW).
        warps: warps of a program.
    """

    each: int = 2
    lanes: int = 8
    warps: int = 1

    @property
    def block(self) -> int:
        """Channels of a program."""
        return self.each * self.threads // self.lanes

    @property
    def threads(self) -> int:
        return 32 * self.warps


@dataclass(frozen=True)
class Plan:
    """Sizes of one slice: how its columns are cut into lanes and tiles."""

    batch: int
    channels: int
    height: int
    width: int
    rank: int
    states: int
    tuning: Tuning

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def rows(self) -> int:
        """Rows of the stream: B, C and dt_raw."""
        return 2 * self.states + self.rank

    @property
    def blocks(self) -> int:
        """Programs that share the channels of a tile."""
        return math.ceil(self.channels / self.tuning.block)

    @cached_property
    def parts(self) -> tuple[int, int]:
        """Lanes a column, for the row and the column orientation."""
        return self._cut(self.width, self.height), self._cut(self.height, self.width)

    def _cut(self, steps: int, columns: int) -> int:
        warps = 4 * math.ceil(self.batch * columns / self.tuning.lanes) * self.blocks * self.tuning.warps
        best = 1
        for parts in range(1, steps // SHORTEST_LANE + 1):
            if steps % parts == 0:
                best = parts
                if parts * warps >= WANTED_WARPS:
                    break
        return best

    def _tiles(self, columns: int, parts: int) -> int:
        return math.ceil(self.batch * columns * parts / self.tuning.lanes)

    @cached_property
    def tiles(self) -> int:
        """Tiles of the orientation that has more."""
        return max(self._tiles(self.height, self.parts[0]), self._tiles(self.width, self.parts[1]))

    @cached_property
    def positions(self) -> int:
        """Positions of one direction in the stream, those included that fill the last tile."""
        rows = self._tiles(self.height, self.parts[0]) * (self.width // self.parts[0])
        columns = self._tiles(self.width, self.parts[1]) * (self.height // self.parts[1])
        return max(rows, columns) * self.tuning.lanes

    def position_blocks(self, positions: int) -> int:
        """Blocks of so many positions (whole steps of one tile) of the orientation that has more."""
        steps = positions // self.tuning.lanes
        return max(
            self._tiles(self.height, self.parts[0]) * math.ceil(self.width // self.parts[0] / steps),
            self._tiles(self.width, self.parts[1]) * math.ceil(self.height // self.parts[1] / steps),
        )

    @property
    def sizes(self) -> dict[str, int]:
        return {
            "batch": self.batch,
            "channels": self.channels,
            "height": self.height,
            "width": self.width,
            "q_rows": self.parts[0],
            "q_columns": self.parts[1],
        }

    @property
    def scan(self) -> dict[str, int]:
        """Arguments of every kernel that scans lanes."""
        return {
            **self.sizes,
            "tiles": self.tiles,
            "positions": self.positions,
            "one": 1,
            "N": self.states,
            "R": self.rank,
            "RP": power_of_two(self.rank),
            "EB": self.tuning.each,
            "LW": self.tuning.lanes,
            "T": self.tuning.threads,
            "num_warps": self.tuning.warps,
        }

    @property
    def projection(self) -> dict[str, int]:
        """Arguments of every kernel that goes through the projections."""
        return {
            **self.sizes,
            "positions": self.positions,
            "N": self.states,
            "R": self.rank,
            "EK": EK,
            "LW": self.tuning.lanes,
            "num_warps": 4,
            "num_stages": 1,
        }


def power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def can_take(states: int) -> bool:
    """Whether the kernels are written for so many states: a power of two, at least 8."""
    return states >= 8 and not states & (states - 1)


def forward_space(memory: int | None) -> int:
    """Bytes of temporary buffers of a forward on a device of so much memory; None: not known."""
    return FORWARD_WORKSPACE if memory is None else min(FORWARD_WORKSPACE, memory // SHARE)


def slices(batch: int, bytes_an_item: int, space: int) -> list[slice]:
    """Equal slices of the batch whose work space stays near so many bytes."""
    fit = max(1, space // bytes_an_item)
    size = math.ceil(batch / math.ceil(batch / fit))
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]
