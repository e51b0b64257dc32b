"""The published code's arithmetic, by hand, beside ours."""

from __future__ import annotations

import numpy as np
import pytest

from dermomamba.evaluation.published import CUT, GRID, pooled, published_sums


def half_truth() -> np.ndarray:
    truth = np.zeros(GRID, bool)
    truth[:, : GRID[1] // 2] = True
    return truth


def test_dice_is_soft_and_precision_cuts_the_logit_at_a_half() -> None:
    truth = half_truth()
    probability = np.where(truth, 0.6, 0.1).astype(np.float32)  # logit 0.405: above 0, below 0.5
    found = published_sums(probability, truth).metrics()
    n = truth.sum()
    assert found["dice"] == pytest.approx(2 * 0.6 * n / (0.6 * n + 0.1 * n + n), rel=1e-5)
    assert found["iou"] == 1
    assert found["recall"] == 0
    assert found["precision"] == 0
    assert pytest.approx(0.622459, abs=1e-6) == CUT
    sure = published_sums(np.where(truth, 0.63, 0.1).astype(np.float32), truth).metrics()
    assert (sure["recall"], sure["precision"]) == (1, 1)


def test_it_is_taken_on_the_networks_grid() -> None:
    truth = half_truth()
    probability = np.where(truth, 0.9, 0.2).astype(np.float32)
    small = published_sums(probability, truth).metrics()
    large = published_sums(np.kron(probability, np.ones((3, 3), np.float32)), np.kron(truth, np.ones((3, 3), bool)))
    assert large.metrics() == pytest.approx(small, rel=1e-6)


def test_pooling_is_not_averaging() -> None:
    large, small = half_truth(), np.zeros(GRID, bool)
    small[:10, :10] = True
    sums = [
        published_sums(large.astype(np.float32), large),  # a perfect large lesion
        published_sums(np.zeros(GRID, np.float32), small),  # a small one, missed
    ]
    means = np.mean([s.metrics()["dice"] for s in sums])
    assert means == 0.5
    n, m = int(large.sum()), 100
    assert pooled(sums)["dice"] == pytest.approx(2 * n / (2 * n + m))
    assert pooled(sums)["iou"] == pytest.approx(n / (n + m))


def test_nothing_to_find_and_nothing_found_is_perfect() -> None:
    nothing = published_sums(np.zeros(GRID, np.float32), np.zeros(GRID, bool))
    assert nothing.metrics() == {"dice": 1, "iou": 1, "precision": 1, "recall": 1}
