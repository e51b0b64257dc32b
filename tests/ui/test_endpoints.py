"""The served page through `gradio_client`: endpoints, isolation, privacy. Fake predictor, real server."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_predictor import FakePredictor
from gradio_client import Client, handle_file
from PIL import Image
from served import free_port, served

from dermomamba.measure import measure
from dermomamba.ui.parts import forget

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    temp = tmp_path_factory.mktemp("gradio")
    with served(HERE / "fake_app.py", temp) as url:
        yield url
    assert list(temp.iterdir()) == [], "the private folder is removed when the app stops"


@pytest.fixture
def client(address: str, tmp_path: Path) -> Client:
    return Client(address, verbose=False, download_files=str(tmp_path / "got"))


def saved(image: np.ndarray, path: Path, **options) -> Path:
    Image.fromarray(image).save(path, **options)
    return path


def test_segment_gives_mask_overlay_and_numbers(client: Client, drawn, tmp_path: Path) -> None:
    mask, overlay, numbers = client.predict(
        handle_file(saved(drawn.image, tmp_path / "Jane_Doe_1980.png")), api_name="/segment"
    )
    expected = FakePredictor()(drawn.image)
    pixels = np.asarray(Image.open(mask))
    assert Path(mask).name == "image-1_segmentation.png"
    assert set(np.unique(pixels)) == {0, 255}
    assert (pixels == expected.mask * 255).all()
    assert Image.open(overlay).size == (400, 300)
    assert numbers["measurements"]["area"]["value"] == pytest.approx(drawn.area_px, rel=0.05)
    assert "medical device" in numbers["notice"]
    assert "Jane" not in json.dumps(numbers)


def test_measure_uses_the_scale(client: Client, drawn, tmp_path: Path) -> None:
    photo = handle_file(saved(drawn.image, tmp_path / "a.png"))
    scaled = client.predict(photo, 0.03, api_name="/measure")
    area = scaled["measurements"]["area"]
    assert area["unit"] == "mm²"
    assert area["value"] == pytest.approx(drawn.area_px * 0.03**2, rel=0.05)
    plain = client.predict(photo, api_name="/measure")
    assert plain["measurements"]["area"]["unit"] == "px²"
    expected = measure(FakePredictor()(drawn.image).probability, image=drawn.image)
    assert plain["measurements"]["area"]["value"] == pytest.approx(expected["area"].value, rel=1e-6)


@pytest.mark.parametrize("scale", [-1.0, 5.0])
def test_a_bad_scale_is_refused_with_a_sentence(client: Client, drawn, tmp_path: Path, scale: float) -> None:
    with pytest.raises(Exception, match=r"mm per pixel|larger than zero"):
        client.predict(handle_file(saved(drawn.image, tmp_path / "a.png")), scale, api_name="/measure")


def test_a_text_file_named_jpg_is_refused_with_a_sentence(client: Client, tmp_path: Path) -> None:
    fake = tmp_path / "photo.jpg"
    fake.write_text("not a photo")
    with pytest.raises(Exception, match=r"(?i)photo|picture"):
        client.predict(handle_file(fake), api_name="/segment")


def test_two_clients_interleaved_never_see_each_other(address: str, drawn, other, tmp_path: Path) -> None:
    first, second = (
        Client(address, verbose=False, download_files=str(tmp_path / name)) for name in ("first", "second")
    )
    photos = [handle_file(saved(p.image, tmp_path / f"{i}.png")) for i, p in enumerate((drawn, other))]
    jobs = []
    for _ in range(3):
        jobs.append((0, first.submit(photos[0], api_name="/segment")))
        jobs.append((1, second.submit(photos[1], api_name="/segment")))
    expected = [FakePredictor()(p.image).mask for p in (drawn, other)]
    for which, job in jobs:
        mask, _, numbers = job.result(timeout=120)
        assert (np.asarray(Image.open(mask)) == expected[which] * 255).all()
        assert numbers["image"]["width_px"] == (400, 300)[which]


def test_exif_and_gps_go_in_and_nothing_comes_out(client: Client, drawn, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe, 1980-01-01"
    exif[0x0112] = 6  # turned by a quarter
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 0.0)
    photo = saved(drawn.image, tmp_path / "gps.jpg", exif=exif, quality=95)
    assert b"Jane" in photo.read_bytes()
    mask, overlay, numbers = client.predict(handle_file(photo), api_name="/segment")
    for path in (mask, overlay):
        content = Path(path).read_bytes()
        picture = Image.open(io.BytesIO(content))
        assert not dict(picture.getexif())
        assert not picture.info
        assert b"Jane" not in content
        assert picture.size == (300, 400)  # turned once
    assert "Jane" not in json.dumps(numbers)


def test_only_the_promised_endpoints_are_public(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/segment", "/measure", "/batch", "/finetune"}


def test_an_upload_is_forgotten_unless_it_came_again(tmp_path: Path) -> None:
    gone, again = tmp_path / "gone.jpg", tmp_path / "again.jpg"
    gone.write_bytes(b"x")
    again.write_bytes(b"x")
    timers = [forget(gone, 0.2), forget(again, 0.2)]
    os.utime(again, (time.time() + 60, time.time() + 60))
    for timer in timers:
        timer.join()
    assert not gone.exists()
    assert again.exists()


def test_config_keeps_nothing_and_shows_nothing(address: str) -> None:
    import httpx

    config = httpx.get(f"{address}/config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("run_history")
    assert httpx.get(f"{address}/monitoring").status_code >= 400
    assert httpx.get(f"{address}/gradio_api/file={HERE / 'fake_app.py'}").status_code >= 400
    assert httpx.get(f"{address}/gradio_api/file=/etc/hostname").status_code >= 400


def test_page_answers_while_the_network_still_loads(tmp_path: Path) -> None:
    program = f"""
