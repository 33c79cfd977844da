"""Git objects that prove themselves: a commit's id is the hash of its bytes, and leads by trees to the bytes of a file.

No git program and no repository is needed. SHA-1 is what most repositories have; whoever can make collisions of it (git
refuses the known kind) can make two files for one id. Signatures of commits are checked for SSH keys (Ed25519, ECDSA,
RSA), from the specification PROTOCOL.sshsig of OpenSSH; OpenPGP is left to the gate that saw the commit.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from customhouse._kit.commit_object import split_commit
from customhouse.core.errors import TamperError

MAX_TREE = 200_000
"""Entries of one tree that are looked through."""
_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_HEAD = re.compile(rb"(commit|tree|blob) (0|[1-9][0-9]{0,12})\0")
_SSH_BEGIN = b"-----BEGIN SSH SIGNATURE-----\n"
_SSH_END = b"-----END SSH SIGNATURE-----"
_NAMESPACES = re.compile(r'namespaces="([^"]*)"', re.IGNORECASE)
_TREE_MODE = b"40000"
_FILE_MODES = (b"100644", b"100755", b"100664")


def object_id(raw: bytes, like: str) -> str:
    """The id of an object's raw bytes (header and content), by SHA-1 or SHA-256 as long as `like` is."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(algorithm, raw, usedforsecurity=algorithm != "sha1").hexdigest()


