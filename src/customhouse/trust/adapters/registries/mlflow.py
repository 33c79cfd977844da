"""MLflow's model registry by its REST API 2.0: an alias or a stage becomes a version once, the version becomes files.

Artifacts come through the server's own proxy (`mlflow-artifacts:`), or from the store that a version names (`s3://`).
MLflow keeps no digests: what pins a file is the digest of what came the first time, in the lock.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from customhouse._kit.canonical import canonical_json
from customhouse._kit.http import Answer, HttpError, Sending, is_loopback, request
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.remote import Exposure, Located, ModelStore, RemoteFile, Take

MAX_FILES = 10_000
_MAX_DEPTH = 32
_MAX_ANSWER = 8 << 20
_NAME = re.compile(r"[^/:@?#\x00-\x1f]{1,256}")
_PART = re.compile(r"[^/\x00-\x1f]{1,255}")


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to one server: a token, or a name and a password. Never shown."""

    user: str = ""
    secret: str = field(default="", repr=False)

    def header(self) -> dict[str, str]:
        """Empty for nobody."""
        if not self.secret:
            return {}
        packed = base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()
        return {"Authorization": f"Basic {packed}" if self.user else f"Bearer {self.secret}"}


@dataclass(frozen=True, slots=True)
class Address:
    """`mlflow://HOST/NAME/VERSION`, `…/NAME/STAGE` or `…/NAME@ALIAS`."""

    host: str
    name: str
    version: str = ""
    alias: str = ""

    @classmethod
    def parse(cls, reference: str) -> Address:
        """Raises UsageError."""
        parts = urlsplit(reference)
        path = parts.path.removeprefix("/")
        name, at, alias = path.partition("@")
        version = ""
        if not at:
            name, _, version = path.rpartition("/")
        said = (name, version or alias)
        if parts.scheme != "mlflow" or not parts.netloc or parts.query or not all(map(_NAME.fullmatch, said)):
            raise UsageError(
                f"{reference[:200]!r} is no model of MLflow",
                hint="mlflow://HOST/NAME/VERSION or mlflow://HOST/NAME@ALIAS",
            )
        return cls(parts.netloc, name, version, alias)


