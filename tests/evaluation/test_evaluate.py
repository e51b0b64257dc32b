"""The whole way: folder or ZIP in, JSON, CSV and report out; comparison of two runs."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermomamba.errors import DataError, ImageError
from dermomamba.evaluation import evaluate
from dermomamba.evaluation.summary import CleanUp
from dermomamba.learning.datasets import read_pairs

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
NOTICE = "Research and teaching demonstration. Not a medical device. It measures, it does not diagnose."


def truth_of(number: int) -> np.ndarray:
    rows, columns = np.mgrid[:96, :128]
    return (columns - 60 - number) ** 2 + (rows - 48) ** 2 <= (18 + 2 * number) ** 2


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "png")
    return out.getvalue()


def write_set(path: Path, count: int = 6, spoil: bool = False) -> Path:
    """Photos whose red channel is the mask itself, so that a predictor can see the truth."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            truth = truth_of(number)
            photo = np.dstack([truth * np.uint8(200), np.full(truth.shape, number, np.uint8), truth * np.uint8(9)])
            archive.writestr(f"images/p{number}.png", png(photo))
            archive.writestr(f"masks/p{number}.png", png(truth.astype(np.uint8) * 255))
        if spoil:
            archive.writestr("images/broken.png", b"nothing")
            archive.writestr("masks/broken.png", png(truth_of(0).astype(np.uint8) * 255))
            archive.writestr("images/lonely.png", png(truth_of(0).astype(np.uint8)))
    return path


def perfect(photo: np.ndarray) -> np.ndarray:
    return np.where(photo[..., 0] > 100, 0.9, 0.1).astype(np.float32)


def shifted(photo: np.ndarray) -> np.ndarray:
    return np.roll(perfect(photo), 4, axis=1)


def test_a_perfect_predictor_scores_one_everywhere(tmp_path: Path) -> None:
    result = evaluate.evaluate(perfect, read_pairs(write_set(tmp_path / "set.zip")))
    assert result["n"] == 6
    for name, m in result["metrics"].items():
        assert (m["mean"], m["low"], m["high"], m["n"]) == ((0, 0, 0, 6) if "hd95" in name else (1, 1, 1, 6)), name
    assert result["published"]["iou"]["mean"] == 1
    assert 0.5 < result["published"]["dice"]["mean"] < 0.95  # soft, so the same outline scores less
    assert result["below_065"] == {"count": 0, "share": 0.0}
    assert result["calibration"]["ece"]["mean"] == pytest.approx(0.1, abs=0.001)


def test_an_empty_mask_counts_as_isic_scores_it(tmp_path: Path) -> None:
    """Nothing in the truth: 1 where nothing is outlined, 0 where something is, and no distance to nothing."""
    path = write_set(tmp_path / "set.zip", count=2)
    nothing = np.zeros((96, 128), np.uint8)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images/none.png", png(np.dstack([nothing] * 3)))
        archive.writestr("masks/none.png", png(nothing))
        archive.writestr("images/wrong.png", png(np.dstack([truth_of(1) * np.uint8(200), nothing, nothing])))
        archive.writestr("masks/wrong.png", png(nothing))
    result = evaluate.evaluate(perfect, read_pairs(path, check=False))
    rows = {row["id"]: row for row in result["images"]}
    assert result["n"] == 4
    assert {rows["none"][name] for name in ("dice", "iou", "threshold_jaccard", "sensitivity", "nsd")} == {1.0}
    assert (rows["wrong"]["dice"], rows["wrong"]["sensitivity"], rows["wrong"]["precision"]) == (0.0, 1.0, 0.0)
    assert rows["wrong"]["hd95"] is None
    assert result["metrics"]["hd95"]["n"] == 3
    assert result["metrics"]["dice"]["mean"] == pytest.approx(0.75)
    assert result["calibration"]["ece"]["n"] == 2


def test_the_rows_give_the_means_and_agree_with_their_counts(tmp_path: Path) -> None:
    result = evaluate.evaluate(shifted, read_pairs(write_set(tmp_path / "set.zip")))
    rows = result["images"]
    for name in ("dice", "iou", "threshold_jaccard", "nsd", "boundary_iou", "hd95"):
        m = result["metrics"][name]
        assert m["mean"] == pytest.approx(np.mean([row[name] for row in rows]))
        assert m["low"] <= m["mean"] <= m["high"]
    for row in rows:
        assert row["iou"] == row["tp"] / (row["tp"] + row["fp"] + row["fn"])
        assert row["dice"] == pytest.approx(2 * row["iou"] / (1 + row["iou"]))
        assert row["tp"] + row["fp"] + row["fn"] + row["tn"] == row["height"] * row["width"]
        assert row["tp"] + row["fn"] == truth_of(int(row["id"][1:])).sum()
        assert 3 < row["hd95"] <= 4
    # A whole shift by 4 px: larger lesions overlap better.
    assert [row["id"] for row in sorted(rows, key=lambda row: row["iou"])] == [f"p{i}" for i in range(6)]


