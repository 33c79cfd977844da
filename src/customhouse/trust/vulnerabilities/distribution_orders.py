"""Orders of versions of Linux distributions: dpkg's, apk's and rpm's, each as a key that sorts."""

from __future__ import annotations

import re
from typing import Any

_DEBIAN = re.compile(r"(?:([0-9]+):)?([0-9A-Za-z.+~:-]+?)(?:-([0-9A-Za-z.+~]*))?")
_DEBIAN_PARTS = re.compile(r"([^0-9]*)([0-9]*)")
_APK = re.compile(
    r"([0-9]+)((?:\.[0-9]+)*)([a-z]?)((?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*)(?:~([0-9a-f]+))?(?:-r([0-9]+))?"
)
_SUFFIX = re.compile(r"_([a-z]+)([0-9]*)")
_BEFORE = ("alpha", "beta", "pre", "rc")
_AFTER = ("cvs", "svn", "git", "hg", "p")
_RPM = re.compile(r"(?:([0-9]+):)?([^:-]+)(?:-([^:-]+))?")
_RPM_PARTS = re.compile(r"[0-9]+|[A-Za-z]+|~|\^")


def dpkg(text: str) -> tuple[Any, ...]:
    """Debian Policy 5.6.12, deb-version(7): epoch, upstream version, revision; `~` sorts before the very end."""
    match = _DEBIAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:80]!r} is no version of a Debian package")
    epoch, upstream, revision = match.groups()
    if epoch is None and ":" in upstream:
        raise ValueError(f"{text[:80]!r} has an epoch that is no number")
    return (int(epoch or 0), _debian(upstream), _debian(revision or ""))


def _debian(text: str) -> tuple[Any, ...]:
    """Words and numbers in turns. The last (0,) is the end, which only a `~` is before."""
    parts: list[Any] = []
    for word, number in _DEBIAN_PARTS.findall(text or "0"):  # no revision is revision 0
        if word or number:
            parts += [(*(_weight(letter) for letter in word), 0), int(number or 0)]
    return (*parts, (0,))


def _weight(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256


def apk(text: str) -> tuple[Any, ...]:
    """Alpine's (apk-tools, version.c): numbers, a letter, suffixes, a commit, the revision.

    Each part has the rank of its kind: where two versions part ways, a pre-release suffix is less than the end, and
    the end is less than all else, the later kinds being the lesser. A number with a leading zero is a fraction.
    """
    match = _APK.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:80]!r} is no version of an Alpine package")
    first, others, letter, suffixes, commit, revision = match.groups()
    parts: list[Any] = [(9, 1, int(first), "")]
    numbers = others.split(".")[1:]
    parts += [(6, 0, 0, number) if number.startswith("0") else (6, 1, int(number), "") for number in numbers]
    if letter:
        parts.append((5, 0, 0, letter))
    for name, number in _SUFFIX.findall(suffixes):
        parts.append((-1, _BEFORE.index(name), 0, "") if name in _BEFORE else (4, _AFTER.index(name), 0, ""))
        if number:
            parts.append((3, 0, int(number), ""))
    if commit:
        parts.append((2, 0, 0, commit))
    if revision:
        parts.append((1, 0, int(revision), ""))
    return (*parts, (0, 0, 0, ""))


def rpm(text: str) -> tuple[Any, ...]:
    """RPM's (rpmvercmp): epoch, version, release; `~` is before the end, `^` right after it, words before numbers."""
    match = _RPM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:80]!r} is no version of an RPM package")
    epoch, version, release = match.groups()
    return (int(epoch or 0), _segments(version), _segments(release or ""))


def _segments(text: str) -> tuple[Any, ...]:
    parts: list[Any] = []
    for part in _RPM_PARTS.findall(text):
        if part in "~^":
            parts.append((-1 if part == "~" else 1, 0, ""))
        else:
            parts.append((3, int(part), "") if part.isdigit() else (2, 0, part))
    return (*parts, (0, 0, ""))
