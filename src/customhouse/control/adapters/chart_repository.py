"""Chart repositories over https (helm.sh/docs/topics/chart_repository): an index of versions, and archives.

An index may be tens of megabytes; only the part about the one chart that is asked for is read as YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from customhouse._kit.digest import is_digest
from customhouse._kit.http import HttpError, request, to_a_store
from customhouse._kit.single_keys import each_once
from customhouse.control import yaml_nodes
from customhouse.control.unpacking import MAX_ARCHIVE
from customhouse.control.yaml_limits import Limits
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import ArtifactError, DeclarationError

MAX_INDEX = 64 * 1024 * 1024
_ONE_CHART = Limits(file_bytes=MAX_INDEX, nodes=2_000_000)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Offered:
    """One version of a chart: where it is, and its digest as the index says it (empty: it does not)."""

    version: str
    url: str
    digest: str


class ChartRepository:
    """Reads. `headers` gives what is said to a host (a login), by the host's name and port."""

    def __init__(self, headers: Callable[[str], Mapping[str, str]], timeout_s: float = 60.0) -> None:
        self._headers, self._timeout_s = headers, timeout_s

    def offered(self, address: str, chart: str) -> tuple[Offered, ...]:
        """The versions of a chart that a repository has. Raises ArtifactError."""
        where = f"{address}/index.yaml"
        if _NAME.fullmatch(chart) is None:
            raise ArtifactError(f"{chart[:100]!r} is no name of a chart", where=address)
        body = self._get(where, MAX_INDEX, nowhere)
        found = []
        for item in _entries(body, chart, where):
            version, urls = item.get("version"), item.get("urls")
            if not isinstance(version, str) or not isinstance(urls, list) or not urls or not isinstance(urls[0], str):
                continue
            said = item.get("digest")
            digest = f"sha256:{str(said).removeprefix('sha256:')}" if said not in (None, "") else ""
            if digest and not is_digest(digest):
                raise ArtifactError(f"the digest of {chart} {version[:50]} is none", where=where)
            try:
                found.append(Offered(version, urljoin(f"{address}/", urls[0]), digest))
            except ValueError:
                continue
        if not found:
            raise ArtifactError(f"it has no chart {chart}", where=where)
        return tuple(found)

    def archive(self, url: str, max_bytes: int = MAX_ARCHIVE) -> bytes:
        """The bytes at an address; whoever asks checks their digest. Raises ArtifactError."""
        return self._get(url, max_bytes, to_a_store)

    def _get(self, url: str, max_bytes: int, redirects: Callable[[str, str], bool]) -> bytes:
        try:
            answer = request(
                "GET",
                url,
                headers=self._headers(urlsplit(url).netloc),
                timeout_s=self._timeout_s,
                max_bytes=max_bytes,
                redirects=redirects,
            )
        except HttpError as error:
            raise ArtifactError(str(error), where=url) from error
        if answer.status != 200:
            denied = answer.status in (401, 403)
            hint = "give credentials: `docker login` keeps them for any host" if denied else ""
            raise ArtifactError(f"it answers {answer.status}", where=url, hint=hint)
        return answer.body


def nowhere(_: str, __: str) -> bool:
    """An index that is elsewhere is named there."""
    return False


def _entries(body: bytes, chart: str, where: str) -> list[Mapping[str, Any]]:
    """What an index says of one chart. Raises ArtifactError."""
    try:
        text = body.decode("utf-8")
        if text.lstrip().startswith("{"):
            value = json.loads(text, object_pairs_hook=each_once)
        else:
            part = _part(text, chart)
            roots = yaml_nodes.compose(text if part is None else part, where, _ONE_CHART)
            value = Reader(where, _ONE_CHART).read(roots[0]).value if len(roots) == 1 else None
    except (ValueError, RecursionError, DeclarationError) as error:
        raise ArtifactError(f"the index cannot be read: {str(error)[:300]}", where=where) from error
    entries = value.get("entries") if isinstance(value, dict) else None
    if not isinstance(entries, dict):
        raise ArtifactError("it is no index of charts", where=where)
    listed = entries.get(chart)
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _part(text: str, chart: str) -> str | None:
    """The part about one chart of an index as `helm repo index` writes it; None for one that looks otherwise."""
    begun = re.search(r"(?m)^entries:[ \t]*\n", text)
    if begun is None:
        return None
    start = re.compile(rf"(?m)^  [\"']?{re.escape(chart)}[\"']?:[ \t]*\n").search(text, begun.end())
    end = re.compile(r"(?m)^\S").search(text, begun.end())
    if start is None or (end is not None and start.start() > end.start()):
        return None
    over = re.compile(r"(?m)^(?:\S|  [^\s-])").search(text, start.end())
    return "entries:\n" + text[start.start() : len(text) if over is None else over.start()]
