"""Model hubs that speak Hugging Face's HTTP API: a branch or tag becomes a commit once, files are checked as they come.

`GET /api/models/REPO/revision/REV?blobs=true` lists a commit's files: large ones (LFS) with their SHA-256, small ones
with Git's blob id, which is checked too. Licence, base model and custom code are told as what they are: claims.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from customhouse._kit.http import Answer, HttpError, is_loopback, request
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.remote import Exposure, Located, RemoteFile, Take

HUB = "https://huggingface.co"
MAX_FILES = 10_000
_MAX_ANSWER = 16 << 20
_MAX_LISTED = 50
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_REVISION = re.compile(r"[\w][\w./-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubModel:
    """`hf://ORG/NAME@REVISION`; without a revision the hub's default branch."""

    repository: str
    revision: str = "main"

    @classmethod
    def parse(cls, reference: str) -> HubModel:
        """Raises UsageError."""
        repository, _, revision = reference.removeprefix("hf://").partition("@")
        if not _REPOSITORY.fullmatch(repository) or (revision and not _REVISION.fullmatch(revision)):
            raise UsageError(f"{reference[:200]!r} is no model of a hub", hint="hf://ORG/NAME@REVISION")
        return cls(repository, revision or "main")


class HubStore:
    """One hub. The token goes to its host alone; files may come from its object store, over https."""

    def __init__(
        self, base: str = HUB, token: str = "", *, authority: str | None = None, timeout_s: float = 60.0
    ) -> None:
        self._base, self._token = base.rstrip("/"), token
        self._authority, self._timeout_s = authority, timeout_s

    def locate(self, reference: str) -> Located:
        """The commit that a revision names now, and its files."""
        model = HubModel.parse(reference)
        path = f"api/models/{model.repository}/revision/{quote(model.revision, safe='')}?blobs=true"
        answer = self._call(path)
        if answer.status != 200:
            raise self._refused(answer, reference)
        try:
            document = answer.json()
        except HttpError as error:
            raise ArtifactError(str(error), where=reference) from error
        commit = document.get("sha") if isinstance(document, dict) else None
        listed = document.get("siblings") if isinstance(document, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or not isinstance(listed, list):
            raise ArtifactError("the answer names no commit with its files", where=reference)
        if _COMMIT.fullmatch(model.revision) and commit != model.revision:
            raise ArtifactError(f"the hub gave the commit {commit} for {model.revision}", where=reference)
        if not 0 < len(listed) <= MAX_FILES:
            raise ArtifactError(f"it has {len(listed)} files; 1 to {MAX_FILES} are read", where=reference)
        files = tuple(_file(item, reference) for item in listed)
        return Located(f"hf://{model.repository}@{commit}", files, _claims(document, files))

    def fetch(self, located: Located, file: RemoteFile, take: Take) -> None:
        """One file of the commit, held against its size and the id that the commit has for it."""
        model = HubModel.parse(located.reference)
        if not _COMMIT.fullmatch(model.revision):
            raise ArtifactError("only files of a commit are fetched", where=located.reference)
        where = f"{located.reference} {file.path}"
        came, blob = 0, hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

        def piece(data: bytes) -> None:
            nonlocal came
            came += len(data)
            if came > file.size:
                raise ArtifactError(f"more came than the {file.size} bytes that it said", where=where)
            blob.update(data)
            take(data)

        answer = self._call(
            f"{model.repository}/resolve/{model.revision}/{quote(file.path)}",
            sink=piece,
            max_bytes=file.size + _MAX_ANSWER,
            timeout_s=self._timeout_s + file.size / 1e6,
        )
        if answer.status != 200:
            raise self._refused(answer, where)
        if came != file.size:
            raise ArtifactError(f"{came} bytes came of {file.size}", where=where)
        if file.digest is None and blob.hexdigest() != file.pin.get("blob"):
            raise ArtifactError(f"what came is not the blob {file.pin.get('blob')} of the commit", where=where)

    def exposure(self) -> Exposure:
        """A hub tells nobody who may write."""
        return Exposure(notes=("who may write to a repository of a hub is known to its owners alone",))

    def _call(
        self, path: str, *, sink: Take | None = None, max_bytes: int = _MAX_ANSWER, timeout_s: float | None = None
    ) -> Answer:
        try:
            return request(
                "GET",
                f"{self._base}/{path}",
                headers={"Authorization": f"Bearer {self._token}"} if self._token else {},
                timeout_s=timeout_s or self._timeout_s,
                max_bytes=max_bytes,
                authority=self._authority,
                redirects=_to_its_store if sink is not None else _nowhere,
                sink=sink,
            )
        except HttpError as error:
            raise ArtifactError(str(error), where=self._base) from error

    def _refused(self, answer: Answer, where: str) -> ArtifactError:
        denied = answer.status in (401, 403)
        code = answer.headers.get("x-error-code", "")
        reason = f" ({code})" if re.fullmatch(r"[A-Za-z]{1,40}", code) else ""
        return ArtifactError(
            f"the hub answers {answer.status}{reason}",
            where=where,
            hint="it is private, gated or not there: give a token (HF_TOKEN) of somebody who may read it"
            if denied
            else "",
        )


def _file(item: Any, where: str) -> RemoteFile:
    try:
        path, size, blob, large = item["rfilename"], item["size"], item["blobId"], item.get("lfs")
        digest = None if large is None else f"sha256:{large['sha256']}"
        fits = isinstance(path, str) and path.isprintable() and isinstance(size, int) and size >= 0
        fits = fits and bool(_COMMIT.fullmatch(blob))
        fits = fits and (digest is None or re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is not None)
    except (KeyError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise ArtifactError("a file without a name, a size or an id", where=where)
    return RemoteFile(path, size, digest, {"blob": blob})


def _claims(document: dict[str, Any], files: tuple[RemoteFile, ...]) -> dict[str, Any]:
    """What the page of a model says, bounded; `customCode` and `gated` are the hub's own words."""
    card = document.get("cardData")
    card = card if isinstance(card, dict) else {}
    base = card.get("base_model")
    bases = [base] if isinstance(base, str) else [item for item in base or [] if isinstance(item, str)]
    tags = [tag for tag in document.get("tags") or [] if isinstance(tag, str)]
    names = {file.path for file in files}
    weights = {name for name in names if name.endswith(".safetensors")}
    said: dict[str, Any] = {
        "registry": "hub",
        "licence": _licence(card.get("license"), tags)[:100],
        "licenceFile": next((name for name in sorted(names) if name.upper().startswith(("LICENSE", "LICENCE"))), ""),
        "baseModels": [item[:200] for item in bases[:_MAX_LISTED]],
        "datasets": [str(item)[:200] for item in card.get("datasets") or [] if isinstance(item, str)][:_MAX_LISTED],
        "gated": bool(document.get("gated")),
        "customCode": "custom_code" in tags,
        "picklesBesideSafetensors": sorted(n for n in names if n.endswith((".bin", ".pt", ".pth", ".pkl")))[
            :_MAX_LISTED
        ]
        if weights
        else [],
    }
    return {key: value for key, value in said.items() if value}


def _licence(said: Any, tags: list[str]) -> str:
    """One licence, or several that all hold: a list does not say that one may choose."""
    given = said if isinstance(said, list) else [said] if said else []
    listed = [item for item in given if isinstance(item, str)]
    if given and len(listed) != len(given):
        return ""
    return " AND ".join(listed or [tag[8:] for tag in tags if tag.startswith("license:")])


def _nowhere(_: str, __: str) -> bool:
    return False


def _to_its_store(before: str, after: str) -> bool:
    """Large files are kept elsewhere; https alone, and no host of this machine unless the hub is one."""
    host, own = urlsplit(after).hostname or "", is_loopback(urlsplit(before).hostname or "")
    return own if is_loopback(host) else urlsplit(after).scheme == "https"
