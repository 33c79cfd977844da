"""Attacks on what is remembered of files: other bytes under the same times."""

from __future__ import annotations

import mmap
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customhouse._kit.clock import FixedClock
from customhouse._kit.digest import file_digest
from customhouse.app.remembered import Remembered


def test_bytes_written_through_a_mapping_after_they_were_hashed_are_read(tmp_path: Path) -> None:
    place = tmp_path / "model.bin"
    place.write_bytes(b"A" * 8192)
    later = FixedClock(datetime.now(UTC) + timedelta(minutes=1))  # as if it had not been touched for a minute
    remembered = Remembered(tmp_path / "state", tmp_path / "keys", later)
    with place.open("r+b") as handle, mmap.mmap(handle.fileno(), 0) as mapped:
        mapped[0:1] = b"B"  # from here on the kernel looks away, unless the page was stored
        before = remembered(place)
        mapped[0:1] = b"C"
        after = remembered(place)
        assert after.digest != before.digest
        assert after.digest == file_digest(place).digest
