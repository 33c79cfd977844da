"""Takes the magika model out of its wheel and writes the model folder that the declaration pins.

    python examples/file-type/prepare.py --from WHEEL_OR_FOLDER --out artifacts/file-type

The package is not imported: a wheel is an archive. Each file is taken only with the sha256 written here.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from pathlib import Path

MODEL = "magika/models/standard_v3_3/"
FILES = {
    "model.onnx": "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
    "config.min.json": "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
}
MAX_BYTES = 16 << 20


def read(source: Path, name: str) -> bytes:
    """One file of the package, out of a wheel or a folder that it was installed into, checked against its sha256."""
    if source.is_dir():
        path = source / MODEL / name
        if not path.is_file():
            raise SystemExit(f"{source} does not hold {MODEL}{name}; is magika 1.0.3 installed there?")
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    else:
        try:
            with zipfile.ZipFile(source) as wheel, wheel.open(MODEL + name) as entry:
                data = entry.read(MAX_BYTES + 1)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise SystemExit(f"{source}: cannot read {MODEL}{name}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != FILES[name]:
        raise SystemExit(f"{name} has sha256 {found}, expected is {FILES[name]}; nothing was written")
    return data


def prepare(source: Path, out: Path) -> None:
    """Write the model folder: all of it or nothing."""
    found = {name: read(source, name) for name in FILES}
    out.mkdir(parents=True, exist_ok=True)
    for name, data in found.items():
        (out / name).write_bytes(data)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="take the magika model out of its wheel")
    parser.add_argument("--from", dest="source", type=Path, required=True, help="the wheel, or a pip --target folder")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
    print(f"wrote {', '.join(FILES)} to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
