"""The command line, as a person would call it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dermomamba.cli import main, parser
from dermomamba.weights import DEFAULT, FOLDER

EXAMPLES = Path(__file__).parents[1] / "assets/examples"


def test_predict_writes_what_the_page_offers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "letter.jpg"
    bad.write_text("Dear colleague")
    out, report = tmp_path / "out", tmp_path / "r.json"
    photos = [str(EXAMPLES / "small-round.jpg"), str(bad)]
    assert main(["predict", *photos, "--out", str(out), "--json", str(report), "--mm-per-pixel", "0.02"]) == 1
    content = json.loads(report.read_text())
    assert "Not a medical device" in content["notice"]
    area = content["images"][0]["measurements"]["area"]
    truth = next(t for t in json.loads((EXAMPLES / "truth.json").read_text()) if t["file"] == "small-round.jpg")
    assert area["unit"] == "mm²"
    true_area = truth["area_px"] * 0.02**2
    assert area["value"] == pytest.approx(true_area, rel=0.08)
    assert area["interval"][0] < true_area < area["interval"][1]
    assert content["failed"][0]["case_id"] == "image-2"
    mask = cv2.imread(str(out / "image-1_segmentation.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (truth["height"], truth["width"])
    assert set(np.unique(mask)) == {0, 255}
    assert (out / "image-1_report.pdf").read_bytes().startswith(b"%PDF")
    printed = capsys.readouterr()
    assert "mm²" in printed.out
    assert "letter" not in printed.out + printed.err


def test_evaluate_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dermomamba.phantom import phantom, random_spec

    rng = np.random.default_rng(5)
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for index in range(3):
        drawn = phantom(random_spec(rng, (240, 320)))
        cv2.imwrite(str(tmp_path / f"set/images/{index}.png"), drawn.image[..., ::-1])
        cv2.imwrite(str(tmp_path / f"set/masks/{index}.png"), 255 * drawn.mask.astype(np.uint8))
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    assert main(["evaluate", str(tmp_path / "set"), "--json", a, "--csv", str(tmp_path / "a.csv")]) == 0
    (tmp_path / "ids.txt").write_text("# two of them\n0\n2\n")
    assert main(["evaluate", str(tmp_path / "set"), "--json", b, "--tta", "--ids", str(tmp_path / "ids.txt")]) == 0
    result = json.loads(Path(a).read_text())
    assert result["n"] == 3
    assert json.loads(Path(b).read_text())["n"] == 2
    assert {"mean", "low", "high"} <= result["metrics"]["dice"].keys()
    assert result["metrics"]["dice"]["mean"] > 0.6
    assert result["weights"] == DEFAULT
    assert main(["evaluate", "--compare", a, b]) == 0
    assert "dice" in capsys.readouterr().out.lower()


def test_info_says_both_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for part in ("4,953,425", "0.966 GMAC", "3.825 GMAC", "147.5 M", "Not a medical device", "CC BY-NC 4.0"):
        assert part in text


def test_benchmark_prints_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small networks on small images: what is tested is the command, its table and its file."""
    from dermomamba import benchmark, benchmark_case
    from dermomamba.network import DermoMamba

    monkeypatch.setattr(benchmark_case, "IMAGE_SIZE", (32, 32))
    monkeypatch.setattr(benchmark, "DermoMamba", lambda: DermoMamba((32, 32)))
    monkeypatch.setattr(benchmark, "peers", lambda: {benchmark_case.PLAIN_UNET: lambda: torch.nn.Conv2d(3, 1, 1)})
    file = tmp_path / "b.json"
    assert main(["benchmark", "--device", "cpu", "--seconds", "0", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert {row["network"] for row in rows} >= {"DermoMamba", "U-Net 31 M"}
    assert all(0 < row["fastest"] <= row["seconds"] <= row["slowest"] for row in rows)
    assert all(row["peak_bytes"] > 0 for row in rows) or not Path("/proc/self/status").exists()
    assert "floor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate"], "Give a folder or ZIP"),
        (["evaluate", "nowhere"], "nowhere"),
        (["evaluate", "--compare", "a.json", "b.json", "--json", "c.json"], "writes no file"),
        (["finetune", "x", "--out", str(FOLDER / "dermomamba-isic2018.safetensors")], "already weights"),
        (["predict", "x.jpg", "--weights", "other"], "no weights called 'other'"),
        (["train", "isic2018", "--data", ".", "--set", "epochs"], "write --set key=value"),
        (["predict", "x.jpg", "--mm-per-pixel", "-1"], "millimet"),
    ],
)
def test_mistakes_end_with_a_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["benchmark", "--batch", "0"], "0 is not above zero"),
        (["benchmark", "--batch", "four"], "invalid int value: 'four'"),
        (["finetune", "x", "--minutes", "nan"], "nan is not above zero"),
        (["train", "isic2018", "--data", ".", "--workers", "-2"], "-2 is not above zero"),
    ],
)
def test_numbers_that_make_no_sense_are_named(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err


def test_every_command_explains_itself() -> None:
    commands = parser()._subparsers._group_actions[0].choices
    assert {"predict", "evaluate", "train", "benchmark", "info", "card"} <= commands.keys()
    for command in commands.values():
        assert "Not a medical device" in " ".join(command.format_help().split())
