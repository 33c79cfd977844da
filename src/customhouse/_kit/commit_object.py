"""A Git commit object and its signature, which stands in a header of it and covers all the rest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignedCommit:
    """`headers` are the lines of the head without signatures; `payload` is what was signed."""

    headers: tuple[bytes, ...]
    message: bytes
    payload: bytes
    signatures: tuple[bytes, ...]


def split_commit(commit: bytes) -> SignedCommit:
    """Take the signatures (`gpgsig`, and `gpgsig-sha256` of repositories in transition) out of a commit object.

    Each ends in a line break, as the programs want it that verify them. Nothing else of the object is looked at.
    """
    head, blank, message = commit.partition(b"\n\n")
    kept: list[bytes] = []
    signatures: list[bytes] = []
    inside = False
    for line in head.split(b"\n"):
        if inside and line.startswith(b" "):
            signatures[-1] += b"\n" + line[1:]
            continue
        name, _, value = line.partition(b" ")
        inside = name in (b"gpgsig", b"gpgsig-sha256")
        if inside:
            signatures.append(value)
        else:
            kept.append(line)
    payload = b"\n".join(kept) + blank + message
    return SignedCommit(tuple(kept), message, payload, tuple(signature + b"\n" for signature in signatures))