@dataclass(slots=True)
class Objects:
    """Objects by their id. Each is checked when it is first used, and `used` remembers which were."""

    raw: Mapping[str, bytes]
    used: set[str] = field(default_factory=set)
    _checked: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    _trees: dict[str, dict[bytes, tuple[bytes, str]]] = field(default_factory=dict)

    def read(self, name: str, kind: bytes) -> bytes:
        """The content of an object of a kind. Raises KeyError when it is not here, TamperError when it is another."""
        if name not in self._checked:
            raw = self.raw[name]
            head = _HEAD.match(raw)
            if not _ID.fullmatch(name) or head is None or len(raw) - head.end() != int(head[2]):
                raise TamperError("not a git object", where=f"object {name[:64]}")
            if object_id(raw, name) != name:
                raise TamperError("its bytes are not those that its id names", where=f"object {name}")
            self._checked[name] = (head[1], raw[head.end() :])
        found, content = self._checked[name]
        if found != kind:
            raise TamperError(f"a {found.decode()} where a {kind.decode()} belongs", where=f"object {name}")
        self.used.add(name)
        return content

    def commit(self, name: str) -> Commit:
        """The commit of an id."""
        return read_commit(self.read(name, b"commit"))

    def file(self, commit: str, path: str) -> bytes:
        """The bytes of a file as a commit has it. Raises KeyError for an object that is not here, TamperError."""
        at = self.commit(commit).tree
        parts = path.split("/")
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            wanted = _FILE_MODES if last else (_TREE_MODE,)
            mode, child = self._tree(at).get(part.encode(), (b"", ""))
            if mode not in wanted:
                raise TamperError(f"the commit has no file {path[:200]!r}", where=f"commit {commit[:12]}")
            at = child
        return self.read(at, b"blob")

    def _tree(self, name: str) -> dict[bytes, tuple[bytes, str]]:
        content = self.read(name, b"tree")
        if name not in self._trees:
            self._trees[name] = {part: (mode, child) for mode, part, child in tree_entries(content, len(name) // 2)}
        return self._trees[name]


def tree_entries(content: bytes, width: int) -> Iterator[tuple[bytes, bytes, str]]:
    """(mode, name, id) of a tree. Raises TamperError."""
    at = count = 0
    while at < len(content):
        space, end = content.find(b" ", at, at + 8), content.find(b"\0", at, at + 4200)
        count += 1
        if space < 0 or end < space or end + 1 + width > len(content) or count > MAX_TREE:
            raise TamperError("not a tree")
        yield content[at:space], content[space + 1 : end], content[end + 1 : end + 1 + width].hex()
        at = end + 1 + width


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit object says. `payload` is what `signature` (armoured, or empty) was made over."""

    tree: str
    parents: tuple[str, ...]
    author: str
    subject: str
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read_commit(content: bytes) -> Commit:
    """Read a commit object. Raises TamperError for one that is none, or has two signatures."""
    found = split_commit(content)
    said: dict[bytes, list[bytes]] = {}
    for line in found.headers:
        name, _, value = line.partition(b" ")
        said.setdefault(name, []).append(value)
    trees = said.get(b"tree", [])
    parents = tuple(item.decode("ascii", "replace") for item in said.get(b"parent", []))
    if (
        len(trees) != 1
        or len(found.signatures) > 1
        or not all(map(_ID.fullmatch, (trees[0].decode("latin-1"), *parents)))
    ):
        raise TamperError("not a commit")
    author = said.get(b"author", [b""])[0].decode("utf-8", "replace").rpartition(">")[0] + ">"
    subject = found.message.lstrip(b"\n").partition(b"\n")[0].decode("utf-8", "replace")[:200]
    signature = found.signatures[0] if found.signatures else b""
    return Commit(trees[0].decode(), parents, author, subject, found.payload, signature)


@dataclass(frozen=True, slots=True)
class SshSignature:
    """An SSH signature as read: the signer's key as authorized_keys writes it (`ssh-ed25519 AAAA…`)."""

    key: str
    namespace: bytes
    hash_name: str
    kind: bytes
    value: bytes

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as ssh-keygen shows it."""
        blob = base64.b64decode(self.key.partition(" ")[2])
        return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def read_ssh_signature(armoured: bytes) -> SshSignature | None:
    """The signature; None for another kind (OpenPGP, X.509). Raises TamperError for a malformed one."""
    if not armoured.startswith(_SSH_BEGIN):
        return None
    body, end, _ = armoured.removeprefix(_SSH_BEGIN).partition(_SSH_END)
    try:
        data = base64.b64decode(body.replace(b"\n", b""), validate=True)
        if not end or not data.startswith(b"SSHSIG\x00\x00\x00\x01"):
            raise ValueError("not version 1")  # noqa: TRY301 - one way out for all that is malformed
        key, namespace, _, hash_name, blob = _strings(data[10:], 5)
        kind, value = _strings(blob, 2) if not blob.startswith(b"\0\0\0\x1ask-") else (b"sk", b"")
        key_kind = _strings(key, 1, rest=True)[0].decode("ascii")
    except ValueError as error:
        raise TamperError("a malformed SSH signature") from error
    text = f"{key_kind} {base64.b64encode(key).decode()}"
    return SshSignature(text, namespace, hash_name.decode("ascii", "replace"), kind, value)


def ssh_verifies(signature: SshSignature, payload: bytes) -> bool | None:
    """Whether its own key signed the payload for git; None for a kind that is not checked here (hardware keys)."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    if signature.namespace != b"git" or signature.hash_name not in ("sha256", "sha512"):
        return False
    digest = hashlib.new(signature.hash_name, payload).digest()
    message = b"SSHSIG" + b"".join(map(_string, (b"git", b"", signature.hash_name.encode(), digest)))
    try:
        key = load_ssh_public_key(signature.key.encode())
        if isinstance(key, ed25519.Ed25519PublicKey) and signature.kind == b"ssh-ed25519":
            key.verify(signature.value, message)
        elif isinstance(key, ec.EllipticCurvePublicKey) and signature.kind.startswith(b"ecdsa-sha2-"):
            r, s = (int.from_bytes(part, "big") for part in _strings(signature.value, 2))
            used = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
            key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(used))
        elif isinstance(key, rsa.RSAPublicKey) and signature.kind in (b"rsa-sha2-256", b"rsa-sha2-512"):
            strength = hashes.SHA256() if signature.kind.endswith(b"256") else hashes.SHA512()
            key.verify(signature.value, message, padding.PKCS1v15(), strength)
        else:
            return None
    except InvalidSignature:
        return False
    except (ValueError, KeyError, UnsupportedAlgorithm):
        return None
    return True


def principals(allowed_signers: bytes, key: str) -> tuple[str, ...]:
    """Whom a file of allowed signers (ssh-keygen's format) names as the owner of a key for git, in its order.

    Authorities and lines that hold for a time only are passed over: what they allow is not looked at here.
    """
    found = []
    for line in allowed_signers.decode("utf-8", "replace").splitlines():
        owner, _, rest = line.strip().partition(" ")
        options, known, _ = f" {rest} ".partition(f" {key} ")
        if not owner or owner.startswith("#") or not known:
            continue
        namespaces = _NAMESPACES.search(options)
        others = options.replace(namespaces[0], "") if namespaces else options
        spaces = namespaces[1].split(",") if namespaces else ["git"]
        if not others.strip(" ,") and any(fnmatchcase("git", space.strip()) for space in spaces):
            found.append(owner)
    return tuple(found)


def _strings(data: bytes, count: int, *, rest: bool = False) -> list[bytes]:
    found, at = [], 0
    for _ in range(count):
        size = int.from_bytes(data[at : at + 4], "big")
        if len(data) < at + 4 + size:
            raise ValueError("cut off")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(data) and not rest:
        raise ValueError("more than belongs there")
    return found


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
