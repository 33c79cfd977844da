"""What the signature of a commit is worth: SSH through ssh-keygen, OpenPGP through gpg, each in a folder of its own.

The payload is the commit object without its signature header, as git signs it (`gpgsig`, and `gpgsig-sha256` of
repositories in transition). git's own `verify-commit` is not asked: it reads keys from configuration and trusts the
date that the signer wrote.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from customhouse._kit.commit_object import split_commit
from customhouse._kit.process import Finished, ProgramError, ProgramMissingError, run
from customhouse.control.adapters.git_program import git_environment
from customhouse.core.change import SignatureState
from customhouse.core.errors import SourceError

_SSH = b"-----BEGIN SSH SIGNATURE-----"
_PGP = (b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN PGP MESSAGE-----")
_MAX_KEYS = 1024 * 1024
_TIMEOUT_S = 20.0
_ANY = tuple(range(256))
# gpg's --status-fd words (doc/DETAILS): which end of the verification each one means.
_GPG_UNTRUSTED = ("NO_PUBKEY", "EXPKEYSIG", "REVKEYSIG", "EXPSIG")

Verdict = tuple[SignatureState, str | None]


def verify(
    commit: bytes,
    allowed_signers: bytes | None,
    gpg_keys: Sequence[bytes],
    *,
    at: datetime,
    environment: Mapping[str, str],
) -> Verdict:
    """The state of a raw commit object's signature, and the principal when it is VERIFIED.

    1. No signature: UNSIGNED; two of them, or a kind that is not known: INVALID or UNKNOWN.
    2. The signature does not fit the commit: INVALID.
    3. It fits, but its key is not among the allowed ones at the time `at`: UNTRUSTED.
    4. The program that could tell is missing or fails: UNKNOWN.

    Raises SourceError when the list of keys is over 1 MiB.
    """
    if len(allowed_signers or b"") + sum(map(len, gpg_keys)) > _MAX_KEYS:
        raise SourceError("the trusted keys are over 1 MiB", where="trust", hint="keep only keys in use")
    found = split_commit(commit)
    payload, signatures = found.payload, found.signatures
    if not signatures:
        return SignatureState.UNSIGNED, None
    if len(signatures) > 1:
        return SignatureState.INVALID, None
    signature = signatures[0]
    try:
        if signature.startswith(_SSH):
            return _verify_ssh(payload, signature, allowed_signers or b"", at, environment)
        if signature.startswith(_PGP):
            return _verify_gpg(payload, signature, gpg_keys, environment)
    except (ProgramMissingError, ProgramError):
        return SignatureState.UNKNOWN, None
    return SignatureState.UNKNOWN, None


def _verify_ssh(
    payload: bytes, signature: bytes, allowed_signers: bytes, at: datetime, environment: Mapping[str, str]
) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="customhouse-ssh-") as folder:
        keys, sig = Path(folder) / "allowed_signers", Path(folder) / "signature"
        keys.write_bytes(allowed_signers)
        sig.write_bytes(signature)
        when = f"-Overify-time={at.astimezone(UTC):%Y%m%d%H%M%S}Z"

        def ask(*arguments: str) -> Finished:
            return run(
                ["ssh-keygen", "-Y", *arguments],
                env=git_environment(environment),
                stdin=payload,
                timeout_s=_TIMEOUT_S,
                accept=_ANY,
            )

        # 1. Does the signature fit the commit at all, whoever made it?
        if ask("check-novalidate", "-n", "git", "-s", str(sig)).status != 0:
            return SignatureState.INVALID, None
        # 2. Who may own that key at that time, and does the whole check pass for one of them?
        found = ask("find-principals", "-f", str(keys), "-s", str(sig), when)
        for principal in found.stdout.decode("utf-8", "replace").splitlines() if found.status == 0 else ():
            if not principal or principal.startswith("-"):
                continue
            done = ask("verify", "-f", str(keys), "-I", principal, "-n", "git", "-s", str(sig), when)
            if done.status == 0:
                return SignatureState.VERIFIED, principal
    return SignatureState.UNTRUSTED, None


def _verify_gpg(payload: bytes, signature: bytes, gpg_keys: Sequence[bytes], environment: Mapping[str, str]) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="ch-gpg-") as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        # A name that gpg cannot take for an option, and no configuration, agent or network of the machine.
        command = ["gpg", "--batch", "--no-tty", "--no-options", "--no-autostart", "--disable-dirmngr"]
        command += ["--homedir", str(home), "--trust-model", "always", "--status-fd", "1"]
        env = {**git_environment(environment), "GNUPGHOME": str(home), "HOME": folder}
        for index, key in enumerate(gpg_keys):
            place = Path(folder) / f"key-{index}.asc"
            place.write_bytes(key)
            run([*command, "--import", str(place)], env=env, timeout_s=_TIMEOUT_S, accept=_ANY)
        sig = Path(folder) / "signature.asc"
        sig.write_bytes(signature)
        done = run([*command, "--verify", str(sig), "-"], env=env, stdin=payload, timeout_s=_TIMEOUT_S, accept=_ANY)
    return _read_gpg(done)


def _read_gpg(done: Finished) -> Verdict:
    lines = [
        line.removeprefix("[GNUPG:] ").split(" ", 2)
        for line in done.stdout.decode("utf-8", "replace").splitlines()
        if line.startswith("[GNUPG:] ")
    ]
    words = {line[0] for line in lines}
    if "BADSIG" in words:
        return SignatureState.INVALID, None
    if not words.isdisjoint(_GPG_UNTRUSTED):
        return SignatureState.UNTRUSTED, None
    good = [line for line in lines if line[0] == "GOODSIG" and len(line) == 3]
    if done.status == 0 and "VALIDSIG" in words and len(good) == 1:
        return SignatureState.VERIFIED, _mail(good[0][2])
    return (SignatureState.UNKNOWN if "ERRSIG" in words else SignatureState.INVALID), None


def _mail(user_id: str) -> str:
    """The address of an OpenPGP user id, the whole of it when there is none."""
    match = re.search(r"<([^<>\s]+@[^<>\s]+)>\s*$", user_id)
    return match[1] if match else user_id
