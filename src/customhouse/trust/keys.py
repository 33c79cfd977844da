"""Keys: Ed25519 and ECDSA pairs that sign, and trust roots that say who may sign what.

New keys are Ed25519 (RFC 8032) or ECDSA P-256 with SHA-256; signatures of P-384, P-521 and RSA keys (2,048 bits or
more) are verified too, since the field's models and images carry them. A private key leaves this module only as a PEM
file that its owner alone may read.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from customhouse._kit.reading import open_regular
from customhouse.core.errors import ConfigError, StateError, UsageError
from customhouse.core.evidence import EvidenceKind

MAX_PEM_BYTES = 64 * 1024
ALL_KINDS = frozenset(EvidenceKind)


class Algorithm(StrEnum):
    """What a key signs with; names and hashes as in Sigstore's `PublicKeyDetails`."""

    ED25519 = "PKIX_ED25519"
    ECDSA_P256 = "PKIX_ECDSA_P256_SHA_256"
    ECDSA_P384 = "PKIX_ECDSA_P384_SHA_384"
    ECDSA_P521 = "PKIX_ECDSA_P521_SHA_512"
    RSA = "PKIX_RSA_PKCS1V15_SHA256"
    """Of any length that is taken; a signature with PSS padding is taken as well."""


_CURVES: dict[str, tuple[Algorithm, hashes.HashAlgorithm]] = {
    "secp256r1": (Algorithm.ECDSA_P256, hashes.SHA256()),
    "secp384r1": (Algorithm.ECDSA_P384, hashes.SHA384()),
    "secp521r1": (Algorithm.ECDSA_P521, hashes.SHA512()),
}
_PrivateHandle = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_PublicHandle = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_RSA_BITS = (2048, 8192)
"""Shorter ones can be factored (NIST SP 800-131A); longer ones cost a verifier seconds."""
_KINDS_OF_KEY = "use Ed25519, ECDSA on P-256, P-384 or P-521, or RSA of 2048 to 8192 bits"


