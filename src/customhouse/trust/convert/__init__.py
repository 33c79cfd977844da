"""Conversion of weights to safetensors, without executing what they are in.

    result = convert(Path("model.pt"), Path("model.safetensors"))
    result.tensors, result.left_out, result.source_digest

May live here: readers that make plain values of pickles of a known, small shape, and the writer of safetensors. May
not: anything that imports or calls what a file names. A file is scanned first; what is not clean is not converted.
"""

from __future__ import annotations

from customhouse.trust.convert.conversion import Converted, convert

__all__ = ["Converted", "convert"]
