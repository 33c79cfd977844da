"""`customhouse webhook`: the admission webhook of a Kubernetes API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, talk, write_text
from customhouse.core.errors import UsageError

NAMES = ("customhouse-webhook.customhouse-system.svc", "localhost", "127.0.0.1")


@click.command()
@click.option("--repo", help="Repository whose Declarations and rules hold: a path or a URL.")
@click.option(
    "--allowed",
    metavar="FILE",
    help="Which commit of --repo was allowed last, as `up` notes it (CUSTOMHOUSE_ALLOWED); no other one rules.",
)
@click.option("--target", metavar="NAME", help="Which of several `targets` this cluster is (CUSTOMHOUSE_TARGET).")
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104
@click.option("--port", type=int, default=8443, show_default=True, help="Port; 0: a free one.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes that judge.")
@click.option("--name", "names", multiple=True, metavar="DNS", help="Names in the certificate; default the Service's.")
@click.option("--cert", metavar="FILE", help="A certificate that somebody else renews (with --key, --ca).")
@click.option("--key", metavar="FILE", help="Its private key.")
@click.option("--ca", metavar="FILE", help="The authorities that issued it, for --print-configuration.")
@click.option(
    "--client-ca", metavar="FILE", help="Refuse reviews of clients without a certificate of these authorities."
)
@click.option("--dry", is_flag=True, help="Record nothing (break-glass is then refused).")
@click.option(
    "--print-configuration", is_flag=True, help="Print the webhook configurations with the authority, and end."
)
@click.option(
    "--apply-configuration", is_flag=True, help="Apply them to the cluster, and end; again after a new authority."
)
@click.option(
    "--keep-applied",
    is_flag=True,
    help="Beside a webhook of the same state: apply them once it is ready, and again when they changed, until ended.",
)
@click.option("--kubeconfig", metavar="FILE", help="The cluster (default: KUBECONFIG, the pod's own, ~/.kube/config).")
@click.option("--url", help="Address in the printed configurations, instead of the Service's.")
@common
def webhook(
    repo: str | None,
    allowed: str | None,
    target: str | None,
    host: str,
    port: int,
    workers: int,
    names: tuple[str, ...],
    cert: str | None,
    key: str | None,
    ca: str | None,
    client_ca: str | None,
    dry: bool,
    print_configuration: bool,
    apply_configuration: bool,
    keep_applied: bool,
    kubeconfig: str | None,
    url: str | None,
    settings: Settings,
) -> int:
    """Answer AdmissionReviews over TLS: /validate, /mutate and /validate-image, with /healthz, /readyz and /metrics."""
    import json
    import sys
    from dataclasses import replace

    from customhouse.app.admission_certificates import Certificates
    from customhouse.app.admission_manifest import apply_configurations, given_files, printed
    from customhouse.app.wiring import clock

    if allowed or target:
        settings = replace(
            settings, allowed=Path(allowed) if allowed else settings.allowed, target=target or settings.target
        )
    if settings.allowed is not None and repo is None:
        raise UsageError(
            "which commit is allowed says nothing without a repository",
            hint="name it with --repo; --config alone (without --allowed, CUSTOMHOUSE_ALLOWED) knows of no commits",
        )
    if keep_applied:
        authorities = Path(ca) if ca else settings.state / "webhook" / "ca.crt"
        return _keep_applied(settings, repo, (authorities, url, kubeconfig), port)
    time = clock()
    given = given_files(cert, key, ca)
    certificates = Certificates(
        settings.state / "webhook", names or NAMES, given, time.now(), Path(client_ca) if client_ca else None
    )
    if print_configuration:
        write_text(printed(settings, repo, certificates.authorities(), url))
        return 0
    if apply_configuration:
        for name in apply_configurations(settings, repo, certificates.authorities(), url, kubeconfig):
            talk(settings, f"{name} applied")
        return 0

    from customhouse.server.admission import Front, Listening

    def tell(event: str, fields: dict[str, Any]) -> None:
        if not settings.quiet:
            sys.stderr.write(json.dumps({"event": event, **fields}) + "\n")
            sys.stderr.flush()

    place = repo if repo is None or "://" in repo else str(Path(repo).absolute())
    front = Front(settings, Listening(host, port, workers, dry, place), certificates, time, tell)
    front.run(lambda found: talk(settings, f"webhook on https://{host}:{found}; Ctrl-C ends"))
    return 0


def _keep_applied(settings: Settings, repo: str | None, place: tuple[Path, str | None, str | None], port: int) -> int:
    """Until a signal ends it. The webhook beside it is asked by the name that its certificate has."""
    import signal
    import threading

    from customhouse.app.admission_registering import Registering

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    found = Registering(settings, repo, place, f"https://localhost:{port}/readyz", lambda text: talk(settings, text))
    while not ended.wait(found.once()):
        pass
    return 0