class PublicKey:
    """A key that verifies. Equal when the SPKI DER is equal."""

    __slots__ = ("_handle", "algorithm", "der")

    def __init__(self, handle: object, where: str = "") -> None:
        """Take a `cryptography` public key. Raises ConfigError for a kind of key that is not used here."""
        if isinstance(handle, ed25519.Ed25519PublicKey):
            self.algorithm = Algorithm.ED25519
        elif isinstance(handle, ec.EllipticCurvePublicKey) and handle.curve.name in _CURVES:
            self.algorithm = _CURVES[handle.curve.name][0]
        elif isinstance(handle, rsa.RSAPublicKey) and _fair(handle):
            self.algorithm = Algorithm.RSA
        else:
            raise ConfigError("this kind of key is not used here", where=where, hint=_KINDS_OF_KEY)
        self._handle: _PublicHandle = handle
        self.der = handle.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_pem(cls, pem: bytes, where: str = "") -> PublicKey:
        """Read a PEM `PUBLIC KEY`. Raises ConfigError; a private key is refused, for it must not be shared."""
        if len(pem) > MAX_PEM_BYTES:
            raise ConfigError("the key file is larger than any key", where=where)
        if b"PRIVATE KEY" in pem:
            raise ConfigError("a private key where a public one belongs", where=where, hint="export the public half")
        try:
            return cls(serialization.load_pem_public_key(pem), where)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError("not a PEM public key", where=where, hint="it starts with BEGIN PUBLIC KEY") from error

    @classmethod
    def from_der(cls, der: bytes, where: str = "") -> PublicKey:
        """Read an SPKI (or, for RSA, a PKCS#1) public key. Raises ConfigError."""
        try:
            return cls(serialization.load_der_public_key(der), where)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError("not a DER public key", where=where, hint=_KINDS_OF_KEY) from error

    @property
    def key_id(self) -> str:
        """The sha256 of the SPKI DER, 64 hex digits: what bundles name the key by."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def raw(self) -> bytes:
        """The 32 bytes of an Ed25519 key. Raises UsageError for others."""
        if not isinstance(self._handle, ed25519.Ed25519PublicKey):
            raise UsageError("only an Ed25519 key has a raw form", hint="a ledger is signed with Ed25519")
        return self._handle.public_bytes_raw()

    def pem(self) -> bytes:
        """The key as PEM."""
        return self._handle.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def verify(self, message: bytes, signature: bytes, *, sha256: bool = False) -> bool:
        """Whether `signature` (raw Ed25519, DER ECDSA) is this key's over `message`.

        `sha256`: ECDSA with SHA-256 on every curve, as tools before 2025 wrote it.
        """
        if isinstance(self._handle, ed25519.Ed25519PublicKey):
            try:
                self._handle.verify(signature, message)
            except InvalidSignature:
                return False
            return True
        hasher = hashes.Hash(hashes.SHA256() if sha256 else self._hash())
        hasher.update(message)
        return self._verify_hash(hasher.finalize(), signature, hashes.SHA256() if sha256 else self._hash())

    @property
    def hash_name(self) -> str:
        """The hash that signatures of this key are over: sha256, sha384, sha512; empty for Ed25519 (the message)."""
        return "" if isinstance(self._handle, ed25519.Ed25519PublicKey) else self._hash().name

    def verify_digest(self, digest: bytes, signature: bytes, *, sha256: bool = False) -> bool:
        """Whether `signature` is this key's over the message that has this digest (of `hash_name`, or sha256).

        False for Ed25519, which signs messages and no digests (`sigstore.ed25519ph` has what signs digests).
        """
        used = hashes.SHA256() if sha256 else self._hash()
        if isinstance(self._handle, ed25519.Ed25519PublicKey) or len(digest) != used.digest_size:
            return False
        return self._verify_hash(digest, signature, used)

    def _hash(self) -> hashes.HashAlgorithm:
        if isinstance(self._handle, ec.EllipticCurvePublicKey):
            return _CURVES[self._handle.curve.name][1]
        return hashes.SHA256()

    def _verify_hash(self, digest: bytes, signature: bytes, used: hashes.HashAlgorithm) -> bool:
        handle = self._handle
        if isinstance(handle, ec.EllipticCurvePublicKey):
            return _holds(lambda: handle.verify(signature, digest, ec.ECDSA(Prehashed(used))))
        if isinstance(handle, rsa.RSAPublicKey):
            pss = padding.PSS(padding.MGF1(used), padding.PSS.AUTO)
            return any(
                _holds(lambda way=way: handle.verify(signature, digest, way, Prehashed(used)))  # type: ignore[misc]
                for way in (padding.PKCS1v15(), pss)
            )
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"PublicKey({self.algorithm.value}, {self.key_id[:12]}…)"


def _fair(key: rsa.RSAPublicKey) -> bool:
    """Whether an RSA key is neither too weak nor made to keep a verifier busy."""
    return _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1] and key.public_numbers().e < 1 << 32


def _holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except (InvalidSignature, ValueError):
        return False
    return True


class PrivateKey:
    """A key that signs. Its repr shows the public half only."""

    __slots__ = ("_handle", "public")

    def __init__(self, handle: object, where: str = "") -> None:
        """Take a `cryptography` private key. Raises ConfigError for a kind of key that is not used here."""
        if not isinstance(handle, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            raise ConfigError("this kind of key is not used here", where=where, hint="use Ed25519 or ECDSA P-256")
        self._handle: _PrivateHandle = handle
        self.public = PublicKey(handle.public_key(), where)

    def sign(self, message: bytes) -> bytes:
        """Raw Ed25519, or DER ECDSA with the hash of the curve, or RSA PKCS #1 v1.5 with SHA-256."""
        if isinstance(self._handle, ed25519.Ed25519PrivateKey):
            return self._handle.sign(message)
        if isinstance(self._handle, rsa.RSAPrivateKey):
            return self._handle.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return self._handle.sign(message, ec.ECDSA(_CURVES[self._handle.curve.name][1]))

    def sign_digest(self, digest: bytes) -> bytes:
        """The same over a message of which only the digest (of the public half's `hash_name`) is at hand.

        Raises UsageError for Ed25519, which signs messages and no digests.
        """
        if isinstance(self._handle, ec.EllipticCurvePrivateKey):
            return self._handle.sign(digest, ec.ECDSA(Prehashed(_CURVES[self._handle.curve.name][1])))
        if isinstance(self._handle, rsa.RSAPrivateKey):
            return self._handle.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        raise UsageError("an Ed25519 key signs messages and no digests", hint="sign the bytes, or with an ECDSA key")

    def save(self, path: Path) -> None:
        """Write an unencrypted PKCS#8 PEM, mode 0600, all or nothing; an existing file is never replaced.

        Raises StateError when it exists or cannot be written.
        """
        pem = self._handle.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write_new(path, pem, 0o600)

    def __repr__(self) -> str:
        return f"PrivateKey(of {self.public!r})"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not serialised")


