"""One photo being corrected: the network's outline, the person's, and what stands on the canvas. No page, no network.

A `Desk` never changes; every control makes a new one. `version` counts what was sent to the canvas, so that a stroke
that was made on older content is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dermomamba import render
from dermomamba.correction import CANVAS, Drawn, History, Point, apply_strokes, canvas_size, changed_px, resized
from dermomamba.ui.canvas import content, mask_of, place, version_of

if TYPE_CHECKING:
    from dermomamba.predictor import Segmentation

CHART_SIDE = 1000
THUMBNAIL_SIDE = 240
FAR = 10_000  # chart px; a point that was typed far beyond the frame is drawn here


@dataclass(frozen=True, eq=False)  # compared by identity: Gradio hashes what a session holds
class Desk:
    """The state of one photo.

    Attributes:
        photo: (H, W, 3) uint8 RGB.
        small: (h, w, 3) uint8, the photo at the size of its place on the canvas.
        proposal: what the network said, at the network's size inside.
        history: the person's masks at the photo's size.
        canvas: (h, w) bool, the mask there.
        number: of the photo in the row.
        version: of what was last sent to the canvas.
    """

    photo: np.ndarray = field(repr=False)
    small: np.ndarray = field(repr=False)
    proposal: Segmentation = field(repr=False)
    history: History = field(repr=False)
    canvas: np.ndarray = field(repr=False)
    number: int
    version: int

    @classmethod
    def open(cls, photo: np.ndarray, proposal: Segmentation, number: int) -> Desk:
        """A photo (H, W, 3) uint8 with the network's outline, and its number in the row."""
        height, width = photo.shape[:2]
        size = canvas_size(height, width)
        shrinks = size[0] < height
        small = cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        mask = proposal.mask
        return cls(photo, small, replace(proposal), History.start(mask), resized(mask, size), number, 64 * number)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool, the outline as it stands."""
        return self.history.mask

    @property
    def network_mask(self) -> np.ndarray:
        """(H, W) bool, the network's outline."""
        return replace(self.proposal).mask  # a copy, so that the large arrays are not kept

    def stepped(self, history: History) -> Desk:
        """The desk with another history, to be sent to the canvas."""
        if history is self.history:
            return self
        size = (self.canvas.shape[0], self.canvas.shape[1])
        return replace(self, history=history, canvas=resized(history.mask, size), version=self.version + 1)

    def changed(self, mask: np.ndarray) -> Desk:
        """The desk with a new mask (H, W) bool."""
        return self.stepped(self.history.then(mask))

    def again(self) -> Desk:
        """The network's outline once more; what was drawn can be brought back by undo."""
        return self.changed(self.network_mask)

    def cut(self, threshold: float) -> Desk:
        """The network's outline at another threshold; the network does not run."""
        desk = replace(self, proposal=replace(self.proposal.rethreshold(threshold)))
        return desk.again()

    def stroked(self, opacity: np.ndarray | None) -> Desk:
        """The desk after a stroke; the same when nothing was drawn, or on older content.

        Args:
            opacity: (h, w) uint8, the whole canvas's layer as it came back.
        """
        if opacity is None or opacity.shape != CANVAS:
            return self
        version, after = version_of(opacity), mask_of(opacity)[place(*self.photo.shape[:2])]
        if version is not None and version != self.version & 0xFF:
            return self
        if version is None and not opacity.any():  # the canvas while it loads
            return self
        if (after == self.canvas).all():
            return self
        history = self.history.then(apply_strokes(self.mask, self.canvas, after))
        return replace(self, history=history, canvas=after)

    def content(self) -> dict[str, Any]:
        """What the canvas should show."""
        return content(self.small, self.canvas, self.version)

    def chart(self, points: list[Point]) -> np.ndarray:
        """The photo with the outline and the points of a polygon on it, (h, w, 3) uint8; see ``chart_factor``."""
        picture = render.outline(render.fit(self.photo, CHART_SIDE), self.mask)
        factor = self.chart_factor
        placed = np.clip((np.array(points).reshape(-1, 2) + 0.5) * factor - 0.5, -FAR, FAR)
        return render.corners(picture, [(float(x), float(y)) for x, y in placed])

    @property
    def chart_factor(self) -> float:
        """Chart px per photo px."""
        height, width = self.photo.shape[:2]
        return render.fit_factor(height, width, CHART_SIDE)

    def drawn(self) -> Drawn:
        """The photo with its outline, as accepted."""
        mask = self.mask
        return Drawn(self.photo, mask, changed_px(mask, self.network_mask))


def thumbnail(drawn: Drawn) -> np.ndarray:
    """A small picture (h, w, 3) uint8 of an accepted outline."""
    return render.outline(render.fit(drawn.photo, THUMBNAIL_SIDE), drawn.mask)
