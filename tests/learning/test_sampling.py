"""Which images an epoch shows."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dermomamba.learning.sampling import counts, epoch_order


def test_shares_are_kept_and_add_up() -> None:
    assert counts([100, 900], [None, None], None) == [100, 900]
    assert counts([100, 900], [1.0, 1.0], 301) == [150, 151]
    assert counts([10, 20, 30], [0.5, 0.25, 0.25], 8) == [4, 2, 2]
    assert counts([7], [None], 3) == [3]


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 12), count=st.integers(1, 30), seed=st.integers(0, 5))
def test_no_image_comes_again_before_each_has_come_once(size: int, count: int, seed: int) -> None:
    epochs = [epoch_order([size], [count], epoch, seed) for epoch in range(4)]
    stream = torch.cat(epochs)
    for lap in range(len(stream) // size):
        assert sorted(stream[lap * size : (lap + 1) * size].tolist()) == list(range(size))


def test_pools_are_mixed_and_numbered_one_after_the_other() -> None:
    order = epoch_order([5, 50], [5, 20], 1, seed=3)
    assert len(order) == 25
    assert sorted(order[order < 5].tolist()) == [0, 1, 2, 3, 4]
    assert len(set(order[order >= 5].tolist())) == 20
    assert not torch.equal(order, order.sort().values)
    assert torch.equal(order, epoch_order([5, 50], [5, 20], 1, seed=3))
    assert not torch.equal(order, epoch_order([5, 50], [5, 20], 2, seed=3))


def test_a_pool_without_a_share_of_the_epoch_stays_out() -> None:
    assert (epoch_order([5, 5], [0, 4], 1, seed=0) >= 5).all()
