"""The command line: one module a verb, imported when it is asked for. No decisions here: it calls `app` and prints."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program named on the command line and leave with its exit status (DESIGN section 5)."""
    from customhouse.cli.program import run

    sys.exit(run(sys.argv[1:]))
