"""Readers of what is installed: package lists of distributions, metadata of languages, what programs say of themselves.

    reader = reader_of("usr/lib/python3/dist-packages/requests-2.31.0.dist-info/METADATA")
    reading = read(reader, path, data)      # packages, what could not be read, files that packages own

May live here: one module a kind of list, from bytes to values. May not: anything that opens a file or a connection, or
runs what it reads. Whoever has an image, a folder or an archive hands over the bytes (`trust.images`). What cannot be
read is said, never left out: half a list of packages is a wrong one.
"""

from __future__ import annotations

from customhouse.trust.packages.found import Found, Reading
from customhouse.trust.packages.readers import Reader, read, reader_of

__all__ = ["Found", "Reader", "Reading", "read", "reader_of"]
