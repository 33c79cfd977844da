"""`customhouse schedule serve`: the extender of a Kubernetes scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, talk, write_text

NAMES = ("customhouse-extender.customhouse-system.svc", "localhost", "127.0.0.1")


@click.command()
@click.option("--repo", help="Repository whose rules and prices hold: a path or a URL.")
@click.option(
    "--allowed",
    metavar="FILE",
    help="Which commit of --repo was allowed last, as `up` notes it (CUSTOMHOUSE_ALLOWED); no other one rules.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=8444, show_default=True, help="Port; 0: a free one.")
@click.option("--name", "names", multiple=True, metavar="DNS", help="Names in the certificate; default the Service's.")
@click.option("--cert", metavar="FILE", help="A certificate that somebody else renews (with --key, --ca).")
@click.option("--key", metavar="FILE", help="Its private key.")
@click.option("--ca", metavar="FILE", help="The authorities that issued it, for --print-configuration.")
@click.option(
    "--client-ca",
    metavar="FILE",
    help="Answer clients with a certificate of these authorities alone; default: our own, see --print-configuration.",
)
@click.option("--kubeconfig", metavar="FILE", help="The cluster (default: KUBECONFIG, the pod's own, ~/.kube/config).")
@click.option("--context", help="The context of the kubeconfig.")
@click.option("--with-parent", is_flag=True, hidden=True, help="End when the process that started it has ended.")
@click.option("--url", help="Address in the printed configuration, instead of the Service's.")
@click.option("--scheduler-name", default="default-scheduler", show_default=True, help="In the printed configuration.")
@click.option(
    "--print-configuration", is_flag=True, help="Print a KubeSchedulerConfiguration that asks this extender, and end."
)
@common
def serve(
    repo: str | None,
    allowed: str | None,
    host: str,
    port: int,
    names: tuple[str, ...],
    cert: str | None,
    key: str | None,
    ca: str | None,
    client_ca: str | None,
    kubeconfig: str | None,
    context: str | None,
    with_parent: bool,
    url: str | None,
    scheduler_name: str,
    print_configuration: bool,
    settings: Settings,
) -> int:
    """Answer a kube-scheduler over TLS: /filter, /prioritize and /preempt, with /healthz, /readyz and /metrics.

    Only clients with a certificate are answered. The scheduler asks it as `ignorable`: while it is down, pods are
    placed without it.
    """
    import json
    import os
    import sys
    from dataclasses import replace

    from customhouse.app.admission_manifest import given_files
    from customhouse.app.extender_configuration import certificates_of, scheduler_configuration
    from customhouse.app.wiring import clock

    if allowed:
        settings = replace(settings, allowed=Path(allowed))
    time = clock()
    given = given_files(cert, key, ca)
    clients = Path(client_ca) if client_ca else None
    certificates, client = certificates_of(settings, names or NAMES, given, clients, time.now())
    if print_configuration:
        address = url or f"https://{(names or NAMES)[0]}:{port}"
        write_text(scheduler_configuration(address, certificates.authorities(), client, scheduler_name, kubeconfig))
        return 0

    from customhouse.app import wiring
    from customhouse.app.extender import Extending
    from customhouse.server.extender import ExtenderFace

    def tell(event: str, fields: dict[str, Any]) -> None:
        if not settings.quiet:
            sys.stderr.write(json.dumps({"event": event, **fields}) + "\n")
            sys.stderr.flush()

    place = repo if repo is None or "://" in repo else str(Path(repo).absolute())
    extending = Extending(settings, place, time, tell)
    parent = os.getppid()
    with wiring.cluster(settings, Path(kubeconfig) if kubeconfig else None, context) as cluster:
        extending.follow(cluster)
        goes_on = (lambda: os.getppid() == parent) if with_parent else (lambda: True)
        face = ExtenderFace(extending, certificates, time, tell, settings.state, goes_on)
        face.run(host, port, lambda found: talk(settings, f"extender on https://{host}:{found}; Ctrl-C ends"))
        extending.close()
    return 0
