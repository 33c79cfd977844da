"""The command line: one module a verb, imported when it is asked for. No decisions here: it calls `app` and prints."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the program named on the command line and leave with its exit status (DESIGN section 5)."""
    from customhouse.cli.program import run

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # The name of a file may hold what the encoding has not: shown escaped, it is no error on the way out.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))