import sys, time
sys.path[:0] = [{str(HERE.parents[1])!r}, {str(HERE)!r}]
from dermomamba.ui.private_temp import make_private_temp
make_private_temp()
import threading
from dermomamba.ui.app import serve
def never():
    threading.Event().wait()
serve(never)
"""
    script = tmp_path / "never.py"
    script.write_text(program)
    import httpx

    with served(script, tmp_path) as url:
        assert "DermoMamba Studio" in httpx.get(url).text


def test_the_page_stands_before_the_network_and_its_compiler_are_imported() -> None:
    code = """
import sys
from dermomamba.ui.app import assemble, launch_settings
from dermomamba.ui.engine import Engine
assemble(Engine(None))
launch_settings()
print([name for name in ("torch", "numba", "llvmlite", "triton", "fpdf") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE.parents[1], check=True)
    assert done.stdout.strip() == "[]"


def test_missing_weights_are_said_on_the_page_and_by_the_endpoint(tmp_path: Path, drawn) -> None:
    program = f"""
import sys
sys.path[:0] = [{str(HERE.parents[1])!r}]
from dermomamba.ui.private_temp import make_private_temp
make_private_temp()
from dermomamba.errors import WeightsError
from dermomamba.ui.app import serve
def missing():
    raise WeightsError("There are no weights called 'x'.")
serve(missing)
"""
    script = tmp_path / "missing.py"
    script.write_text(program)
    with served(script, tmp_path) as url:
        client = Client(url, verbose=False, download_files=str(tmp_path / "got"))
        with pytest.raises(Exception, match="no weights called"):
            client.predict(handle_file(saved(drawn.image, tmp_path / "a.png")), api_name="/measure")


def test_private_folder_refuses_to_come_too_late() -> None:
    code = "import gradio; from dermomamba.ui.private_temp import make_private_temp as m; m()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE.parents[1], env={**os.environ}
    )
    assert "before gradio" in done.stderr


def test_free_port_is_free() -> None:
    assert 1024 < free_port() < 65536


def test_batch_gives_one_zip(client: Client, drawn, other, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("x")
    files = [saved(drawn.image, tmp_path / "a.png"), bad, saved(other.image, tmp_path / "b.png")]
    archive = client.predict([handle_file(path) for path in files], 0.03, api_name="/batch")
    with zipfile.ZipFile(archive) as content:
        rows = list(csv.DictReader(io.StringIO(content.read("measures.csv").decode("utf-8-sig"))))
    assert [row["case_id"] for row in rows] == ["image-0001", "image-0003"]
    assert float(rows[0]["area_mm2"]) == pytest.approx(drawn.area_px * 0.03**2, rel=0.05)