def generate(algorithm: Algorithm = Algorithm.ED25519) -> PrivateKey:
    """A new pair from the operating system's randomness. Raises UsageError for curves that are only verified."""
    if algorithm is Algorithm.ED25519:
        return PrivateKey(ed25519.Ed25519PrivateKey.generate())
    if algorithm is Algorithm.ECDSA_P256:
        return PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    raise UsageError(f"no new keys of {algorithm.value}", hint="use Ed25519 or ECDSA P-256")


def generate_pair(folder: Path, name: str, algorithm: Algorithm = Algorithm.ED25519) -> PrivateKey:
    """Generate and save `NAME.key` (0600) and `NAME.pub` (0644) in `folder`. Raises StateError when one exists."""
    key = generate(algorithm)
    key.save(folder / f"{name}.key")
    _write_new(folder / f"{name}.pub", key.public.pem(), 0o644)
    return key


def open_pair(folder: Path, name: str) -> PrivateKey:
    """The key of `NAME.key`, made the first time; `NAME.pub` is written when it is missing.

    For keys that a process makes for itself: it may be killed between the two files, or start twice at once.
    Raises ConfigError or StateError.
    """
    path = folder / f"{name}.key"
    if not path.exists():
        try:
            generate().save(path)
        except StateError:
            if not path.exists():  # else another process was quicker, and its key is the one
                raise
    key = load_private(path)
    public = folder / f"{name}.pub"
    try:
        _write_new(public, key.public.pem(), 0o644)
    except StateError:
        if not public.exists():
            raise
        if load_public(public) != key.public:
            raise ConfigError("this is not the public half of the key beside it", where=str(public)) from None
    return key


def load_private(path: Path, password: bytes | None = None) -> PrivateKey:
    """Read a PEM private key. Raises ConfigError when missing, readable by others, encrypted without password, wrong.

    The message never holds a byte of the file.
    """
    try:
        opened = open_regular(path)
    except OSError as error:
        raise ConfigError(f"cannot read the key: {error.strerror}", where=str(path)) from error
    with opened as handle:
        if os.fstat(handle.fileno()).st_mode & 0o077:
            raise ConfigError("others can read this private key", where=str(path), hint=f"chmod 600 {path}")
        pem = handle.read(MAX_PEM_BYTES + 1)
    if len(pem) > MAX_PEM_BYTES:
        raise ConfigError("the key file is larger than any key", where=str(path))
    try:
        return PrivateKey(serialization.load_pem_private_key(pem, password), str(path))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not chained: the library's text could quote what it could not parse.
        if password is None and b"ENCRYPTED" in pem:
            raise ConfigError(
                "the private key is encrypted with a password, and is asked for without one",
                where=str(path),
                hint="`image sign` takes cosign's cosign.key with COSIGN_PASSWORD; other keys are PEM without a "
                f"password, kept by mode 0600: openssl pkey -in {path} -out plain.pem",
            ) from None
        raise ConfigError(
            "not a PEM private key, or its password is wrong", where=str(path), hint="PKCS#8 PEM is expected"
        ) from None


def load_public(path: Path) -> PublicKey:
    """Read a PEM public key. Raises ConfigError when missing or wrong."""
    try:
        with open_regular(path) as handle:
            pem = handle.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the key: {error.strerror}", where=str(path)) from error
    return PublicKey.from_pem(pem, str(path))


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """A public key of the base revision's trust roots, and the kinds of evidence that it may sign (none: nothing).

    Raises ConfigError when the PEM is wrong.
    """

    name: str
    public_key: bytes
    kinds: frozenset[EvidenceKind] = ALL_KINDS
    key: PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", PublicKey.from_pem(self.public_key, f"trust root {self.name}"))


def _write_new(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.link(draft, path)  # fails when the name is taken, unlike rename
    except OSError as error:
        if path.exists():
            raise StateError("the key exists already", where=str(path), hint="choose another name") from error
        raise StateError(f"cannot write the key: {error.strerror}", where=str(path)) from error
    finally:
        with suppress(OSError):  # it was not made, or its folder is none
            draft.unlink()
