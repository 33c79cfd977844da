"""One scanner over a list of files, in its own environment: `PYTHON model_scan_runner.py SCANNER LIST OUT`.

Imports nothing of the project but for `customhouse` itself. Each file: flagged, clean or unscannable, and milliseconds.
"""

import json
import logging
import resource
import sys
import time
import zipfile


def customhouse(path):
    from pathlib import Path

    from customhouse.trust.scan import scan_file

    verdict = scan_file(Path(path)).verdict.value
    return {"malicious": "flagged", "suspicious": "flagged"}.get(verdict, verdict)


def picklescan(path):
    from picklescan.scanner import SafetyLevel, scan_file_path

    result = scan_file_path(path)
    if result.issues_count or any(name.safety == SafetyLevel.Dangerous for name in result.globals):
        return "flagged"
    return "unscannable" if result.scan_err or not result.scanned_files else "clean"


def fickling(path):
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import StackedPickle
    from fickling.pytorch import PyTorchModelWrapper

    if zipfile.is_zipfile(path):
        pickles = [PyTorchModelWrapper(path).pickled]
    else:
        with open(path, "rb") as handle:
            pickles = list(StackedPickle.load(handle))
    worst = max((check_safety(item).severity for item in pickles), default=None)
    if worst is None:
        return "unscannable"
    return "flagged" if worst > Severity.LIKELY_SAFE else "clean"


def modelscan(path):
    from modelscan.modelscan import ModelScan

    found = ModelScan().scan(path)
    if found["summary"]["total_issues"]:
        return "flagged"
    return "clean" if found["summary"]["scanned"]["total_scanned"] and not found["errors"] else "unscannable"


def modelaudit(path):
    from modelaudit.core import scan_model_directory_or_file

    found = scan_model_directory_or_file(path)
    levels = {str(getattr(item.severity, "value", item.severity)).lower() for item in found.issues}
    if levels & {"critical", "warning"}:
        return "flagged"
    return "unscannable" if found.has_errors or not found.files_scanned else "clean"


def main(scanner, listed, out):
    logging.disable(logging.CRITICAL)
    scan = {f.__name__: f for f in (customhouse, picklescan, fickling, modelscan, modelaudit)}[scanner]
    with open(listed) as handle:
        files = json.load(handle)
    try:
        scan(files[0])  # the first pays for imports
    except ImportError as error:
        sys.exit(f"{scanner} is not installed there ({error})")
    except BaseException:  # noqa: BLE001 - what a scanner makes of a file is counted below
        pass
    rows = []
    for path in files:
        started = time.perf_counter()
        try:
            verdict = scan(path)
        except BaseException as error:
            verdict = "unscannable"
            if isinstance(error, KeyboardInterrupt):
                raise
        rows.append([verdict, (time.perf_counter() - started) * 1000])
    with open(out, "w") as handle:
        json.dump({"rows": rows, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}, handle)


if __name__ == "__main__":
    main(*sys.argv[1:])
