"""Predictor: a photo in, the lesion's outline and the network's maps out. No training code, no page.

A predictor never changes after it was made and may be shared by threads; whoever fine-tunes makes another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dermomamba import weights as weights_
from dermomamba.errors import BackendError
from dermomamba.explain import channel_gates, guide_map, spatial_maps
from dermomamba.images import decode
from dermomamba.network import Gates
from dermomamba.network.cuda_graph import GraphedNetwork
from dermomamba.network.inference import for_inference
from dermomamba.postprocess import Cleaned, clean_mask
from dermomamba.resample import to_network, to_photo
from dermomamba.scan import backend_for


@dataclass(frozen=True)
class Segmentation:
    """What the network says of one photo: pixels and probabilities, never files, names or metadata.

    Attributes:
        network_probability: (h, w) float32 in [0, 1], at the network's size; everything else follows from it.
        size: (H, W) of the photo.
        attention: "cbam1" (finest) to "cbam5": spatial gates (h, w) float32 in (0, 1).
        channel_attention: the same keys: channel gates (c,) float32 in (0, 1).
        threshold: probability from which a pixel belongs to the lesion.
        largest: whether only the largest region was kept.
        fill_holes: whether holes were filled.
        tta: whether four mirrorings were averaged.
        seconds: time of each step.
        weights: name of the weights; weights_sha256: of their file.
        scan_backend, device: what computed it.
    """

    network_probability: np.ndarray
    size: tuple[int, int]
    attention: dict[str, np.ndarray]
    channel_attention: dict[str, np.ndarray]
    threshold: float = 0.5
    largest: bool = True
    fill_holes: bool = True
    tta: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    weights: str = ""
    weights_sha256: str = ""
    scan_backend: str = ""
    device: str = ""

    @cached_property
    def probability(self) -> np.ndarray:
        """(H, W) float32 in [0, 1]: the probability resized bilinearly to the photo's own size."""
        return to_photo(self.network_probability, self.size)

    @cached_property
    def _cleaned(self) -> Cleaned:
        return clean_mask(self.probability, self.threshold, self.largest, self.fill_holes)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: the lesion at the photo's own size."""
        return self._cleaned.mask

    @property
    def components(self) -> int:
        """Regions at the threshold, before any was dropped."""
        return self._cleaned.components

    @property
    def dropped_px(self) -> int:
        """Pixels of dropped regions."""
        return self._cleaned.dropped_px

    @property
    def filled_px(self) -> int:
        """Pixels of filled holes."""
        return self._cleaned.filled_px

    @cached_property
    def network_guide(self) -> np.ndarray:
        """(h, w) float32 in [0, 1/2]: Guide Fusion map of the predicted outline at the network's size."""
        cleaned = clean_mask(self.network_probability, self.threshold, self.largest, self.fill_holes)
        return guide_map(cleaned.mask)

    @cached_property
    def guide(self) -> np.ndarray:
        """(H, W) float32 in [0, 1/2]: the same, enlarged bilinearly; distances are in the network's pixels."""
        return to_photo(self.network_guide, self.size)

    def rethreshold(self, threshold: float, largest: bool = True, fill_holes: bool = True) -> Segmentation:
        """The same prediction cut elsewhere; never runs the network.

        Args:
            threshold: in (0, 1).
            largest: keep only the largest region.
            fill_holes: fill holes.
        """
        return replace(self, threshold=threshold, largest=largest, fill_holes=fill_holes)


class Predictor:
    """Outlines lesions with one set of weights on one device.

    Args:
        loaded: the weights.
        device: "auto", "cpu", "cuda" or a torch device string.

    Raises:
        BackendError: the device is not there.
    """

    def __init__(self, loaded: weights_.Weights, device: str = "auto") -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BackendError("There is no usable NVIDIA GPU here. Use --device cpu, or leave the device on auto.")
        self.device = torch.device(device)
        self.weights = loaded
        self.scan_backend = backend_for(self.device)
        network = loaded.network().requires_grad_(False).to(self.device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        fast = for_inference(network)
        self._network = GraphedNetwork(fast) if self.device.type == "cuda" else fast

    @classmethod
    def load(cls, weights: str | os.PathLike[str] = weights_.DEFAULT, device: str = "auto") -> Predictor:
        """Load shipped weights by name, or a safetensors file by path.

        Args:
            weights: see ``dermomamba.weights.available``.
            device: "auto" takes a GPU when there is one.

        Raises:
            WeightsError: unknown or unfit weights.
            BackendError: the device is not there.
        """
        return cls(weights_.load(weights), device)

    @torch.inference_mode()
    def network_probability(self, image: np.ndarray, gates: Gates | None = None) -> np.ndarray:
        """One forward pass.

        Args:
            image: (h, w, 3) uint8 at the network's size.
            gates: filled with CBAM's gates when given; the result does not depend on it.

        Returns:
            (h, w) float32 in [0, 1].
        """
        x = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
        x = x.permute(2, 0, 1)[None].float() / 255  # (1, 3, h, w), channels last as the picture is
        probability: Tensor = torch.sigmoid(self._network(x, gates))[0, 0]
        return probability.cpu().numpy()

    def warm_up(self) -> None:
        """Run once on nothing, so that kernels are compiled before the first photo comes."""
        self.network_probability(np.zeros((*self.weights.image_size, 3), np.uint8))

    def variants(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """Test-time variation: the probabilities of the four mirrorings, put back upright.

        Args:
            image: (H, W, 3) uint8.

        Yields:
            (h, w) float32, the upright photo first.
        """
        small = to_network(image, self.weights.image_size)
        for flip in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            yield self.network_probability(small[:: flip[0], :: flip[1]])[:: flip[0], :: flip[1]]

    def averaged(self, image: np.ndarray) -> np.ndarray:
        """The mean of ``variants`` of a photo (H, W, 3) uint8: (h, w) float32."""
        return np.stack(list(self.variants(image))).mean(axis=0)

    def __call__(
        self,
        image: np.ndarray | Image.Image | str | os.PathLike[str] | bytes,
        tta: bool = False,
        threshold: float = 0.5,
        largest: bool = True,
        fill_holes: bool = True,
    ) -> Segmentation:
        """Outline the lesion of one photo.

        Args:
            image: (H, W, 3) uint8, a PIL image, a path, or the bytes of a file.
            tta: average the four mirrorings (four times the work).
            threshold: probability from which a pixel belongs to the lesion, in (0, 1).
            largest: keep only the largest region.
            fill_holes: fill holes.

        Returns:
            The segmentation at the photo's own size.

        Raises:
            ImageError: the photo cannot be used; the message says why.
        """
        seconds: dict[str, float] = {}
        with _timed(seconds, "decode"):
            photo = decode(image)
        with _timed(seconds, "resize"):
            small = to_network(photo, self.weights.image_size)
        gates = Gates()
        with _timed(seconds, "network"):
            probability = self.network_probability(small, gates)
        if tta:
            with _timed(seconds, "test-time variation"):
                probability = self.averaged(photo)
        result = Segmentation(
            network_probability=probability,
            size=photo.shape[:2],
            attention=spatial_maps(gates),
            channel_attention=channel_gates(gates),
            threshold=threshold,
            largest=largest,
            fill_holes=fill_holes,
            tta=tta,
            seconds=seconds,
            weights=self.weights.name,
            weights_sha256=self.weights.sha256,
            scan_backend=self.scan_backend,
            device=str(self.device),
        )
        with _timed(seconds, "outline"):
            _ = result.mask
        with _timed(seconds, "guide fusion map"):
            _ = result.network_guide
        return result


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - started