def test_run_writes_json_csv_and_both_kinds_of_report(tmp_path: Path) -> None:
    source = write_set(tmp_path / "set.zip", spoil=True)
    out = tmp_path / "new" / "out"
    result = evaluate.run(
        [source], shifted, out / "r.json", out / "r.csv", out / "r.png", "test-weights", {"tta": False}, progress=False
    )
    stored = json.loads((out / "r.json").read_text())
    assert stored == result
    assert (stored["n"], stored["weights"], stored["meta"]) == (6, "test-weights", {"tta": False})
    assert stored["notice"] == NOTICE
    assert "0.5" in stored["protocol"]
    assert {entry.split(":")[0] for entry in stored["left_out"]} == {"broken", "lonely"}
    rows = list(csv.DictReader((out / "r.csv").open(encoding="utf-8")))
    assert [row["id"] for row in rows] == [f"p{i}" for i in range(6)]
    assert all(float(row["dice"]) == image["dice"] for row, image in zip(rows, stored["images"], strict=True))
    assert {row["notice"] for row in rows} == {NOTICE}
    page = np.asarray(Image.open(out / "r.png").convert("RGB"))
    assert page.shape == (1753, 1240, 3)
    assert page.std() > 20
    evaluate.run([source], shifted, None, report_path=out / "r.pdf", progress=False)
    content = (out / "r.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") == 1
    assert b"CreationDate" not in content
    assert sorted(path.name for path in out.iterdir()) == ["r.csv", "r.json", "r.pdf", "r.png"]


def test_several_sources_are_taken_together_and_names_stay_apart(tmp_path: Path) -> None:
    a, b = write_set(tmp_path / "a.zip", 2), write_set(tmp_path / "b.zip", 3)
    result = evaluate.run([a, b], perfect, tmp_path / "r.json", progress=False)
    assert [row["id"] for row in result["images"]] == ["1:a.zip/p0", "1:a.zip/p1", "2:b.zip/p0", "2:b.zip/p1", "p2"]
    assert result["sources"] == ["a.zip", "b.zip"]


def test_a_list_of_other_photos_ids_is_refused_with_an_example(tmp_path: Path) -> None:
    source = write_set(tmp_path / "s.zip")
    assert evaluate.run([source], perfect, None, progress=False, only={"p1", "elsewhere"})["n"] == 1
    with pytest.raises(DataError, match=r"None of the 6 photos has one of the 1 ids .* 'p0'"):
        evaluate.run([source], perfect, None, progress=False, only={"ISIC_0000000"})


def test_an_unknown_report_is_refused_before_the_work(tmp_path: Path) -> None:
    def never(photo: np.ndarray) -> np.ndarray:
        raise AssertionError("the predictor ran")

    with pytest.raises(DataError, match=r"\.png or \.pdf"):
        evaluate.run([write_set(tmp_path / "s.zip")], never, None, report_path=tmp_path / "r.docx", progress=False)


def test_a_predictor_that_finds_nothing_gives_zeros_and_no_hd95(tmp_path: Path) -> None:
    def nothing(photo: np.ndarray) -> np.ndarray:
        return np.zeros(photo.shape[:2], np.float32)

    result = evaluate.run([write_set(tmp_path / "s.zip")], nothing, tmp_path / "r.json", progress=False)
    assert result["metrics"]["dice"]["mean"] == 0
    assert result["metrics"]["nsd"]["mean"] == 0
    assert "hd95" not in result["metrics"]
    assert result["images"][0]["hd95"] is None
    assert result["below_065"]["share"] == 1


def test_a_photo_that_the_predictor_refuses_is_left_out_by_name(tmp_path: Path) -> None:
    def choosy(photo: np.ndarray) -> np.ndarray:
        if photo[0, 0, 1] == 2:
            raise ImageError("This photo is too odd.")
        return perfect(photo)

    result = evaluate.evaluate(choosy, read_pairs(write_set(tmp_path / "s.zip")))
    assert (result["n"], result["left_out"]) == (5, ["p2: This photo is too odd."])


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 3), np.float32), np.zeros((96, 128), np.uint8), np.full((96, 128), np.nan, np.float32)]
)
def test_what_is_no_probability_map_is_an_error_of_the_program(wrong: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="predict must return"):
        evaluate.evaluate(lambda photo: wrong, read_pairs(write_set(tmp_path / "s.zip", 1)))


