"""Many photos: what is skipped, what is refused, what the ZIP holds. Fake predictor, real files."""

from __future__ import annotations

import csv
import io
import re
import sys
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent / "ui"))

from fake_predictor import FakePredictor

from dermomamba import batch
from dermomamba.cli import main
from dermomamba.errors import DataError
from dermomamba.phantom import PhantomSpec, phantom


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "Jane Doe.png"
    Image.fromarray(phantom(PhantomSpec(size=(150, 200), seed=2, pigment=1.1)).image).save(path)
    return path


def table(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read("measures.csv").decode("utf-8-sig"))))


def test_bad_files_are_named_by_number_and_the_rest_goes_on(photo: Path, tmp_path: Path) -> None:
    text, empty = tmp_path / "text.jpg", tmp_path / "empty.png"
    text.write_text("no photo")
    empty.touch()
    steps = list(batch.run(batch.items([photo, text, empty, photo]), FakePredictor(), tmp_path / "out"))
    assert [bool(step.reason) for step in steps] == [False, True, True, False]
    assert [step.number for step in steps] == [1, 2, 3, 4]
    with zipfile.ZipFile(tmp_path / "out" / batch.ARCHIVE) as archive:
        assert archive.testzip() is None
        assert [row["case_id"] for row in table(archive)] == ["image-0001", "image-0004"]
        pixels = np.asarray(Image.open(io.BytesIO(archive.read("masks/image-0001_segmentation.png"))))
        assert set(np.unique(pixels)) == {0, 255}
        readme = archive.read("README.txt").decode()
        assert "2 photos measured, 2 skipped" in readme
        assert "It measures, it does not diagnose." in readme
        assert "feret_max_px: Longest diameter" in readme
        assert not [name for name in archive.namelist() if "Jane" in name]


def test_paths_inside_a_zip_lead_nowhere(photo: Path, tmp_path: Path) -> None:
    packed = tmp_path / "p.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("../../evil.png", "/etc/evil2.png", "a/b/.hidden.png", "__MACOSX/x.png", "notes.txt"):
            archive.write(photo, name)
    found = batch.items([packed])
    assert sorted(item.name for item in found) == ["evil", "evil2"]
    steps = list(batch.run(found, FakePredictor(), tmp_path / "out", keep_names=True, reports=False))
    assert not [step for step in steps if step.reason]
    with zipfile.ZipFile(tmp_path / "out" / batch.ARCHIVE) as archive:
        assert "masks/evil_segmentation.png" in archive.namelist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "p.zip"]


def test_a_bomb_is_not_opened(tmp_path: Path) -> None:
    packed = tmp_path / "bomb.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(20_000_000))
        archive.writestr("b.png", bytes(40_000_000))
    reasons = [step.reason for step in batch.run(batch.items([packed]), FakePredictor(), tmp_path / "out")]
    assert "tightly" in reasons[0]
    assert "larger than 30 MB" in reasons[1]


def test_too_many_and_damaged_zips_are_refused(tmp_path: Path) -> None:
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(12):
            archive.writestr(f"{number}.jpg", b"")
    with pytest.raises(DataError, match="more than 10 photos"):
        batch.items([many], limit=10)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(many.read_bytes()[:50])
    with pytest.raises(DataError, match="damaged"):
        batch.items([broken])


def test_a_stop_leaves_a_whole_zip_of_what_was_done(photo: Path, tmp_path: Path) -> None:
    done: list[int] = []
    run = batch.run(batch.items([photo] * 3), FakePredictor(), tmp_path / "out", stop=lambda: len(done) == 1)
    for step in run:
        done.append(step.number)
    with zipfile.ZipFile(tmp_path / "out" / batch.ARCHIVE) as archive:
        assert len(table(archive)) == 1


