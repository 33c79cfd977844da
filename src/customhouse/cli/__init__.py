"""The command line: one module a verb, imported when it is asked for. No decisions here: it calls `app` and prints."""

from __future__ import annotations

import gc
import io
import sys


def main() -> None:
    """Run the program named on the command line and leave with its exit status (DESIGN section 5)."""
    gc.disable()  # until the verb is loaded: modules are no garbage
    from customhouse.cli.program import run

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # The name of a file may hold what the encoding has not: shown escaped, it is no error on the way out.
            stream.reconfigure(errors="backslashreplace")
    status = run(sys.argv[1:])
    gc.freeze()  # what ends with the process is not searched for garbage before
    sys.exit(status)
