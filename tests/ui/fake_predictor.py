"""A stand-in for the predictor: a lesion is whatever is darker than the photo's rim. No network, no weights.

It returns the real `Segmentation` and counts its runs, so that tests can say that a control did not run it.
"""

from __future__ import annotations

import cv2
import numpy as np

from dermomamba.predictor import Segmentation
from dermomamba.weights import Weights

SIZES = {"cbam1": (192, 256), "cbam2": (96, 128), "cbam3": (48, 64), "cbam4": (24, 32), "cbam5": (12, 16)}
CHANNELS = {"cbam1": 32, "cbam2": 64, "cbam3": 128, "cbam4": 256, "cbam5": 512}


class FakePredictor:
    """Outlines what is darker than the rim."""

    def __init__(self) -> None:
        self.runs = 0
        self.weights = Weights("fake", {}, {}, "0" * 64, (192, 256))
        self.scan_backend = "none"
        self.device = "cpu"

    def __call__(self, image, tta=False, threshold=0.5, largest=True, fill_holes=True) -> Segmentation:
        self.runs += 1
        small = cv2.resize(image, (256, 192), interpolation=cv2.INTER_AREA)
        grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (0, 0), 1.0).astype(np.float32)
        rim = float(np.median(np.concatenate([grey[4], grey[-5], grey[:, 4], grey[:, -5]])))
        dark = float(np.percentile(grey, 2))
        probability = 1 / (1 + np.exp((grey - (rim + dark) / 2) / 4))
        if rim - dark < 12:
            probability = probability * 0.2
        rng = np.random.default_rng(int(image.sum()) % 2**32)
        return Segmentation(
            network_probability=probability.astype(np.float32),
            size=image.shape[:2],
            attention={
                key: (0.15 + 0.6 * cv2.resize(probability, (w, h), interpolation=cv2.INTER_AREA)).astype(np.float32)
                for key, (h, w) in SIZES.items()
            },
            channel_attention={key: rng.uniform(0.2, 0.9, n).astype(np.float32) for key, n in CHANNELS.items()},
            threshold=threshold,
            largest=largest,
            fill_holes=fill_holes,
            tta=tta,
            seconds={"network": 0.01},
            weights="fake",
            weights_sha256="0" * 64,
            scan_backend="none",
            device="cpu",
        )
