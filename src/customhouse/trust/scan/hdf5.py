"""HDF5: what reading a file could reach outside of it, and Keras configurations inside.

First cut: see below.
"""

from __future__ import annotations

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Source

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def inspect_hdf5(source: Source, look: Inspection) -> None:
    """X."""
    look.format = "hdf5"
    look.unscannable("hdf5-unread", f"HDF5 ({source.size} bytes) is not read yet; save the model as .keras or ONNX")
