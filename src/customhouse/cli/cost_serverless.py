"""`customhouse cost serverless`: always on or scaled by requests, priced on a trace of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table, write_text


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--requests", required=True, metavar="CSV", help="timestamp,seconds; timestamp,value; or with tokens.")
@click.option("--workload", metavar="NAME", help="Which workload, as NAME or KIND/NAME (default: the only one).")
@click.option("--cold-start", "cold", type=click.FloatRange(0, 3600), metavar="S", help="Seconds until one answers.")
@click.option("--seconds", type=click.FloatRange(0, 3600, min_open=True), help="How long each request takes.")
@click.option("--at-a-time", type=click.IntRange(0, 10_000), help="Requests a replica takes at once; 0: any number.")
@click.option("--always-on", type=click.IntRange(1, 10_000), metavar="N", help="Replicas to compare with.")
@click.option(
    "--longest-wait",
    type=click.FloatRange(0, 3600),
    default=1.0,
    show_default=True,
    help="Seconds that 99 of 100 requests may wait; without --always-on the fewest replicas that keep it.",
)
@formats("json")
@common
def serverless(
    paths: tuple[str, ...],
    requests: str,
    workload: str | None,
    cold: float | None,
    seconds: float | None,
    at_a_time: int | None,
    always_on: int | None,
    longest_wait: float,
    output: str,
    settings: Settings,
) -> None:
    """Price a workload on a trace of requests: always on, by Knative, by KEDA, by an autoscaler.

    Each way is played request by request, with cold starts; the cheapest is named, and the load at which the declared
    way costs what being always on costs.
    """
    from customhouse.app.serverless import Question, compare

    asked = Question(requests, workload, cold, seconds, at_a_time, always_on, longest_wait)
    found = compare(settings, paths, asked)
    if output == "json":
        write_json(found)
        return
    columns = ["Way", f"{found['currency']}/month", "Interval", "Mean", "Peak", "At zero", "Late", "p50", "p99", "Max"]
    write_table("", columns, [_row(found, way) for way in found["ways"]])
    write_text(_verdict(found))
    for note in found["notes"]:
        write_text(note)


def _row(found: dict[str, Any], way: dict[str, Any]) -> list[str]:
    low, high = way["monthly_low"], way["monthly_high"]
    name = f"{way['way']} {way['replicas']}" if way["replicas"] else way["way"] + (" *" if way["declared"] else "")
    delay = way["delay"]
    return [
        name,
        f"{Decimal(way['monthly']):.2f}",
        "" if low is None else f"{Decimal(low):.2f} to {Decimal(high):.2f}",
        f"{way['replica_seconds'] / found['span_seconds']:.3f}",
        str(way["peak"]),
        str(way["at_zero"]),
        str(way["late"]),
        *(f"{delay[key]:.2f} s" for key in ("p50", "p99", "max")),
    ]


def _verdict(found: dict[str, Any]) -> str:
    wait = f"{found['longest_wait_seconds']:g} s"
    said = [
        f"cheapest: {found['cheapest'] or 'not told, a price is missing'}"
        f"; of those that let 99 of 100 wait {wait} at most: {found['cheapest_in_time'] or 'none'}"
    ]
    even = found["break_even"]
    if even["factor"] is None:
        said.append(f"{even['always_cheaper']} takes less replica time than the other at any load looked at")
    else:
        said.append(
            f"{even['way']} takes less than {even['always_on']} always on below {even['requests_per_second']:g} "
            f"requests a second ({even['factor']:g} of this trace)"
        )
    return "\n".join(said)