class MlflowStore:
    """Every MLflow server. `base` is the one that the login is for (`https://host/prefix`); others are asked as nobody.

    `elsewhere` gives the store of another scheme, or None where there is none.
    """

    def __init__(
        self,
        base: str | None,
        login: Login,
        elsewhere: Callable[[str], ModelStore | None],
        *,
        authority: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._base, self._login, self._elsewhere = (base or "").rstrip("/"), login, elsewhere
        self._authority, self._timeout_s = authority, timeout_s

    def locate(self, reference: str) -> Located:
        """The version that a reference means now, and its files."""
        address = Address.parse(reference)
        found = self.found(address, reference)
        number = _text(found, "version", reference)
        asked = {"name": address.name, "version": number}
        place = _text(
            self.get(address.host, "mlflow/model-versions/get-download-uri", asked), "artifact_uri", reference
        )
        pinned = f"mlflow://{address.host}/{quote(address.name, safe=' ')}/{number}"
        scheme = place.partition(":")[0]
        if scheme == "mlflow-artifacts":
            root = urlsplit(place).path.strip("/")
            files = tuple(self.files(address.host, root, reference))
        else:
            files = self._other(scheme, place, reference)
        if not files:
            raise ArtifactError("the version has no files", where=reference)
        return Located(pinned, files, _claims(found, place))

    def fetch(self, located: Located, file: RemoteFile, take: Take) -> None:
        """The bytes of one file, from the proxy or from the store that holds it."""
        if "store" in file.pin:
            store = self._elsewhere(file.pin["store"].partition(":")[0])
            if store is None:
                raise ArtifactError("the store that holds it is not read here", where=file.pin["store"])
            pin = {key: value for key, value in file.pin.items() if key != "store"}
            store.fetch(Located(file.pin["store"], ()), replace(file, pin=pin), take)
            return
        came = 0

        def piece(data: bytes) -> None:
            nonlocal came
            came += len(data)
            if came > file.size:
                raise ArtifactError(f"more came than the {file.size} bytes that it said", where=where)
            take(data)

        host, path = urlsplit(located.reference).netloc, file.pin["artifact"]
        where = f"mlflow://{host} {path}"
        answer = self.call(
            "GET",
            host,
            f"mlflow-artifacts/artifacts/{quote(path)}",
            sink=piece,
            max_bytes=file.size + _MAX_ANSWER,
            timeout_s=self._timeout_s + file.size / 1e6,
        )
        if answer.status != 200:
            raise refused(answer, where)
        if came != file.size:
            raise ArtifactError(f"{came} bytes came of {file.size}", where=where)

    def exposure(self, host: str) -> Exposure:
        """Whether a stranger may read the registry: without logins MLflow tells no rights apart, and he may write."""
        try:
            answer = self.call("GET", host, "mlflow/registered-models/search?max_results=1", stranger=True)
        except ArtifactError:
            return Exposure()
        if answer.status == 200:
            return Exposure(True, None, None, ("it answers without a login: whoever reaches it may write",))
        return Exposure(False if answer.status in (401, 403) else None)

    def found(self, address: Address, where: str) -> Mapping[str, Any]:
        """What the registry says of the version that an address means now."""
        if address.alias:
            asked = {"name": address.name, "alias": address.alias}
            return _part(self.get(address.host, "mlflow/registered-models/alias", asked), "model_version", where)
        if address.version.isdigit():
            asked = {"name": address.name, "version": address.version}
            return _part(self.get(address.host, "mlflow/model-versions/get", asked), "model_version", where)
        body = canonical_json({"name": address.name, "stages": [address.version]})
        document = self.answered(
            self.call("POST", address.host, "mlflow/registered-models/get-latest-versions", body=body), where
        )
        listed = document.get("model_versions") or []
        if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict):
            raise ArtifactError(f"no one version is in the stage {address.version}", where=where)
        return listed[0]

    def files(self, host: str, root: str, where: str) -> Iterator[RemoteFile]:
        """Every file below a folder of the proxy, or that file itself. Names are held to be names."""
        folders, count = [("", 0)], 0
        while folders:
            folder, depth = folders.pop()
            path = f"{root}/{folder}".rstrip("/")
            document = self.get(host, "mlflow-artifacts/artifacts", {"path": path})
            for item in document.get("files") or []:
                name, size = item.get("path"), item.get("file_size", 0)
                count += 1
                fits = isinstance(name, str) and _PART.fullmatch(name) and name not in (".", "..")
                if not fits or not isinstance(size, int | str) or not str(size).isdigit() or count > MAX_FILES:
                    raise ArtifactError(
                        f"a list of files that is not understood, or of more than {MAX_FILES}", where=where
                    )
                if depth > _MAX_DEPTH:
                    raise ArtifactError(f"folders in folders, more than {_MAX_DEPTH} deep", where=where)
                if item.get("is_dir") is True:
                    folders.append((f"{folder}{name}/", depth + 1))
                else:
                    yield RemoteFile(f"{folder}{name}", int(size), None, {"artifact": f"{path}/{name}"})

    def _other(self, scheme: str, place: str, where: str) -> tuple[RemoteFile, ...]:
        store = self._elsewhere(scheme)
        if store is None:
            raise ArtifactError(
                f"its files lie at {scheme}:, which is not read here",
                where=where,
                hint="serve them by the server's proxy (--serve-artifacts), or keep them in an S3-compatible store",
            )
        found = store.locate(place)
        return tuple(replace(file, pin={**file.pin, "store": found.reference}) for file in found.files)

    def get(self, host: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One question of the REST API; the answer's object."""
        return self.answered(self.call("GET", host, f"{path}?{urlencode(query)}"), f"mlflow://{host}")

    def answered(self, answer: Answer, where: str) -> dict[str, Any]:
        """The object that an answer is."""
        if answer.status != 200:
            raise refused(answer, where)
        try:
            document = answer.json()
        except HttpError as error:
            raise ArtifactError(str(error), where=where) from error
        if not isinstance(document, dict):
            raise ArtifactError("the answer is no object", where=where)
        return document

    def call(
        self,
        method: str,
        host: str,
        path: str,
        *,
        body: bytes | Sending | None = None,
        sink: Take | None = None,
        max_bytes: int = _MAX_ANSWER,
        timeout_s: float | None = None,
        stranger: bool = False,
    ) -> Answer:
        """One request, with the login where the host is the one that it is for."""
        ours = bool(self._base) and urlsplit(self._base).netloc == host
        name = urlsplit(f"//{host}").hostname or ""
        base = self._base if ours else f"{'http' if is_loopback(name) else 'https'}://{host}"
        headers = {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
        if isinstance(body, Sending):
            headers = {"Content-Type": "application/octet-stream"}
        if ours and not stranger:  # the password goes to the server that it is for
            headers |= self._login.header()
        try:
            return request(
                method,
                f"{base}/api/2.0/{path}",
                headers=headers,
                body=body,
                timeout_s=timeout_s or self._timeout_s,
                max_bytes=max_bytes,
                authority=self._authority if ours else None,
                redirects=_nowhere,
                sink=sink,
            )
        except HttpError as error:
            raise ArtifactError(str(error), where=f"mlflow://{host}") from error


def _claims(version: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What the registry says of a version, bounded: told, never trusted."""
    tags = [item for item in version.get("tags") or [] if isinstance(item, dict)][:50]
    said = {
        "registry": "mlflow",
        "version": str(version.get("version", "")),
        "run": str(version.get("run_id") or ""),
        "stage": str(version.get("current_stage") or ""),
        "status": str(version.get("status") or ""),
        "stored": place.partition(":")[0],
    }
    listed = {str(tag.get("key", ""))[:100]: str(tag.get("value", ""))[:500] for tag in tags}
    return {**{key: value[:200] for key, value in said.items() if value}, **({"tags": listed} if listed else {})}


def _part(document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise ArtifactError(f"the answer has no {key}", where=where)
    return value


def _text(document: Mapping[str, Any], key: str, where: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value or len(value) > 2048:
        raise ArtifactError(f"the answer has no {key}", where=where)
    return value


def refused(answer: Answer, where: str) -> ArtifactError:
    """An answer that is none, with MLflow's own word for it."""
    code = re.search(rb'"error_code":\s*"([A-Z_]{1,64})"', answer.body)
    reason = f" ({code.group(1).decode()})" if code else ""
    denied = answer.status in (401, 403)
    return ArtifactError(
        f"the server answers {answer.status}{reason}",
        where=where,
        hint="give a login: MLFLOW_TRACKING_URI with MLFLOW_TRACKING_TOKEN, or …_USERNAME and …_PASSWORD"
        if denied
        else "",
    )


def _nowhere(_: str, __: str) -> bool:
    return False
