"""Runs the `git` program in an environment of its own: no configuration of the machine, no hooks, no prompts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from customhouse._kit.process import Finished, ProgramError, ProgramMissingError, find_program, run
from customhouse.core.errors import SourceError

# What may pass from the caller's environment: where programs and keys are, and how the network is reached.
_PASSED = frozenset(
    {"PATH", "HOME", "SSH_AUTH_SOCK", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy"}
    | {"NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "SystemRoot"}
)
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
# A repository's own configuration is data of a stranger: what in it could start a program is overruled here.
_OVERRIDES = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.askPass=",
    "core.quotePath=false",
    "credential.helper=",
    "gc.autoDetach=false",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "push.gpgSign=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
)
_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/@\s]+@")
_TOKEN = re.compile(r"(?i)(authorization:|password|token)(\s*[=:]?\s*)\S+")
_TIMEOUT_S = 120.0


def redact(text: str) -> str:
    """The text without user names, passwords and tokens of URLs."""
    return _TOKEN.sub(r"\1\2…", _USERINFO.sub(r"\1…@", text))


def check_word(word: str, what: str) -> str:
    """A revision, branch or path that git cannot mistake for an option. Raises SourceError."""
    if not word or word.startswith("-") or any(ord(character) < 32 or ord(character) == 127 for character in word):
        raise SourceError(f"{word[:80]!r} is not a {what}", hint=f"a {what} is not empty and does not begin with '-'")
    return word


@dataclass(frozen=True, slots=True)
class Git:
    """One repository's git program. `directory` is the bare repository (or `.git` folder)."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        accept: Sequence[int] = (0,),
        settings: Sequence[str] = (),
        extra: Mapping[str, str] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Finished:
        """Run `git ARGUMENTS`. `settings` are further `-c` values, `extra` further variables.

        Raises SourceError (credentials taken out) when git is missing, fails or runs past its time.
        """
        command = ["git", f"--git-dir={self.directory}"]
        for setting in (*_OVERRIDES, *settings):
            command += ["-c", setting]
        try:
            return run(
                [*command, *arguments],
                env={**git_environment(self.environment), **(extra or {})},
                stdin=stdin,
                accept=accept,
                timeout_s=timeout_s,
            )
        except ProgramMissingError as error:
            raise missing_git() from error
        except ProgramError as error:
            raise failed(arguments[0], error) from error

    def text(self, *arguments: str) -> str:
        """What git prints, without the last line break."""
        return self.run(*arguments).stdout.decode("utf-8", "replace").rstrip("\n")


def git_environment(passed: Mapping[str, str]) -> dict[str, str]:
    """The variables that git sees: a few of `passed`, and nothing else of the caller's."""
    try:
        folder = os.path.dirname(find_program("git"))
    except ProgramMissingError as error:
        raise missing_git() from error
    return {
        "PATH": f"{folder}:{_DEFAULT_PATH}",
        **{name: value for name, value in passed.items() if name in _PASSED},
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "file:ssh:https",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        # A key with a passphrase is an error, not a question on a terminal that nobody watches.
        "SSH_ASKPASS": "/bin/false",
        "SSH_ASKPASS_REQUIRE": "force",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
    }


def missing_git() -> SourceError:
    """There is no git program."""
    return SourceError("the git program is not on PATH", where="git", hint="install git 2.30 or newer")


def failed(verb: str, error: ProgramError) -> SourceError:
    """Git said no; what it said, on one line, without credentials."""
    said = " ".join(line.strip() for line in redact(error.stderr).splitlines() if line.strip())
    if error.status is None:
        return SourceError(f"git {verb} ran past its time limit", where="git", hint="try again when it can be reached")
    hint = ""
    if "dubious ownership" in said:
        said = "the repository belongs to another user of this machine"
        hint = "run as its owner, or clone it first"
    return SourceError(f"git {verb}: {said[-600:] or f'status {error.status}'}", where="git", hint=hint)
