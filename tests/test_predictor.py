"""The predictor: sizes, steps, thresholds, threads, and that looking does not change what is seen."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dermomamba import Predictor, weights
from dermomamba.errors import BackendError, ImageError
from dermomamba.network import DermoMamba, Gates
from dermomamba.phantom import PhantomSpec, phantom, random_spec
from dermomamba.predictor import Segmentation


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """The shipped weights."""
    return Predictor.load(device="cpu")


@pytest.fixture(scope="module")
def drawn():
    return phantom(PhantomSpec(seed=3))


@pytest.fixture(scope="module")
def result(predictor: Predictor, drawn) -> Segmentation:
    return predictor(drawn.image)


def test_everything_has_the_promised_size(result: Segmentation, drawn) -> None:
    size = drawn.image.shape[:2]
    for array, dtype in ((result.probability, np.float32), (result.mask, bool), (result.guide, np.float32)):
        assert array.shape == size
        assert array.dtype == dtype
    assert [result.attention[f"cbam{i}"].shape for i in range(1, 6)] == [
        (192, 256), (96, 128), (48, 64), (24, 32), (12, 16)
    ]  # fmt: skip
    assert [len(result.channel_attention[f"cbam{i}"]) for i in range(1, 6)] == [32, 64, 128, 256, 512]
    for gates in (*result.attention.values(), *result.channel_attention.values()):
        assert gates.min() > 0
        assert gates.max() < 1
    assert {"decode", "resize", "network", "outline"} <= result.seconds.keys()


def test_it_finds_the_phantom(result: Segmentation, drawn) -> None:
    overlap = (result.mask & drawn.mask).sum() / (result.mask | drawn.mask).sum()
    assert overlap > 0.9
    assert result.mask.sum() == pytest.approx(drawn.area_px, rel=0.05)
    assert result.components == 1


def test_capturing_attention_does_not_change_the_output(predictor: Predictor, drawn) -> None:
    small = np.ascontiguousarray(drawn.image[:192, :256])
    assert np.array_equal(predictor.network_probability(small), predictor.network_probability(small, Gates()))


def test_thresholds_are_cut_without_the_network(
    predictor: Predictor, result: Segmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "network_probability", None)
    wide, narrow = result.rethreshold(0.2), result.rethreshold(0.8)
    assert narrow.mask.sum() < result.mask.sum() < wide.mask.sum()
    assert wide.guide.max() == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(result.rethreshold(0.5).mask, result.mask)


def test_probability_is_enlarged_before_it_is_cut(result: Segmentation) -> None:
    """A mask enlarged from the network's size would be made of blocks."""
    left = result.mask.argmax(axis=1)[result.mask.any(axis=1)]  # the outline's left side, row by row
    scale = result.mask.shape[1] / result.network_probability.shape[1]
    assert scale == 3
    assert {int(step) % 3 for step in np.diff(left)} == {0, 1, 2}  # not only whole network pixels


def test_mirroring_is_averaged_upright(predictor: Predictor, drawn) -> None:
    variants = list(predictor.variants(drawn.image))
    assert len(variants) == 4
    for variant in variants[1:]:
        assert np.abs(variant - variants[0]).mean() < 0.05
    averaged = predictor(drawn.image, tta=True)
    np.testing.assert_allclose(averaged.network_probability, np.mean(variants, axis=0), atol=1e-6)
    assert averaged.tta


def test_arrays_pictures_paths_and_bytes_are_the_same(predictor: Predictor, drawn, tmp_path) -> None:
    picture = Image.fromarray(drawn.image)
    file = tmp_path / "photo.png"
    picture.save(file)
    content = io.BytesIO()
    picture.save(content, "PNG")
    expected = predictor(drawn.image).network_probability
    for source in (picture, file, str(file), content.getvalue()):
        assert np.array_equal(predictor(source).network_probability, expected)


def test_a_text_is_refused_with_a_sentence(predictor: Predictor) -> None:
    with pytest.raises(ImageError):
        predictor(b"this is no picture")


def test_threads_share_one_predictor(predictor: Predictor) -> None:
    photos = [phantom(random_spec(np.random.default_rng(seed), (192, 256))).image for seed in range(4)]
    alone = [predictor(photo).network_probability for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(predictor, photos * 2))
    for index, found in enumerate(together):
        np.testing.assert_allclose(found.network_probability, alone[index % 4], atol=1e-6)


def test_an_empty_prediction_is_no_error(predictor: Predictor, result: Segmentation) -> None:
    empty = replace(result, network_probability=result.network_probability * 0.4)
    assert not empty.mask.any()
    assert not empty.guide.any()
    assert empty.components == 0


def test_any_image_size_of_the_network(tmp_path) -> None:
    torch.manual_seed(0)
    weights.save(tmp_path / "small.safetensors", DermoMamba((64, 96)).state_dict(), {"image_size": [64, 96]})
    found = Predictor.load(tmp_path / "small.safetensors", "cpu")(np.zeros((50, 80, 3), np.uint8))
    assert found.network_probability.shape == (64, 96)
    assert found.probability.shape == (50, 80)
    assert found.weights == "small"


def test_a_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="no usable NVIDIA GPU"):
        Predictor.load(device="cuda")
