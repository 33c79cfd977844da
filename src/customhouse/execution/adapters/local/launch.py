"""The entry point of every process that the local target starts: `python -I -m …local.launch ROLE CONFIG`.

One module, so that a process can be found again by its command line (`processes.find`).
"""

from __future__ import annotations

import sys

MODULE = "customhouse.execution.adapters.local.launch"


def main(arguments: list[str]) -> int:
    """Run one role until it ends; the exit status. ROLE is `serve`, `gateway` or `job`; CONFIG is a JSON file."""
    role, config = arguments
    # asyncio imports ssl when it can, which costs each process 4.4 MB (PSS) for OpenSSL; these speak only over unix
    # sockets and loopback, and asyncio works without it.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    if role == "serve":
        from customhouse.execution.adapters.local.serve import main as serve

        return serve(config)
    if role == "gateway":
        from customhouse.execution.adapters.local.gateway import main as gateway

        return gateway(config)
    if role == "job":
        from customhouse.execution.adapters.local.jobrun import main as jobrun

        return jobrun(config)
    sys.stderr.write(f"unknown role {role!r}\n")
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
