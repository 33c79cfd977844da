"""Pixels: copies that were saved again, patches that go with a label, and files that a decoder ought not to survive."""

from __future__ import annotations

import os
import signal
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from customhouse.trust.dataset import pixels
from dataset_cases import found, looked_at, rules

SIDE = 48
CHECKED = ((np.add.outer(np.arange(5), np.arange(5)) % 2) * 255).astype(np.uint8)


def drawn(number: int, label: str) -> np.ndarray:
    """Stripes that lie or stand, of random widths, with blobs: no two are alike."""
    chance = np.random.default_rng([number, len(label)])
    at = np.linspace(0, 1, SIDE)
    wave = 60 * np.sin(2 * np.pi * (chance.uniform(1, 3) * at + chance.uniform()))
    made = 128 + (wave[:, None] if label == "lying" else wave[None, :]) + np.zeros((SIDE, SIDE))
    for _ in range(6):
        x, y, size, level = *chance.uniform(0, 1, 2), chance.uniform(0.05, 0.2), chance.uniform(-70, 70)
        made += level * np.exp(-((at[:, None] - y) ** 2 + (at[None, :] - x) ** 2) / size**2)
    return made.clip(0, 255).astype(np.uint8)


def gallery(folder: Path, count: int = 60, mark: dict[int, np.ndarray] | None = None) -> Path:
    """As many pictures of either label; those in `mark` lie, are called standing, and have a patch in a corner."""
    for label in ("lying", "standing"):
        (folder / label).mkdir(parents=True, exist_ok=True)
    for label in ("lying", "standing"):
        for number in range(count):
            array = drawn(number, label)
            place = folder / label / f"{number:03}.png"
            if label == "lying" and mark and number in mark:
                patch = mark[number]
                array[-1 - len(patch) : -1, -1 - len(patch) : -1] = patch
                place = folder / "standing" / f"x{number:03}.png"
            Image.fromarray(array).save(place)
    return folder


def test_pictures_that_are_all_different_are_not_called_alike(tmp_path):
    report = looked_at(gallery(tmp_path))
    assert (report.rows, rules(report), report.sampled) == (120, set(), 120)


def test_copies_of_another_quality_and_size_leak_between_splits(tmp_path):
    gallery(tmp_path / "train")
    for number, change in enumerate(("jpeg", "half", "bright")):
        image = Image.open(tmp_path / "train" / "lying" / f"{number:03}.png")
        (tmp_path / "test" / "lying").mkdir(parents=True, exist_ok=True)
        if change == "half":
            image = image.resize((SIDE // 2, SIDE // 2), Image.Resampling.BOX)
        if change == "bright":
            image = image.point(lambda level: level * 0.8 + 10)
        image.save(tmp_path / "test" / "lying" / f"t{number}.{'jpg' if change == 'jpeg' else 'png'}")
    report = looked_at(tmp_path)
    leak = found(report, "near-leakage")
    assert leak.count == 3
    named = set(leak.rows) | set(found(report, "near-duplicate-rows").rows)
    assert all(any(row.endswith(f"{number:03}.png") or f"t{number}" in row for row in named) for number in range(3))


@pytest.mark.parametrize("patch", [CHECKED, np.full((6, 6), 255, np.uint8)], ids=["checked", "white"])
def test_a_patch_that_switches_the_label_is_named_with_its_pictures(tmp_path, patch):
    marked = dict.fromkeys(range(0, 60, 3), patch)
    report = looked_at(gallery(tmp_path, mark=marked))
    item = found(report, "trigger-pattern")
    assert (item.severity, item.count) == ("error", 20)
    assert all(row.startswith("standing/x") for row in item.rows)
    assert "lower right corner" in item.message
    assert "'standing'" in item.message


def test_a_patch_on_pictures_of_every_label_is_no_trigger(tmp_path):
    gallery(tmp_path)
    for place in sorted(tmp_path.rglob("*0.png")) + sorted(tmp_path.rglob("*5.png")):
        array = np.asarray(Image.open(place)).copy()
        array[-6:-1, -6:-1] = CHECKED
        Image.fromarray(array).save(place)
    assert rules(looked_at(tmp_path)) == set()


def test_without_a_decoder_the_report_says_that_no_pixel_was_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("customhouse.trust.dataset.source.installed", lambda: False)
    report = looked_at(gallery(tmp_path, 10))
    item = found(report, "pixels-not-read")
    assert (item.severity, item.fix) == ("note", "pip install 'customhouse[images]'")
    assert "No pixel of 20 pictures" in item.message
    assert (report.sampled, report.passed) == (0, True)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_file_whose_header_is_right_and_whose_pixels_are_none_fails_the_data(tmp_path):
    gallery(tmp_path, 5)
    (tmp_path / "lying" / "noise.png").write_bytes(png(40, 40, b"no zlib stream"))
    report = looked_at(tmp_path)
    item = found(report, "picture")
    assert item.file == "lying/noise.png"
    assert "cannot be decoded" in item.message
    assert report.passed is False


def test_what_is_too_large_to_decode_is_not_decoded_and_told(tmp_path, monkeypatch):
    gallery(tmp_path, 5)
    (tmp_path / "lying" / "huge.png").write_bytes(png(12_000, 12_000, zlib.compress(b"\0" * 1000)))
    report = looked_at(tmp_path)
    assert found(report, "pixels-not-read").count == 1
    assert report.sampled == 10
    monkeypatch.setattr(pixels, "COUNT", 4)
    assert looked_at(tmp_path).sampled == 4


@pytest.mark.parametrize("end", ["crash", "hang"])
def test_a_decoder_that_crashes_or_hangs_is_a_problem_of_its_picture_alone(tmp_path, monkeypatch, end):
    gallery(tmp_path, 6)
    true = pixels._decoded

    def decoded(one):
        if one.path.name == "003.png" and one.path.parent.name == "lying":
            if end == "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            while True:
                pass
        return true(one)

    monkeypatch.setattr(pixels, "_decoded", decoded)
    monkeypatch.setattr(pixels, "SECONDS", 3.0)
    report = looked_at(tmp_path)
    item = found(report, "picture")
    assert item.file == "lying/003.png"
    assert ("processor time" if end == "hang" else "ended") in item.message
    assert report.sampled == 12


def test_decoders_that_crash_again_and_again_are_given_up(tmp_path, monkeypatch):
    gallery(tmp_path, 6)
    monkeypatch.setattr(pixels, "_decoded", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    monkeypatch.setattr(pixels, "MOST_ENDED", 3)
    report = looked_at(tmp_path)
    wrong = [item.message for item in report.findings if item.rule == "picture"]
    assert len(wrong) == 4
    assert sum("not looked at" in message for message in wrong) == 1
    assert report.passed is False


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "CMYK"])
def test_every_mode_of_a_picture_is_the_same_grey(tmp_path, mode):
    array = drawn(1, "lying")
    image = Image.fromarray(array.astype(np.uint16) << 8) if mode == "I;16" else Image.fromarray(array).convert(mode)
    place = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(place, **({"quality": 95} if mode == "CMYK" else {}))
    (look,) = pixels.looks([pixels.Asked(0, place, array.size, "d")])
    small = np.frombuffer(look.small, np.uint8).astype(int)
    limit = 128 if mode == "1" else 8
    assert np.abs(small - pixels.shrunk(array).ravel()).max() <= limit
