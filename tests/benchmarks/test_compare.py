"""The comparison of networks: counts known by hand, one tiny run, and the table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import compare
import compare_table
from compare import Entry, compare_one

from dermomamba.learning.pixels import Pool, TrainingData
from dermomamba.learning.recipe import Recipe, Source
from dermomamba.learning.training_data import Decoder
from dermomamba.network.cost import count, count_network

TINY = Recipe("tiny", "For tests.", (Source("data"),), image_size=(32, 64), epochs=1, batch_size=2, hair_bank=0)


class Prepared(Decoder):
    """Random pixels in place of files."""

    def load(self, recipe: Recipe) -> TrainingData:
        generator = torch.Generator().manual_seed(0)

        def pixels(*shape: int) -> torch.Tensor:
            return torch.randint(256, shape, dtype=torch.uint8, generator=generator)

        pool = Pool(pixels(4, 32, 64, 3), pixels(4, 32, 64))
        return TrainingData((pool,), pixels(2, 32, 64, 3), pixels(2, 32, 64))


def test_counts_of_convolutions_are_those_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 1, 2, stride=2), nn.BatchNorm2d(1))
    cost = count_network(network, (4, 6))
    assert cost.macs == 24 * 8 * 27 + 24 * 8 * 4 + 2 * 96
    assert cost.parameters == 8 * 27 + 8 + 8 * 4 + 1 + 2
    assert not any(module._forward_hooks for module in network.modules())


def test_the_published_count_is_unchanged() -> None:
    assert count().paper == pytest.approx(0.966e9, rel=1e-3)


def test_networks_are_compared_and_a_missing_library_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Prepared(tmp_path).load(TINY)
    monkeypatch.setattr(
        "experiments.judges", lambda decoder, size: {"isic2018_validation": (data.val_images, data.val_masks)}
    )

    def missing() -> nn.Module:
        raise ImportError("No module named 'nowhere'", name="nowhere")

    decoder = Prepared(tmp_path)
    rows = [
        compare_one("one", Entry(lambda: nn.Conv2d(3, 1, 3, padding=1), {"loss": "plain"}), TINY, decoder, 0.0),
        compare_one("gone", Entry(missing), TINY, decoder, 0.0),
    ]
    assert not rows[0]["failed"], rows[0]["failed"]
    assert rows[0]["recipe"]["loss"] == "plain"
    assert rows[0]["parameters"] == 28
    assert rows[0]["images"] == 4
    assert rows[1]["failed"] == "nowhere is not installed"
    for row in rows:
        compare.append(tmp_path / "rows.jsonl", row)
    document = tmp_path / "results.md"
    document.write_text("<!-- comparison -->\n<!-- /comparison -->\n")
    compare.main(["--table", str(document), "--out", str(tmp_path / "rows.jsonl")])
    text = document.read_text()
    assert "| gone | | not compared: nowhere is not installed |" in text
    assert (tmp_path / compare_table.PLOT).stat().st_size > 5000
    columns = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert columns == {14}


def test_seeds_are_averaged() -> None:
    def row(seed: int, value: float) -> dict:
        interval = {"mean": value, "low": value - 0.1, "high": value + 0.1, "n": 5}
        sets = {"isic2018_validation": {"iou": interval, "dice": interval}}
        return {"what": "x", "seed": seed, "failed": "", "sets": sets, "machine": "m", "seconds": 1.0, "images": 5}

    timed = {"what": "x", "seed": 1, "failed": "", "only_timed": True, "cpu_ms": 7.0, "machine": "CPU", "seconds": 0}
    elsewhere = {"cpu_ms": 99.0}  # the processor beside a GPU: another machine
    (record,) = compare_table.lines_of([row(1, 0.8) | elsewhere, row(2, 0.9), timed])
    assert record["cpu_ms"] == 7.0
    assert compare_table.lines_of([timed])[0]["failed"] == "not trained yet"
    assert record["mean"] == pytest.approx(0.85)
    assert record["spread"] == pytest.approx(0.1)
    assert record["seeds"] == 2


def test_budgets_have_their_own_lines_and_times_come_from_one_machine(tmp_path: Path) -> None:
    def row(what: str, epochs: int, value: float, machine: str, speed: float) -> dict:
        interval = {"mean": value, "low": value - 0.1, "high": value + 0.1, "n": 5}
        sets = {"isic2018_validation": {"iou": interval, "dice": interval}}
        figures = {"full_gops": 2.0, "images": 10 * epochs, "seconds": 1.0, "gpu_images_per_second": speed}
        return (
            {"what": what, "seed": 1, "failed": "", "sets": sets, "machine": machine}
            | figures
            | {"recipe": {"epochs": epochs}}
        )

    rows = [
        row("a", 8, 0.7, "old card", 100.0),
        row("b", 8, 0.6, "old card", 50.0),
        row("a", 30, 0.8, "new card", 300.0),
        row("a", 8, 0.6, "new card", 200.0),
    ]
    found = compare_table.lines_of(rows)
    assert [(r["what"], r["epochs"], r["seeds"]) for r in found] == [("a", 8, 2), ("b", 8, 1), ("a", 30, 1)]
    assert [r["gpu_images_per_second"] for r in found] == [200.0, 50.0, 300.0]
    assert [r["machine"] for r in found] == ["new card", "old card", "new card"]
    for one in rows:
        compare.append(tmp_path / "rows.jsonl", one)
    document = tmp_path / "results.md"
    document.write_text("<!-- comparison -->\n<!-- /comparison -->\n")
    compare_table.write_comparison(document, tmp_path / "rows.jsonl")
    text = document.read_text()
    assert text.index("**8 epochs**") < text.index("**30 epochs**")
    assert text.count("| a |") == 2


def test_every_network_of_the_issue_is_there() -> None:
    names = " ".join(compare.entries((192, 256)))
    for wanted in ("U-Net 31 M", "UNet++", "Attention", "SegFormer-B0", "ResNet34", "published loss", "without CSMB"):
        assert wanted in names
    for name in ("U-Net 31 M", "UNet++", "Attention U-Net"):
        network = compare.entries((64, 64))[name].make().eval()
        with torch.inference_mode():
            assert network(torch.rand(1, 3, 64, 64)).shape == (1, 1, 64, 64)
