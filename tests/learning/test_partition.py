"""What trains and what is held out: no lesion on both sides, nothing of the paper's test part; the real list once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from dermomamba.errors import DataError
from dermomamba.learning.datasets import Pair, Pairs, read_pairs
from dermomamba.learning.partition import group_split, ham10000_train, isic2018_split, read_ids, split_names

DATA = Path(__file__).parents[3] / "shared" / "data"


def a_set(ids: Iterable[str], index: dict[str, dict[str, str]] | None = None) -> Pairs:
    return Pairs(tuple(Pair(key, bytes, bytes) for key in ids), index=index or {})


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_no_group_is_on_both_sides_and_none_is_lost(fraction: float) -> None:
    lesion = {f"p{i:02}": f"L{i // 3}" if i < 27 else "" for i in range(30)}
    pairs = a_set(lesion, {key: {"id": key, "lesion_id": value} for key, value in lesion.items()})
    train, held = group_split(pairs, "lesion_id", fraction, seed=3)
    assert not {lesion[p.id] for p in train if lesion[p.id]} & {lesion[p.id] for p in held if lesion[p.id]}
    assert sorted(p.id for p in (*train, *held)) == [p.id for p in pairs]
    groups = len({lesion[p.id] or p.id for p in held})
    assert groups == round(fraction * 12)  # nine lesions and three photos on their own
    assert [p.id for p in group_split(pairs, "lesion_id", fraction, seed=3)[1]] == [p.id for p in held]
    assert [p.id for p in group_split(pairs, "lesion_id", fraction, seed=4)[1]] != [p.id for p in held]
    assert len(group_split(pairs, None, fraction)[1]) == round(fraction * 30)
    with pytest.raises(DataError, match="no index"):
        group_split(pairs, "patient", fraction)


@pytest.mark.parametrize(("count", "fraction", "message"), [(4, 1.0, "between 0 and 1"), (1, 0.5, "one lesion only")])
def test_what_cannot_be_split_is_refused(count: int, fraction: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        group_split(a_set(map(str, range(count))), None, fraction)


def test_the_fixed_lists_are_disjoint_and_complete() -> None:
    validation, test, near = (read_ids(f"isic2018_{name}") for name in ("validation", "test", "near_test"))
    assert (len(validation), len(test)) == (200, 520)
    assert near
    assert not validation & test
    assert not validation & near
    assert not test & near


def test_ids_come_from_a_file_too_and_a_wrong_name_tells_the_right_ones(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("# two of them\na\n\n b \n")
    assert read_ids(str(tmp_path / "ids.txt")) == {"a", "b"}
    with pytest.raises(DataError, match="isic2018_validation") as refused:
        read_ids("isic2017")
    assert all(name in str(refused.value) for name in split_names())


def test_isic2018_split_of_a_whole_set_leaves_the_test_part_out() -> None:
    validation, test, near = (sorted(read_ids(f"isic2018_{n}"))[:2] for n in ("validation", "test", "near_test"))
    index = {"ISIC_y": {"near_duplicate_of_test": "1"}, "ISIC_x": {"near_duplicate_of_test": "0"}}
    train, held = isic2018_split(a_set((*validation, *test, *near, "ISIC_x", "ISIC_y"), index))
    assert [pair.id for pair in train] == ["ISIC_x"]
    assert [pair.id for pair in held] == validation


def test_isic2018_split_of_something_else_is_refused() -> None:
    with pytest.raises(DataError, match="not ISIC 2018"):
        isic2018_split(a_set("a"))


def test_ham10000_trains_on_no_photo_of_a_held_out_lesion() -> None:
    chosen = min(read_ids("ham10000_validation"))
    lesion = min(read_ids("ham10000_validation_lesions"))
    index = {key: {"lesion_id": value} for key, value in ((chosen, "HAM_x"), ("other", lesion), ("free", "HAM_y"))}
    assert [pair.id for pair in ham10000_train(a_set(index, index))] == ["free"]
    with pytest.raises(DataError, match="lesion_id"):
        ham10000_train(a_set((*index, "unknown"), index))


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the checkout")
def test_the_fixed_split_of_the_real_training_part() -> None:
    pairs = read_pairs(DATA / "isic2018_train.zip", check=False)
    train, held = isic2018_split(pairs)
    assert (len(pairs), len(train), len(held)) == (2074, 1858, 200)
    assert all(pairs.index[p.id]["near_duplicate_of_test"] == "0" for p in (*train, *held))
    assert all(float(pairs.index[p.id]["agreement"]) >= 0.9 for p in held)
