"""Models registered in MLflow: a run with the files and the evidence, then a version that carries the digest as a tag.

The version is made last, so one that is there is whole. One that says this digest already is held against the files,
byte by byte, and returned: a tag can be written by whoever may write at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlsplit

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import Clock
from customhouse._kit.digest import FileEntry, bytes_digest
from customhouse._kit.http import Answer, Sending
from customhouse.core.errors import ArtifactError, TamperError, UsageError
from customhouse.trust.adapters.registries.mlflow import Address, MlflowStore, refused
from customhouse.trust.publishing import (
    DIGEST_TAG,
    MAX_EVIDENCE_FILE,
    MAX_EVIDENCE_FILES,
    VERDICT_TAG,
    Parcel,
    Published,
    Settle,
    is_there,
    watched,
)
from customhouse.trust.remote import Exposure, Located, RemoteFile

MODEL_TAG = "customhouse.model"
_EXPERIMENT = "0"
_FILES, _EVIDENCE = "model", ".evidence"
_MAX_PAGES = 50


class MlflowModels:
    """Every MLflow server that `store` speaks with."""

    def __init__(self, store: MlflowStore, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def publish(self, target: str, parcel: Parcel, settle: Settle) -> Published:
        """A run with all files, then the version; a run that was begun for these files is finished."""
        host, name = _target(target)
        answer = self._post(host, "mlflow/registered-models/create", {"name": name})
        if answer.status != 200 and b"RESOURCE_ALREADY_EXISTS" not in answer.body:
            self._store.answered(answer, target)
        number = next(
            (n for n, tags in self._versions(host, name, target) if tags.get(DIGEST_TAG) == parcel.digest), ""
        )
        if number:
            return self._again(host, name, number, parcel, settle)
        run, root, known = self._run(host, name, parcel, target)
        sent = 0
        for file in parcel.files:
            if file.path not in known:
                with (parcel.folder / file.path).open("rb") as source:
                    self._put(host, f"{root}/{_FILES}/{file.path}", watched(source, file))
                sent += 1
        for item, data in sorted(parcel.evidence.items()):
            body = Sending(BytesIO(data), len(data))
            self._put(host, f"{root}/{_EVIDENCE}/{parcel.hex}/{item}", body)
        tags = [{"key": DIGEST_TAG, "value": parcel.digest}, {"key": VERDICT_TAG, "value": parcel.verdict}]
        source_uri = f"mlflow-artifacts:/{root}/{_FILES}"
        made = {"name": name, "source": source_uri, "run_id": run, "tags": tags}
        document = self._store.answered(self._post(host, "mlflow/model-versions/create", made), target)
        version = document.get("model_version")
        number = str(version.get("version", "")) if isinstance(version, dict) else ""
        if not number.isdigit():
            raise ArtifactError("the server names no version for what was registered", where=target)
        now = int(self._clock.now().timestamp() * 1000)
        self._post(host, "mlflow/runs/update", {"run_id": run, "status": "FINISHED", "end_time": now})
        reference = f"mlflow://{host}/{quote(name, safe=' ')}/{number}@{parcel.digest}"
        return Published(reference, sent + len(parcel.evidence), len(parcel.files) - sent)

    def evidence(self, reference: str, digest: str) -> tuple[tuple[str, bytes], ...]:
        """What lies in `.evidence` beside the folder of a version's files."""
        host, name = _target(reference)
        if urlsplit(reference).path.count("/") == 1 and "@" not in reference.partition("@sha256:")[0]:
            number = self._registered(host, name, digest, reference)
            if not number:
                return ()
        else:
            plain = reference.partition("@sha256:")[0]
            number = str(self._store.found(Address.parse(plain), plain).get("version", ""))
        root = self._root(host, name, number, reference)
        if root is None:
            return ()
        return tuple(self._read(host, f"{root}/{_EVIDENCE}/{digest.removeprefix('sha256:')}", reference))

    def exposure(self, reference: str, *, probe: bool = False) -> Exposure:
        """Whether it answers a stranger: it is asked without the login, and nothing is written."""
        del probe
        return self._store.exposure(urlsplit(reference).netloc)

    def _again(self, host: str, name: str, number: str, parcel: Parcel, settle: Settle) -> Published:
        reference = f"mlflow://{host}/{quote(name, safe=' ')}/{number}"
        located = self._store.locate(reference)
        if not self._same(located, parcel, whole=True):
            raise TamperError(
                f"the version {number} says that it has the digest {parcel.digest}, and its files do not",
                where=reference,
                hint="somebody wrote it, or changed it since: look at it, and delete it before registering again",
            )
        root = self._root(host, name, number, reference)
        listed = self.evidence(f"{reference}@{parcel.digest}", parcel.digest)
        kept, evidence, sent = dict(listed), settle(listed), 0
        for item, data in sorted(evidence.items()):
            if data in kept.values() or root is None:
                continue
            stored = item if item not in kept else f"oci-{bytes_digest(data)[7:23]}.sigstore.json"
            self._put(host, f"{root}/{_EVIDENCE}/{parcel.hex}/{stored}", Sending(BytesIO(data), len(data)))
            sent += 1
        return Published(f"{reference}@{parcel.digest}", sent, len(parcel.files) + len(evidence) - sent)

    def _run(self, host: str, name: str, parcel: Parcel, where: str) -> tuple[str, str, frozenset[str]]:
        """The run to go on with, the place of its artifacts, and which files are there; a new one if none is ours."""
        wanted = {DIGEST_TAG: parcel.digest, MODEL_TAG: name}
        said = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
        asked = {"experiment_ids": [_EXPERIMENT], "filter": f"{said} and status = 'RUNNING'", "max_results": 10}
        begun = self._store.answered(self._post(host, "mlflow/runs/search", asked), where).get("runs") or []
        for item in begun if isinstance(begun, list) else []:
            run, root = _info(item, where)
            files = tuple(self._listed(host, f"{root}/{_FILES}", where))
            located = Located(f"mlflow://{host}/{name}", files)
            if self._same(located, parcel, whole=False):
                return run, root, frozenset(file.path for file in files)
        tags = [{"key": key, "value": value} for key, value in wanted.items()]
        now = int(self._clock.now().timestamp() * 1000)
        body = {"experiment_id": _EXPERIMENT, "run_name": f"customhouse {name}"[:250], "start_time": now, "tags": tags}
        made = self._store.answered(self._post(host, "mlflow/runs/create", body), where).get("run")
        run, root = _info(made, where)
        return run, root, frozenset()

    def _same(self, located: Located, parcel: Parcel, *, whole: bool) -> bool:
        """Whether the files there are those of the parcel, all of them or some."""
        ours = {file.path: file for file in parcel.files}
        if whole and {file.path for file in located.files} != ours.keys():
            return False
        return all(file.path in ours and self._is(located, file, ours[file.path]) for file in located.files)

    def _is(self, located: Located, there: RemoteFile, file: FileEntry) -> bool:
        return there.size == file.size and is_there(file, lambda take: self._store.fetch(located, there, take))

    def _registered(self, host: str, name: str, digest: str, where: str) -> str:
        """The newest version that says it has this digest; empty without one."""
        return next((n for n, tags in self._versions(host, name, where) if tags.get(DIGEST_TAG) == digest), "")

    def _versions(self, host: str, name: str, where: str) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Each version with its tags, the newest first."""
        token = ""
        for _ in range(_MAX_PAGES):
            asked = {"filter": f"name='{name}'", "max_results": "1000", **({"page_token": token} if token else {})}
            page = self._store.get(host, "mlflow/model-versions/search", asked)
            for item in page.get("model_versions") or []:
                if isinstance(item, dict) and item.get("name") == name:
                    tags = [tag for tag in item.get("tags") or [] if isinstance(tag, dict)]
                    yield str(item.get("version", "")), {str(t.get("key")): str(t.get("value")) for t in tags}
            token = str(page.get("next_page_token") or "")
            if not token:
                return
        raise ArtifactError(f"more than {_MAX_PAGES} pages of versions", where=where)

    def _root(self, host: str, name: str, number: str, where: str) -> str | None:
        """The folder of the proxy that the files' folder lies in; None where they lie elsewhere."""
        asked = {"name": name, "version": number}
        place = self._store.get(host, "mlflow/model-versions/get-download-uri", asked).get("artifact_uri")
        parts = urlsplit(place if isinstance(place, str) else "")
        folder, _, last = parts.path.strip("/").rpartition("/")
        return folder if parts.scheme == "mlflow-artifacts" and folder and last == _FILES else None

    def _read(self, host: str, folder: str, where: str) -> Iterator[tuple[str, bytes]]:
        listed = [file for file in self._listed(host, folder, where) if "/" not in file.path]
        if len(listed) > MAX_EVIDENCE_FILES:
            raise ArtifactError(f"more than {MAX_EVIDENCE_FILES} files of evidence", where=where)
        for file in listed:
            if file.size <= MAX_EVIDENCE_FILE:
                data = bytearray()
                self._store.fetch(Located(f"mlflow://{host}/", ()), file, data.extend)
                yield file.path, bytes(data)

    def _listed(self, host: str, folder: str, where: str) -> Iterator[RemoteFile]:
        try:
            yield from self._store.files(host, folder, where)
        except ArtifactError as error:
            if "answers 404" not in error.message:  # no such folder
                raise

    def _put(self, host: str, path: str, body: Sending) -> None:
        answer = self._store.call(
            "PUT", host, f"mlflow-artifacts/artifacts/{quote(path)}", body=body, timeout_s=60 + body.size / 1e6
        )
        if answer.status != 200:
            raise refused(answer, f"mlflow://{host} {path}")

    def _post(self, host: str, path: str, body: Mapping[str, Any]) -> Answer:
        return self._store.call("POST", host, path, body=canonical_json(body))


def _target(text: str) -> tuple[str, str]:
    parts = urlsplit(text.partition("@")[0])
    name = parts.path.removeprefix("/").partition("/")[0]
    if parts.scheme != "mlflow" or not parts.netloc or not name or set(name) & set("'\"`:%?#"):
        raise UsageError(f"{text[:200]!r} is no model of MLflow", hint="mlflow://HOST/NAME, or models:/NAME")
    return parts.netloc, name


def _info(run: Any, where: str) -> tuple[str, str]:
    """A run's id, and the folder of its artifacts in the server's proxy."""
    info = run.get("info") if isinstance(run, dict) else None
    info = info if isinstance(info, dict) else {}
    identity, place = info.get("run_id"), str(info.get("artifact_uri", ""))
    parts = urlsplit(place)
    if not isinstance(identity, str) or parts.scheme != "mlflow-artifacts":
        raise ArtifactError(
            f"the server keeps files of runs at {parts.scheme or 'nowhere'}:, which is not written here",
            where=where,
            hint="start it with --serve-artifacts, so that files go through its proxy",
        )
    return identity, parts.path.strip("/")