def test_an_abandoned_batch_leaves_no_half_zip(photo: Path, tmp_path: Path) -> None:
    run = batch.run(batch.items([photo] * 3), FakePredictor(), tmp_path / "out")
    next(run)
    run.close()
    assert not (tmp_path / "out" / batch.ARCHIVE).exists()


def test_equal_names_stay_apart(photo: Path, tmp_path: Path) -> None:
    steps = list(
        batch.run(batch.items([photo, photo]), FakePredictor(), tmp_path / "out", keep_names=True, reports=False)
    )
    assert [step.case for step in steps] == ["Jane-Doe", "Jane-Doe-0002"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five different photos."""
    where = tmp_path_factory.mktemp("folder")
    for seed in range(5):
        drawn = phantom(PhantomSpec(size=(90, 120), seed=seed, diameter=0.3 + 0.08 * seed, pigment=1.1))
        Image.fromarray(drawn.image).save(where / f"{seed}.png")
    return where


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_a_folder_is_taken_in_the_order_of_names_without_what_is_hidden(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sub" / ".hidden").mkdir(parents=True)
    for place in ("b.png", "sub/a.png", "sub/.hidden/c.png", ".d.png"):
        (tmp_path / place).write_bytes((folder / "0.png").read_bytes())
    (tmp_path / "notes.txt").write_text("x")
    assert [item.name for item in batch.items([tmp_path])] == ["b", "a"]


def test_a_rerun_after_a_kill_does_only_the_rest(folder: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    list(batch.run(batch.items([folder]), FakePredictor(), whole))

    class Killed(BaseException):
        pass

    class Dying(FakePredictor):
        def __call__(self, *args: object, **kwargs: object):
            if self.runs == 3:
                raise Killed
            return super().__call__(*args, **kwargs)

    with pytest.raises(Killed):
        list(batch.run(batch.items([folder]), Dying(), broken))
    assert not (broken / batch.ARCHIVE).exists()
    (broken / "masks" / ".writing-left").write_bytes(b"half")
    with (broken / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"key": "torn')
    predictor = FakePredictor()
    steps = list(batch.run(batch.items([folder]), predictor, broken))
    assert predictor.runs == 2
    assert [step.earlier for step in steps] == [True, True, True, False, False]
    for step in steps:
        low, high = step.intervals["area"]
        assert low <= step.values["area"] <= high
        assert step.interval_labels
    again = list(batch.run(batch.items([folder]), predictor, broken))
    assert predictor.runs == 2
    assert [step.values for step in again] == [step.values for step in steps]
    with zipfile.ZipFile(whole / batch.ARCHIVE) as one, zipfile.ZipFile(broken / batch.ARCHIVE) as two:
        assert sorted(one.namelist()) == sorted(two.namelist())
        for name in one.namelist():
            if name.startswith(("masks", "overlays")):
                assert one.read(name) == two.read(name), name
        rows = [[{**row, "created_utc": ""} for row in table(archive)] for archive in (one, two)]
        assert rows[0] == rows[1]
    assert not list(broken.rglob(".writing-*"))


def test_other_settings_are_done_anew_and_the_same_ones_are_not(folder: Path, tmp_path: Path) -> None:
    predictor = FakePredictor()
    for mm, runs in ((None, 5), (0.02, 10), (0.02, 10), (None, 15)):
        list(batch.run(batch.items([folder]), predictor, tmp_path, mm, reports=False))
        assert predictor.runs == runs
        with zipfile.ZipFile(tmp_path / batch.ARCHIVE) as archive:
            assert {row["mm_per_px"] for row in table(archive)} == {str(mm or "")}
            assert sorted(row["case_id"] for row in table(archive)) == [f"image-{n:04d}" for n in range(1, 6)]


def test_photos_that_come_later_never_take_anothers_name(folder: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("1", "3"):
        (photos / f"{name}.png").write_bytes((folder / f"{name}.png").read_bytes())
    list(batch.run(batch.items([photos]), FakePredictor(), out, reports=False))
    before = files(out / "masks")
    (photos / "2.png").write_bytes((folder / "2.png").read_bytes())
    (photos / "4.png").write_bytes((folder / "3.png").read_bytes())  # the same pixels once more
    predictor = FakePredictor()
    steps = list(batch.run(batch.items([photos]), predictor, out, reports=False))
    assert [step.case for step in steps] == ["image-0001", "image-0002-0002", "image-0002", "image-0004"]
    assert predictor.runs == 2
    assert before.items() <= files(out / "masks").items()


def test_a_report_of_other_settings_does_not_stay_beside_a_new_mask(folder: Path, tmp_path: Path) -> None:
    list(batch.run(batch.items([folder]), FakePredictor(), tmp_path))
    assert len(list((tmp_path / "reports").iterdir())) == 5
    list(batch.run(batch.items([folder]), FakePredictor(), tmp_path, 0.03, reports=False))
    assert list((tmp_path / "reports").iterdir()) == []


def test_a_lost_file_is_made_again(folder: Path, tmp_path: Path) -> None:
    list(batch.run(batch.items([folder]), FakePredictor(), tmp_path))
    lost = tmp_path / "reports" / "image-0002_report.pdf"
    lost.unlink()
    predictor = FakePredictor()
    list(batch.run(batch.items([folder]), predictor, tmp_path))
    assert predictor.runs == 1
    assert lost.is_file()


def test_no_file_name_is_written_anywhere_unless_asked_for(photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "Jane Roe.jpg"
    bad.write_text("no photo")
    for keep in (False, True):
        out = tmp_path / str(keep)
        list(batch.run(batch.items([photo, bad]), FakePredictor(), out, keep_names=keep))
        everything = b"".join(name.encode() + content for name, content in files(out).items())
        assert (b"Jane" in everything) is keep


def test_thirty_photos_leave_nothing_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        pixels = rng.integers(120, 220, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((800, 600), Image.Resampling.BICUBIC).save(tmp_path / f"{number:02d}.png")
    made: list[weakref.ref] = []

    class Watched(FakePredictor):
        def __call__(self, *args: object, **kwargs: object):
            result = super().__call__(*args, **kwargs)
            made.append(weakref.ref(result))
            return result

    memory = {}
    for step in batch.run(batch.items([tmp_path]), Watched(), tmp_path / "out", reports=False):
        memory[step.number] = batch.resident_mb()
        assert sum(reference() is not None for reference in made) <= 1
    assert len(made) == 30
    if memory[30] is not None:  # kept photos and maps would be 3.4 MB each
        assert memory[30] - memory[10] < 30


def test_the_command_goes_on_where_it_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = FakePredictor()
    monkeypatch.setattr("dermomamba.Predictor.load", lambda *_: predictor)
    words = ["batch", str(folder), "--out", str(tmp_path / "out"), "--mm-per-pixel", "0.03", "--no-reports"]
    first = ""
    for measured, earlier in ((5, 0), (0, 5)):
        assert main(words) == 0
        out = capsys.readouterr().out
        first = first or out
        assert f"{measured} photos measured" in out
        assert f"{earlier} done before, 0 left out" in out
    assert predictor.runs == 5
    assert "[5/5] image-0005" in out
    assert re.search(r"\[1/5\] image-0001: area [\d.]+ \[[\d.]+, [\d.]+\] mm² \(uncalibrated range\), longest", first)
    with zipfile.ZipFile(tmp_path / "out" / batch.ARCHIVE) as archive:
        assert len(table(archive)) == 5


def test_the_command_says_what_is_wrong(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").mkdir()
    for source, out, words in (
        (tmp_path / "nowhere", tmp_path / "out", "no folder or ZIP"),
        (tmp_path / "none", tmp_path / "out", "no photos"),
        (folder, folder / "results", "among the photos"),
    ):
        assert main(["batch", str(source), "--out", str(out)]) == 2
        assert words in capsys.readouterr().err
        assert not out.exists()
