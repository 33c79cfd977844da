"""The rows of a dataset, file by file, in batches; what is wrong with the files is found on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import orjson

from customhouse._kit.digest import bytes_digest
from customhouse.core.errors import ArtifactError
from customhouse.trust.dataset.arrays import array_batches, labels_of
from customhouse.trust.dataset.batch import BATCH, MAX_FIELD, Batch
from customhouse.trust.dataset.csv_rows import CsvFile, csv_batches
from customhouse.trust.dataset.encoding import TextFile, lines_of
from customhouse.trust.dataset.finding import Finding, Places
from customhouse.trust.dataset.json_rows import JsonFile, json_batches, parquet_batches
from customhouse.trust.dataset.layout import Layout, Part
from customhouse.trust.dataset.packed_arrays import PackedFile, packed_batches
from customhouse.trust.dataset.pictures import MAX_BYTES, picture
from customhouse.trust.dataset.pixels import COUNT, MAX_PIXELS, TOTAL_PIXELS, Asked, Look, chosen, installed, looks
from customhouse.trust.dataset.rowtree import RangeProof, RowHasher, RowTree
from customhouse.trust.dataset.schema import Schema

PICTURE_COLUMNS = ("path", "label", "format", "width", "height", "mode", "bytes", "digest")
TEXT_COLUMNS = ("path", "label", "text")


@dataclass(slots=True)
class Reading:
    """Reads the parts of a layout once. After `batches` ran out, `findings` and `files` tell how the files were."""

    layout: Layout
    schema: Schema = field(default_factory=Schema)
    findings: list[Finding] = field(default_factory=list)
    files: list[dict[str, object]] = field(default_factory=list)
    rows: int = 0
    pixels: bool = False
    """Whether pictures are decoded too, where they can be."""
    looks: list[Look] = field(default_factory=list)
    _asked: list[Asked] = field(default_factory=list)

    def batches(self) -> Iterator[Batch]:
        """Every row of every part. A part that cannot be read is a finding, and the others are read all the same."""
        loose = [part for part in self.layout.parts if part.format in ("picture", "text")]
        texts = [part for part in loose if part.format == "text"]
        if texts and len(texts) == len(loose) == 1:
            yield from self._part(texts[0], self._lines(texts[0]))
        else:
            for kind, reader in (("picture", self._pictures), ("text", self._texts)):
                for split in dict.fromkeys(part.split for part in loose if part.format == kind):
                    chosen = [part for part in loose if part.format == kind and part.split == split]
                    for start in range(0, len(chosen), BATCH):
                        made = reader(chosen[start : start + BATCH])
                        self.rows += len(made.cells)
                        yield replace(made, split=split)
            if self.pixels:
                self._decode()
        for part in self.layout.parts:
            if part.format not in ("picture", "text"):
                yield from self._part(part, self._open(part))

    def _part(self, part: Part, batches: Iterator[Batch]) -> Iterator[Batch]:
        try:
            for made in batches:
                self.rows += len(made.cells)
                yield replace(made, split=part.split) if part.split and not made.split else made
        except ArtifactError as error:
            self.findings.append(
                Finding("unreadable-file", "error", f"{error.where}: {error.message}", error.hint, file=part.name)
            )

    def _open(self, part: Part) -> Iterator[Batch]:
        schema = self.schema
        if part.format == "csv":
            told = CsvFile(TextFile(part.name))
            delimiter = schema.delimiter or ("\t" if part.name.lower().removesuffix(".gz").endswith(".tsv") else "")
            yield from csv_batches(part.path, told, first=self.rows, delimiter=delimiter, encoding=schema.encoding)
            self._told_csv(part, told)
        elif part.format == "array":
            yield from array_batches(part.path, part.name, first=self.rows, labels=labels_of(part.path))
            self.files.append({"file": part.name, "format": "npy"})
        elif part.format == "arrays":
            packed = PackedFile(part.name)
            yield from packed_batches(part.path, packed, first=self.rows)
            self._told_packed(part, packed)
        else:
            json = JsonFile(TextFile(part.name))
            if part.format == "parquet":
                yield from parquet_batches(part.path, json, first=self.rows)
            else:
                yield from json_batches(part.path, json, first=self.rows, encoding=schema.encoding)
            self._told_json(part, json)

    def _lines(self, part: Part) -> Iterator[Batch]:
        told = TextFile(part.name)
        numbers: list[int] = []
        cells: list[tuple[str]] = []
        first = self.rows
        for number, line in enumerate(lines_of(part.path, part.name, told, self.schema.encoding), 1):
            if line.strip():
                numbers.append(number)
                cells.append((line.strip("\n\r")[:MAX_FIELD],))
            if len(cells) == BATCH:
                yield Batch(part.name, first, ("text",), tuple(numbers), tuple(cells))
                first, numbers, cells = first + len(cells), [], []
        if cells:
            yield Batch(part.name, first, ("text",), tuple(numbers), tuple(cells))
        self._told_text(part, told, {"format": "text"})

    def _pictures(self, parts: list[Part]) -> Batch:
        cells = []
        for row, part in enumerate(parts, self.rows):
            with part.path.open("rb") as file:
                found = picture(file.read(MAX_BYTES))
            if found.problem:
                message = f"{part.name} is no whole picture: {found.problem}"
                fix = "Remove it, or fetch it again."
                self.findings.append(
                    Finding("picture", "error", message, fix, file=part.name, rows=(part.name,), count=1)
                )
            else:
                self._asked.append(Asked(row, part.path, found.width * found.height, part.digest, part.name))
            size = (str(found.width), str(found.height))
            cells.append((part.name, part.label, found.format, *size, found.mode, str(part.size), part.digest))
        return self._loose(parts, PICTURE_COLUMNS, tuple(cells))

    def _decode(self) -> None:
        """Look at the pixels of the pictures that were met, and say of which not."""
        if not self._asked:
            return
        if not installed():
            message = (
                f"No pixel of {len(self._asked)} pictures was looked at (Pillow is not installed): they are known by "
                "their headers alone, and near-duplicates and marks in pixels were not looked for."
            )
            self.findings.append(Finding("pixels-not-read", "note", message, "pip install 'customhouse[images]'"))
            return
        names = {one.row: one.name for one in self._asked}
        wanted = chosen(self._asked)
        self.looks = list(looks(wanted))
        for look in (look for look in self.looks if look.problem):
            name = names[look.row]
            message, fix = f"{name} is no whole picture: {look.problem}", "Remove it, or fetch it again."
            self.findings.append(Finding("picture", "error", message, fix, file=name, rows=(name,), count=1))
        distinct = len({one.digest for one in self._asked})
        if len(wanted) < distinct:
            limits = f"{COUNT:,} pictures, {TOTAL_PIXELS // 10**9} gigapixels"
            message = (
                f"The pixels of {distinct - len(wanted)} of {distinct} different pictures were not looked at: larger "
                f"than {MAX_PIXELS // 10**6} megapixels, or beyond the limits ({limits})."
            )
            self.findings.append(Finding("pixels-not-read", "note", message, "", count=distinct - len(wanted)))

    def _texts(self, parts: list[Part]) -> Batch:
        cells = []
        for part in parts:
            told = TextFile(part.name)
            text = "".join(lines_of(part.path, part.name, told, self.schema.encoding))[:MAX_FIELD]
            self._told_text(part, told, None)
            cells.append((part.name, part.label, text))
        return self._loose(parts, TEXT_COLUMNS, tuple(cells))

    def _loose(self, parts: list[Part], columns: tuple[str, ...], cells: tuple[tuple[str, ...], ...]) -> Batch:
        raw = tuple(orjson.dumps([part.name, part.digest]) for part in parts)
        return Batch("", self.rows, columns, range(len(parts)), cells, by="", raw=raw)

    def _told_text(self, part: Part, told: TextFile, row: dict[str, object] | None) -> None:
        if told.undecodable.count:
            self._places(
                "undecodable",
                "error",
                told.undecodable,
                part,
                f"Lines with bytes that are no {told.encoding}",
                "Write the whole file in one encoding (UTF-8), or declare `encoding` in the schema.",
            )
        if told.encoding not in ("utf-8", self.schema.encoding):
            self.findings.append(
                Finding(
                    "encoding",
                    "warning",
                    f"{part.name} is read as {told.encoding}: {told.reason}.",
                    "Write it as UTF-8, or declare `encoding` in the schema: another reader may guess otherwise.",
                    file=part.name,
                )
            )
        if row is not None:
            self.files.append(
                {"file": part.name, **row, "encoding": told.encoding, "gzip": told.compressed, "lines": told.lines}
            )

    def _told_csv(self, part: Part, told: CsvFile) -> None:
        self._told_text(part, told.text, {"format": "csv", "delimiter": told.delimiter, "rows": told.rows})
        if told.header_missing:
            message = "The first row has numbers among the names of the columns: is it data?"
            self.findings.append(Finding("header", "warning", message, "Give the file a header.", file=part.name))
        self._places(
            "ragged-row",
            "error",
            told.ragged,
            part,
            f"Rows without the {len(told.columns)} cells that the header has",
            "A delimiter or line end inside a cell has to be quoted.",
        )
        self._places(
            "nul-character", "error", told.nul, part, "Rows with NUL characters", "Text has none: export anew."
        )

    def _told_json(self, part: Part, told: JsonFile) -> None:
        if part.format == "parquet":
            self.files.append({"file": part.name, "format": "parquet", "rows": told.rows})
        else:
            self._told_text(part, told.text, {"format": "jsonl", "rows": told.rows})
        self._places(
            "broken-row", "error", told.broken, part, "Lines that are no JSON object", "Write one object a line."
        )
        self._places(
            "doubled-key",
            "error",
            told.doubled,
            part,
            "Objects that name a key twice",
            "Two readers take two values: keep one.",
        )
        for column, kinds in told.columns.items():
            plain = {kind: count for kind, count in kinds.items() if kind != "null" and count}
            if len(plain) > 1:
                shown = ", ".join(f"{count} {kind}" for kind, count in sorted(plain.items()))
                few = min(plain.values())
                self.findings.append(
                    Finding(
                        "mixed-type",
                        "error",
                        f"Values are of several JSON types: {shown}.",
                        "Write one type.",
                        column=column,
                        file=part.name,
                        count=few,
                        share=few / max(1, told.rows),
                    )
                )

    def _told_packed(self, part: Part, told: PackedFile) -> None:
        self.files.append({"file": part.name, "format": "npz", "arrays": told.arrays})
        for names, severity, what in (
            (told.unfit, "error", "Arrays that are neither rows nor labels of the others"),
            (told.aside, "warning", "Small arrays that are no rows of data were not looked at"),
        ):
            if names:
                shown = ", ".join(name[:120] for name in names[:10])
                fix = "Arrays of one split have as many rows (`x_train`, `y_train`); keep others in another file."
                message = f"{what}: {shown}."
                self.findings.append(
                    Finding("array-not-read", severity, message, fix, file=part.name, count=len(names))
                )

    def _places(self, rule: str, severity: str, places: Places, part: Part, message: str, fix: str) -> None:
        if places.count:
            self.findings.append(
                Finding(
                    rule,
                    severity,
                    f"{message}: {places.count}.",
                    fix,
                    file=part.name,
                    rows=tuple(places.first),
                    count=places.count,
                )
            )


def row_tree(found: Layout, schema: Schema | None = None) -> RowTree:
    """The tree over a dataset's rows. Raises ArtifactError when a file cannot be read as rows."""
    hasher = RowHasher()
    _hash_all(found, schema or Schema(), hasher)
    return hasher.finish()


def row_proof(found: Layout, start: int, end: int, schema: Schema | None = None) -> tuple[RowTree, RangeProof]:
    """The tree, and the proof that rows [start, end) belong to it; read in one pass. Raises as `row_tree`."""
    hasher = RowHasher(keep=(start, end))
    _hash_all(found, schema or Schema(), hasher)
    return hasher.finish(), hasher.proof(start, end)


def _hash_all(found: Layout, schema: Schema, hasher: RowHasher) -> None:
    reading = Reading(found, schema)
    for batch in reading.batches():
        hasher.extend(batch.row_bytes())
    broken = next((item for item in reading.findings if item.rule == "unreadable-file"), None)
    if broken is not None:
        raise ArtifactError(broken.message, where=broken.file, hint=broken.fix)


def digest_of_columns(columns: tuple[str, ...]) -> str:
    """The digest of a table's columns, in order."""
    return bytes_digest(orjson.dumps(columns))