def test_nothing_usable_is_an_error_with_the_names(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/bad.png", b"nothing")
        archive.writestr("masks/bad.png", png(truth_of(0)))
    with pytest.raises(DataError, match="bad: "):
        evaluate.run([path], perfect, tmp_path / "r.json", progress=False)
    assert not (tmp_path / "r.json").exists()


def test_the_clean_up_is_a_switch(tmp_path: Path) -> None:
    def with_blot(photo: np.ndarray) -> np.ndarray:
        probability = perfect(photo)
        probability[:5, :5] = 0.9
        return probability

    pairs = read_pairs(write_set(tmp_path / "s.zip"))
    assert evaluate.evaluate(with_blot, pairs)["metrics"]["iou"]["mean"] == 1
    raw = evaluate.evaluate(with_blot, pairs, CleanUp(largest=False))
    assert raw["metrics"]["iou"]["mean"] < 1
    assert "largest" not in raw["protocol"].split(".")[1]


def test_only_one_photo_is_held_at_a_time(tmp_path: Path) -> None:
    pairs = read_pairs(write_set(tmp_path / "s.zip"))
    seen: list[int] = []

    def stream():  # type: ignore[no-untyped-def]
        for number, pair in enumerate(pairs):
            assert len(seen) == number  # asked for only after the one before is done
            yield pair

    assert evaluate.evaluate(perfect, stream(), progress=seen.append)["n"] == 6
    assert seen == [1, 2, 3, 4, 5, 6]


def test_the_worst_are_kept_in_order(tmp_path: Path) -> None:
    pairs = read_pairs(write_set(tmp_path / "s.zip"))
    tally = evaluate._gather(shifted, pairs, CleanUp(), None, keep_worst=3)
    kept = [entry for _, _, entry in sorted(tally.worst, key=lambda item: item[:2], reverse=True)]
    assert [entry.id for entry in kept] == ["p0", "p1", "p2"]
    assert kept[0].iou < kept[1].iou < kept[2].iou


def test_a_name_that_a_spreadsheet_would_run_is_quoted() -> None:
    text = evaluate.csv_rows([{"id": "=1+1", "dice": 0.5, "hd95": None}]).decode()
    assert text.splitlines()[1].startswith("'=1+1,0.5,,")


def test_compare_files_pairs_photos_and_finds_the_better_run(tmp_path: Path) -> None:
    source = write_set(tmp_path / "s.zip", 8)
    evaluate.run([source], shifted, tmp_path / "a.json", weights_name="shifted", progress=False)
    evaluate.run([source], perfect, tmp_path / "b.json", weights_name="perfect", progress=False)
    a, b = (json.loads((tmp_path / f"{x}.json").read_text()) for x in "ab")
    found = evaluate.compare(a, b)
    assert (found["n"], found["a"], found["b"]) == (8, "shifted", "perfect")
    for name in ("dice", "hd95"):  # hd95: lower is better
        assert (found["metrics"][name]["better"], found["metrics"][name]["worse"]) == (8, 0)
        assert found["metrics"][name]["p_wilcoxon"] == pytest.approx(2 / 2**8)
    assert found["metrics"]["dice"]["mean_difference"] > 0 > found["metrics"]["hd95"]["mean_difference"]
    text = evaluate.compare_files(tmp_path / "a.json", tmp_path / "b.json")
    assert "8/0/0" in text
    assert "shifted" in text
    back = evaluate.compare(b, a)
    assert back["metrics"]["dice"]["mean_difference"] == -found["metrics"]["dice"]["mean_difference"]


def test_compare_uses_common_photos_and_refuses_other_masks(tmp_path: Path) -> None:
    evaluate.run([write_set(tmp_path / "a.zip", 4)], shifted, tmp_path / "a.json", progress=False)
    a = json.loads((tmp_path / "a.json").read_text())
    b = json.loads((tmp_path / "a.json").read_text())
    b["images"] = b["images"][1:]
    assert evaluate.compare(a, b)["only_a"] == ["p0"]
    assert evaluate.compare(a, b)["n"] == 3
    b["images"][0]["fn"] += 1
    with pytest.raises(DataError, match="p1"):
        evaluate.compare(a, b)
    b["images"] = []
    with pytest.raises(DataError, match="share no photo"):
        evaluate.compare(a, b)


@pytest.mark.parametrize("content", [None, "no json", "[]", "{}"])
def test_compare_files_refuses_what_is_no_evaluation(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"x\.json"):
        evaluate.compare_files(path, path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the checkout")
def test_real_photos_with_a_plain_threshold() -> None:
    """The darkest cluster of the blue channel finds most PH2 lesions: far from chance, far from perfect."""
    import cv2

    def otsu(photo: np.ndarray) -> np.ndarray:
        blue = cv2.GaussianBlur(photo[..., 2], (0, 0), 5)
        level, _ = cv2.threshold(blue, 0, 255, cv2.THRESH_OTSU)
        return (1 / (1 + np.exp((blue.astype(np.float32) - level) / 8))).astype(np.float32)

    pairs = read_pairs(SHARED / "ph2_half.zip", check=False)
    result = evaluate.evaluate(otsu, pairs.pairs[:12])
    assert result["n"] == 12
    assert 0.6 < result["metrics"]["dice"]["mean"] < 0.98
