"""The root command: verbs by name, modules loaded late, errors turned into one message and an exit status."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Mapping, Sequence

import click

from customhouse import __version__
from customhouse.cli.verbs import Verbs

VERBS: Mapping[str, tuple[str, str]] = {
    "demo": ("demo:demo", "Play the whole story on embedded defaults, then serve the dashboard."),
    "up": ("up:up", "Run the control plane: judge, reconcile, watch, record."),
    "init": ("init:init", "Make a repository that Customhouse can run."),
    "doctor": ("doctor:doctor", "Check what this machine has and lacks."),
    "config": ("config:config", "Show and explain customhouse.yaml."),
    "gate": ("gate:gate", "Judge a change before it is merged."),
    "audit": ("audit:audit", "Judge what runs in a cluster by the rules in force."),
    "cost": ("cost:cost", "Estimate, report and forecast what workloads cost."),
    "adopt": ("adopt:adopt", "Let Customhouse manage a cluster that it has observed."),
    "plan": ("plan:plan", "Show what the target needs to reach a revision."),
    "sources": ("sources:sources", "Say by digest which charts and artifacts of registries are meant."),
    "sync": ("sync:sync", "Bring the target to what is declared, once."),
    "status": ("status:status", "Show what runs, its health and its drift."),
    "history": ("status:history", "Show the releases of a workload."),
    "rollback": ("rollback:rollback", "Write the commit that undoes a release."),
    "promote": ("promote:promote", "Carry a release to the next environment, as a commit."),
    "health": ("health:health", "Tell the health of objects in files."),
    "explain": ("explain:explain", "Explain a rule, a decision or an error."),
    "model": ("model:model", "Scan, evaluate, sign, register and verify models."),
    "artifact": ("artifact:artifact", "Sign and verify files and datasets."),
    "image": ("image:image", "Resolve, scan, sign and verify images, and fetch their evidence."),
    "bom": ("bom:bom", "Compare and measure bills of materials."),
    "vuln": ("vuln:vuln", "Import advisories, match packages against them, and sign reports."),
    "data": ("data:data", "Validate datasets, register them by digest, and prepare them."),
    "webhook": ("webhook:webhook", "Answer admission reviews of a Kubernetes API server."),
    "network": ("network:network", "Make NetworkPolicies of declared callers."),
    "policy": ("policy:policy", "Test, lint, build, pull and replay the rules; verify suites."),
    "trace": ("trace:trace", "Walk the chain of custody from any node."),
    "verify": ("verify:verify", "Verify a custody export offline."),
    "report": ("report:report", "Write compliance reports about releases."),
    "ledger": ("ledger:ledger", "Verify and prove the ledger."),
    "schedule": ("schedule:schedule", "Place pods by tier and price: the scheduler's extender."),
    "optimise": ("optimise:optimise", "Recommend and propose right sizes."),
}

_PIPE_CLOSED = 141
"""128 + SIGPIPE, as a shell has it."""


@click.group(cls=Verbs, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="customhouse")
def root() -> None:
    """Customhouse: the control plane for AI models. Nothing enters production undeclared, uninspected or unpaid.

    Exit status: 0 allowed or fine, 1 denied or findings, 2 usage, 3 could not decide (the gate stays shut), 4 drift or
    rolled back, 5 verification failed, 70 a bug.
    """
    gc.enable()  # the verb is loaded; see `cli.main`


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit status. Errors go to stderr as one message with a code, a place and a hint."""
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the answer has gone. That is no answer: a script must not take it for "allowed".
        _silence_stdout()
        return _PIPE_CLOSED
    except OSError as error:  # a full disk under a redirected stdout, for one
        _silence_stdout()
        _complain("CH030", error.strerror or str(error), str(error.filename or ""), "free some space, or look there")
        return 3
    return status


def _run(arguments: Sequence[str]) -> int:
    from customhouse.core.errors import CustomhouseError

    stdout = sys.stdout
    try:
        result = root.main(list(arguments), prog_name="customhouse", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)  # noqa: T201 - talk goes to stderr, also without click's machinery
        return 130
    except CustomhouseError as error:
        _complain(error.code, error.message, error.where, error.hint)
        return error.exit_status
    except SystemExit as leave:
        # click (which replaces stdout then) and rich make a closed pipe status 1, which would mean "denied".
        if sys.stdout is not stdout or isinstance(leave.__context__, BrokenPipeError):
            sys.stdout = stdout
            raise BrokenPipeError from leave
        raise
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - the last resort: Python would end with 1, which means "denied"
        import traceback

        _complain("CH000", "this is a bug of Customhouse", "", "please report it with the lines below")
        traceback.print_exc()
        return 70
    return result if isinstance(result, int) else 0


def _silence_stdout() -> None:
    """What is left in the buffer cannot be written; without this the interpreter would complain about it at its end."""
    import os

    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _complain(code: str, message: str, where: str, hint: str) -> None:
    from customhouse.cli.report_rows import printable  # a name of a file must not drive a terminal or a CI either

    place = f"{where}: " if where else ""
    click.echo(f"error[{code}]: {printable(place + message)}", err=True)
    if hint:
        click.echo(f"  fix: {printable(hint)}", err=True)
