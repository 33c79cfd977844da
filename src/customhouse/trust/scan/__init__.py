"""The model scanner: says whether files may be loaded, without loading them.

    scan = scan_tree(Path("models/fraud/v1"))
    scan.verdict                    # clean, suspicious, malicious or unscannable
    scan.to_json()                  # what `customhouse model scan` prints
    scan_predicate(tree(path), scan)  # what scan evidence says

May live here: readers of file formats, one a module, and what they may find. May not: anything that executes, imports
or unpickles what it reads, or whose verdict depends on what is installed. `clean` is said only of what was understood
whole; bytes that no reader explains are `unscannable`.
"""

from __future__ import annotations

from customhouse.trust.scan.description import Description
from customhouse.trust.scan.inspection import Limits
from customhouse.trust.scan.inspector import (
    SCANNER_VERSION,
    Inspected,
    inspect_tree,
    rules_digest,
    scan_bytes,
    scan_file,
    scan_paths,
    scan_predicate,
    scan_tree,
)
from customhouse.trust.scan.onepass import Look, Wish
from customhouse.trust.scan.verdict import FileScan, ScanFinding, ScanSeverity, TreeScan, Verdict

__all__ = [
    "SCANNER_VERSION",
    "Description",
    "FileScan",
    "Inspected",
    "Limits",
    "Look",
    "ScanFinding",
    "ScanSeverity",
    "TreeScan",
    "Verdict",
    "Wish",
    "inspect_tree",
    "rules_digest",
    "scan_bytes",
    "scan_file",
    "scan_paths",
    "scan_predicate",
    "scan_tree",
]
