"""The Git adapter against the real git program, ssh-keygen and gpg."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from control_repository import clone, git, remote, write

from customhouse._kit.clock import FixedClock
from customhouse._kit.commit_object import split_commit
from customhouse.control.adapters.git import GitRepository, WorkTree
from customhouse.control.adapters.git_program import Git, redact
from customhouse.control.adapters.git_signature import verify
from customhouse.control.source import Identity, PushRejectedError, RevertConflictError
from customhouse.core.change import SignatureState
from customhouse.core.errors import SourceError

ADA = Identity("Ada", "ada@example.com")
NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)

__all__ = ["clone", "remote"]

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen program")


@pytest.fixture
def repository(tmp_path: Path, remote: Path) -> GitRepository:
    return GitRepository(str(remote), tmp_path / "mirror.git", clock=FixedClock(NOW))


def ssh_key(folder: Path, name: str) -> Path:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
    return path


def allowed(principal: str, key: Path, options: str = "") -> bytes:
    kind, blob, *_ = key.with_suffix(".pub").read_text().split()
    return f"{principal} {options} {kind} {blob}\n".encode()


def sign_with(key: Path) -> dict[str, str]:
    return {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "gpg.format",
        "GIT_CONFIG_VALUE_0": "ssh",
        "GIT_CONFIG_KEY_1": "user.signingKey",
        "GIT_CONFIG_VALUE_1": str(key),
    }


class TestReading:
    def test_fetch_follows_the_branch(self, repository: GitRepository, clone: Path) -> None:
        first = write(clone, {"a.yaml": "a: 1\n"})
        assert repository.fetch() == first
        second = write(clone, {"a.yaml": "a: 2\n"})
        assert repository.fetch() == second
        assert repository.commits(first, second) == (second,)
        assert repository.commits(None, second) == (first, second)
        assert repository.first_commit("main") == first

    def test_a_repository_without_commits_says_so(self, repository: GitRepository) -> None:
        with pytest.raises(SourceError, match="no commits") as caught:
            repository.fetch()
        assert caught.value.hint
        assert caught.value.exit_status == 3

    def test_a_missing_branch_names_those_that_exist(self, tmp_path: Path, remote: Path, clone: Path) -> None:
        write(clone, {"a": "1"})
        with pytest.raises(SourceError, match="no branch 'live'") as caught:
            GitRepository(str(remote), tmp_path / "other.git", branch="live").fetch()
        assert "main" in caught.value.hint

    def test_a_missing_git_program_says_what_to_install(
        self, tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SourceError, match="git program is not on PATH") as caught:
            GitRepository(str(remote), tmp_path / "mirror.git")
        assert "install git" in caught.value.hint

    def test_a_location_that_is_gone_or_not_allowed_is_refused(self, tmp_path: Path) -> None:
        for location in ("/nowhere/at/all", "ext::sh -c id", "http://example.com/x", "-oProxyCommand=x", "git://h/x"):
            with pytest.raises(SourceError):
                GitRepository(location, tmp_path / "mirror.git").fetch()

    def test_a_remote_that_disappears_is_an_error_not_an_empty_render(
        self, repository: GitRepository, clone: Path, remote: Path
    ) -> None:
        write(clone, {"a": "1"})
        repository.fetch()
        shutil.rmtree(remote)
        with pytest.raises(SourceError):
            repository.fetch()

    def test_files_are_read_lazily_with_odd_names(self, repository: GitRepository, clone: Path) -> None:
        write(clone, {"ä ö/b.yaml": "b: 1\n", "models/a.yaml": "a: 1\n", "big.bin": "x" * (5 << 20)})
        head = repository.fetch()
        files = repository.files(head)
        assert sorted(files) == ["big.bin", "models/a.yaml", "ä ö/b.yaml"]
        assert files["ä ö/b.yaml"] == b"b: 1\n"
        with pytest.raises(SourceError, match="at most 4194304"):
            files["big.bin"]
        assert list(repository.files(head, "models")) == ["models/a.yaml"]
        assert repository.read(head, "models/a.yaml") == b"a: 1\n"
        assert repository.read(head, "models") is None
        assert repository.read(head, "nothing") is None

    def test_links_and_submodules_cannot_be_overlooked(self, repository: GitRepository, clone: Path) -> None:
        (clone / "secret.yaml").symlink_to("/etc/passwd")
        write(clone, {"a.yaml": "a: 1\n"})
        git(clone, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor")
        git(clone, "commit", "-q", "-m", "submodule")
        git(clone, "push", "-q", "origin", "HEAD")
        files = repository.files(repository.fetch())
        assert {entry.path for entry in files.refused} == {"secret.yaml", "vendor"}
        with pytest.raises(SourceError, match="symbolic link"):
            files["secret.yaml"]
        with pytest.raises(SourceError, match="submodule"):
            files["vendor"]

    def test_a_rewritten_branch_no_longer_descends(self, repository: GitRepository, clone: Path) -> None:
        write(clone, {"a": "1"})
        deployed = write(clone, {"a": "2"})
        repository.fetch()
        git(clone, "reset", "-q", "--hard", "HEAD~1")
        write(clone, {"a": "3"})
        head = repository.fetch()
        assert not repository.revision(head, allowed_signers=None, last_deployed=deployed).descends
        assert not repository.revision(head, allowed_signers=None, last_deployed="f" * 40).descends
        assert repository.revision(head, allowed_signers=None, last_deployed=head).descends

    def test_a_lock_that_a_killed_git_left_does_not_stop_it_for_ever(
        self, tmp_path: Path, repository: GitRepository, clone: Path
    ) -> None:
        head = write(clone, {"a": "1"})
        lock = tmp_path / "mirror.git/refs/heads/main.lock"
        lock.touch()
        with pytest.raises(SourceError, match=r"main\.lock"):
            GitRepository(repository.location, tmp_path / "mirror.git").fetch()
        os.utime(lock, (0, 0))
        assert repository.fetch() == head

    def test_words_that_look_like_options_are_refused(self, repository: GitRepository, clone: Path) -> None:
        write(clone, {"a": "1"})
        repository.fetch()
        for word in ("--help", "-n", "", "main\nx"):
            with pytest.raises(SourceError):
                repository.resolve(word)
        with pytest.raises(SourceError, match="no revision 'nowhere'"):
            repository.resolve("nowhere")

    def test_hooks_and_configuration_of_the_machine_are_not_used(
        self, tmp_path: Path, repository: GitRepository, clone: Path
    ) -> None:
        write(clone, {"a": "1"})
        head = repository.fetch()
        hook = tmp_path / "mirror.git" / "hooks" / "reference-transaction"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
        repository.commit(head, "side", {"b": b"1"}, "side", identity=ADA)
        assert not (tmp_path / "ran").exists()

    def test_export_writes_a_subtree_whole_or_not_at_all(
        self, tmp_path: Path, repository: GitRepository, clone: Path
    ) -> None:
        write(clone, {"m/v1/model.onnx": "model", "m/v1/deep/er/x": "x", "other": "o"})
        head = repository.fetch()
        assert repository.export(head, "m/v1", tmp_path / "out") == 2
        assert (tmp_path / "out/deep/er/x").read_text() == "x"
        with pytest.raises(SourceError, match="exists already"):
            repository.export(head, "m/v1", tmp_path / "out")
        with pytest.raises(SourceError, match="nothing at"):
            repository.export(head, "m/v9", tmp_path / "out2")
        (clone / "m/v1/link").symlink_to("/etc")
        write(clone, {})
        with pytest.raises(SourceError, match="symbolic link"):
            repository.export(repository.fetch(), "m/v1", tmp_path / "out3")
        assert not (tmp_path / "out3").exists()
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]

    def test_credentials_of_a_url_never_reach_an_error(self, tmp_path: Path) -> None:
        repository = GitRepository("https://bot:s3cret@127.0.0.1:1/x.git", tmp_path / "mirror.git")
        with pytest.raises(SourceError) as caught:
            repository.fetch()
        assert "s3cret" not in str(caught.value) + repr(caught.value.__dict__)
        assert redact("fatal: https://u:p@h/x Authorization: Bearer") == "fatal: https://…@h/x Authorization: …"


class TestWriting:
    def test_a_commit_changes_only_what_it_says(self, repository: GitRepository, clone: Path, remote: Path) -> None:
        write(clone, {"a": "1", "b": "2", "run.sh": "#!/bin/sh\n"})
        head = repository.fetch()
        made = repository.commit(head, "main", {"a": b"9", "b": None, "c/d": b"3"}, "Change\n\nwhy", identity=ADA)
        assert git(remote, "rev-parse", "main") == made
        assert git(remote, "show", "--format=%an <%ae>|%cI|%B", "--name-status", made).split("\n") == [
            "Ada <ada@example.com>|2026-01-31T10:00:00+00:00|Change",
            "",
            "why",
            "",
            "M\ta",
            "D\tb",
            "A\tc/d",
        ]
        assert repository.commit(made, "main", {"a": b"9"}, "nothing", identity=ADA) == made

    def test_a_push_that_comes_second_is_told_apart(self, repository: GitRepository, clone: Path) -> None:
        base = write(clone, {"a": "1"})
        repository.fetch()
        faster = write(clone, {"a": "2"})
        with pytest.raises(PushRejectedError):
            repository.commit(base, "main", {"b": b"1"}, "late", identity=ADA)
        head = repository.fetch()
        assert head == faster
        with pytest.raises(PushRejectedError):
            repository.commit(base, "main", {"b": b"1"}, "on an old base", identity=ADA)
        assert repository.read(repository.commit(head, "main", {"b": b"1"}, "again", identity=ADA), "a") == b"2"

    def test_a_branch_is_made_replaced_listed_and_deleted(self, repository: GitRepository, clone: Path) -> None:
        head = write(clone, {"a": "1"})
        repository.fetch()
        first = repository.commit(head, "optimise/x", {"a": b"2"}, "one", identity=ADA)
        assert repository.branches("optimise/") == {"optimise/x": first}
        with pytest.raises(PushRejectedError):
            repository.commit(head, "optimise/x", {"a": b"3"}, "two", identity=ADA)
        second = repository.commit(head, "optimise/x", {"a": b"3"}, "two", identity=ADA, replace=True)
        assert repository.branches("optimise/") == {"optimise/x": second}
        repository.delete_branch("optimise/x")
        repository.fetch()
        assert repository.branches("optimise/") == {}
        with pytest.raises(SourceError):
            repository.delete_branch("main")

    def test_a_revert_undoes_one_commit_and_keeps_later_ones(self, repository: GitRepository, clone: Path) -> None:
        lines = [f"line {number}\n" for number in range(20)]
        write(clone, {"a": "".join(lines), "gone": "x"})
        bad = write(clone, {"a": "".join(["BAD\n", *lines[1:]]), "added": "y", "gone": None})
        write(clone, {"a": "".join(["BAD\n", *lines[1:19], "later\n"]), "b": "1"})
        repository.fetch()
        made = repository.revert(bad, "main", 'Revert "x"', identity=ADA)
        assert repository.read(made, "a") == "".join([*lines[:19], "later\n"]).encode()
        assert repository.read(made, "added") is None
        assert repository.read(made, "gone") == b"x"
        assert repository.read(made, "b") == b"1"
        assert repository.revert(bad, "main", "again", identity=ADA) == made

    def test_a_revert_that_conflicts_names_the_files(self, repository: GitRepository, clone: Path) -> None:
        write(clone, {"a": "1\n", "b": "1\n"})
        bad = write(clone, {"a": "2\n", "b": "2\n"})
        head = write(clone, {"a": "3\n"})
        repository.fetch()
        with pytest.raises(RevertConflictError) as caught:
            repository.revert(bad, "main", "undo", identity=ADA)
        assert caught.value.files == ("a",)
        assert repository.fetch() == head

    def test_the_first_commit_and_a_strange_one_cannot_be_reverted(
        self, repository: GitRepository, clone: Path
    ) -> None:
        first = write(clone, {"a": "1"})
        repository.fetch()
        with pytest.raises(SourceError, match="first commit"):
            repository.revert(first, "main", "undo", identity=ADA)

    def test_a_path_that_leaves_the_repository_is_refused(self, repository: GitRepository, clone: Path) -> None:
        head = write(clone, {"a": "1"})
        repository.fetch()
        for path in ("../x", "a/../../x", ".git/hooks/x", "/etc/x", "x\ty", ""):
            with pytest.raises(SourceError):
                repository.commit(head, "main", {path: b""}, "out", identity=ADA)


@needs_ssh
class TestSshSignatures:
    def state(self, repository: GitRepository, rev: str, signers: bytes | None) -> tuple[SignatureState, str | None]:
        revision = repository.revision(rev, allowed_signers=signers, last_deployed=None)
        return revision.signature, revision.signer

    def test_each_state_of_a_signature(self, tmp_path: Path, repository: GitRepository, clone: Path) -> None:
        key, other = ssh_key(tmp_path, "ada"), ssh_key(tmp_path, "eve")
        unsigned = write(clone, {"a": "1"})
        signed = write(clone, {"a": "2"}, "signed", "-S", **sign_with(key))
        repository.fetch()
        trusted = allowed("ada@example.com", key)
        assert self.state(repository, unsigned, trusted) == (SignatureState.UNSIGNED, None)
        assert self.state(repository, signed, trusted) == (SignatureState.VERIFIED, "ada@example.com")
        assert self.state(repository, signed, allowed("eve@example.com", other)) == (SignatureState.UNTRUSTED, None)
        assert self.state(repository, signed, None) == (SignatureState.UNTRUSTED, None)

    def test_a_commit_of_ours_verifies_with_git_itself(
        self, tmp_path: Path, repository: GitRepository, clone: Path, remote: Path
    ) -> None:
        key = ssh_key(tmp_path, "bot")
        head = write(clone, {"a": "1"})
        repository.fetch()
        made = repository.commit(head, "main", {"a": b"2"}, "by us", identity=ADA, signing_key=key)
        signers = allowed("bot@example.com", key)
        assert self.state(repository, made, signers) == (SignatureState.VERIFIED, "bot@example.com")
        (tmp_path / "signers").write_bytes(signers)
        git(remote, "-c", f"gpg.ssh.allowedSignersFile={tmp_path}/signers", "verify-commit", made)

    def test_a_changed_commit_is_invalid(self, tmp_path: Path, repository: GitRepository, clone: Path) -> None:
        key = ssh_key(tmp_path, "ada")
        signed = write(clone, {"a": "1"}, "pay one", "-S", **sign_with(key))
        repository.fetch()
        raw = repository.git.run("cat-file", "commit", signed).stdout
        forged = repository.git.run(
            "hash-object", "-w", "-t", "commit", "--stdin", stdin=raw.replace(b"pay one", b"pay two")
        ).stdout.decode()
        assert self.state(repository, forged.strip(), allowed("a@b", key)) == (SignatureState.INVALID, None)

    def test_two_signatures_in_one_commit_are_invalid(
        self, tmp_path: Path, repository: GitRepository, clone: Path
    ) -> None:
        key = ssh_key(tmp_path, "ada")
        signed = write(clone, {"a": "1"}, "m", "-S", **sign_with(key))
        repository.fetch()
        raw = repository.git.run("cat-file", "commit", signed).stdout
        start = raw.index(b"gpgsig")
        end = raw.index(b"-----END SSH SIGNATURE-----") + len(b"-----END SSH SIGNATURE-----\n")
        doubled = raw[:end] + raw[start:end] + raw[end:]
        assert len(split_commit(doubled).signatures) == 2
        assert verify(doubled, allowed("a@b", key), (), at=NOW, environment={})[0] is SignatureState.INVALID

    def test_a_key_of_another_purpose_or_past_its_time_is_untrusted(
        self, tmp_path: Path, repository: GitRepository, clone: Path
    ) -> None:
        key = ssh_key(tmp_path, "ada")
        signed = write(clone, {"a": "1"}, "m", "-S", GIT_COMMITTER_DATE="2026-01-31T10:00:00Z", **sign_with(key))
        repository.fetch()
        for options, expected in (
            ('namespaces="git"', SignatureState.VERIFIED),
            ('namespaces="file"', SignatureState.UNTRUSTED),
            ('valid-before="20260130Z"', SignatureState.UNTRUSTED),
            ('valid-before="20260201Z"', SignatureState.VERIFIED),
            ('valid-after="20260201Z"', SignatureState.UNTRUSTED),
        ):
            assert self.state(repository, signed, allowed("a@b", key, options))[0] is expected, options

    def test_an_expired_key_gains_nothing_by_backdating(
        self, tmp_path: Path, repository: GitRepository, clone: Path
    ) -> None:
        key = ssh_key(tmp_path, "ada")
        write(clone, {"a": "1"}, "m", GIT_COMMITTER_DATE="2026-01-20T00:00:00Z")
        backdated = write(clone, {"a": "2"}, "m", "-S", GIT_COMMITTER_DATE="2025-12-01T00:00:00Z", **sign_with(key))
        repository.fetch()
        expired = allowed("a@b", key, 'valid-before="20260110Z"')
        assert self.state(repository, backdated, expired) == (SignatureState.UNTRUSTED, None)

    def test_a_parent_from_the_future_does_not_void_every_key_that_expires(
        self, tmp_path: Path, repository: GitRepository, clone: Path
    ) -> None:
        key = ssh_key(tmp_path, "ada")
        write(clone, {"a": "1"}, "m", GIT_COMMITTER_DATE="2038-01-01T00:00:00Z")
        signed = write(clone, {"a": "2"}, "m", "-S", GIT_COMMITTER_DATE="2026-01-30T00:00:00Z", **sign_with(key))
        repository.fetch()
        expires = allowed("a@b", key, 'valid-before="20270101Z"')
        assert self.state(repository, signed, expires) == (SignatureState.VERIFIED, "a@b")

    def test_a_signature_of_another_kind_could_not_be_decided(self, repository: GitRepository, clone: Path) -> None:
        commit = write(clone, {"a": "1"})
        repository.fetch()
        raw = repository.git.run("cat-file", "commit", commit).stdout
        x509 = raw.replace(b"\n\n", b"\ngpgsig -----BEGIN SIGNED MESSAGE-----\n x\n\n", 1)
        assert verify(x509, None, (), at=NOW, environment={})[0] is SignatureState.UNKNOWN

    def test_a_key_with_a_passphrase_is_an_error_and_not_a_question(
        self, tmp_path: Path, repository: GitRepository, clone: Path
    ) -> None:
        key = tmp_path / "locked"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True)
        head = write(clone, {"a": "1"})
        repository.fetch()
        with pytest.raises(SourceError, match="commit-tree"):
            repository.commit(head, "main", {"a": b"2"}, "m", identity=ADA, signing_key=key)
        assert repository.fetch() == head

    def test_without_ssh_keygen_it_could_not_be_decided(
        self, tmp_path: Path, repository: GitRepository, clone: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = ssh_key(tmp_path, "ada")
        signed = write(clone, {"a": "1"}, "m", "-S", **sign_with(key))
        repository.fetch()
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/git").symlink_to(shutil.which("git") or "")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        assert self.state(repository, signed, allowed("a@b", key)) == (SignatureState.UNKNOWN, None)


@pytest.mark.part("gpg")
def test_gpg_signatures_verify_only_against_the_keys_given(
    tmp_path: Path, repository: GitRepository, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A short folder: the agent's socket path may have 108 bytes.
    home = Path(tempfile.mkdtemp(prefix="ch-gpg-", dir="/tmp"))
    env = {"PATH": os.environ["PATH"], "GNUPGHOME": str(home)}

    def gpg(*arguments: str) -> bytes:
        return subprocess.run(
            ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "", *arguments],
            env=env,
            capture_output=True,
            check=True,
        ).stdout

    try:
        gpg("--quick-generate-key", "Ada <ada@example.com>", "ed25519", "sign", "never")
        gpg("--quick-generate-key", "Eve <eve@example.com>", "ed25519", "sign", "never")
        ada, eve = gpg("--armor", "--export", "ada@example.com"), gpg("--armor", "--export", "eve@example.com")
        signed = write(clone, {"a": "1"}, "m", "-Sada@example.com", GNUPGHOME=str(home))
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=env, check=False)
        shutil.rmtree(home, ignore_errors=True)
    repository.fetch()

    def state(*keys: bytes) -> tuple[SignatureState, str | None]:
        found = repository.revision(signed, allowed_signers=None, last_deployed=None, gpg_keys=keys)
        return found.signature, found.signer

    assert state(ada) == (SignatureState.VERIFIED, "ada@example.com")
    assert state(eve) == (SignatureState.UNTRUSTED, None)
    assert state() == (SignatureState.UNTRUSTED, None)
    raw = repository.git.run("cat-file", "commit", signed).stdout.replace(b"\n\nm", b"\n\nn")
    assert verify(raw, None, (ada,), at=NOW, environment={})[0] is SignatureState.INVALID
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(shutil.which("git") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert state(ada) == (SignatureState.UNKNOWN, None)


class TestWorkTree:
    def test_it_shows_what_would_be_committed(self, clone: Path) -> None:
        write(clone, {"a.yaml": "a: 1\n", ".gitignore": "ignored*\n", "gone.yaml": "g: 1\n"})
        (clone / "a.yaml").write_text("a: 2\n")
        (clone / "new.yaml").write_text("n: 1\n")
        (clone / "ignored.yaml").write_text("i: 1\n")
        (clone / "gone.yaml").unlink()
        tree = WorkTree(clone)
        assert sorted(tree.files()) == [".gitignore", "a.yaml", "new.yaml"]
        assert tree.read("a.yaml") == b"a: 2\n"
        assert tree.read("ignored.yaml") is None
        assert tree.objects.read("HEAD", "a.yaml") == b"a: 1\n"

    def test_links_do_not_lead_out_of_it(self, tmp_path: Path, clone: Path) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside/secret.yaml").write_text("s: 1\n")
        write(clone, {"dir/secret.yaml": "a: 1\n"})
        shutil.rmtree(clone / "dir")
        (clone / "dir").symlink_to(tmp_path / "outside")
        (clone / "link.yaml").symlink_to(tmp_path / "outside/secret.yaml")
        files = WorkTree(clone).files()
        with pytest.raises(SourceError):
            files["link.yaml"]
        for name in set(files) - {"link.yaml"}:
            with pytest.raises(SourceError):
                files[name]

    def test_a_program_named_by_the_repository_is_not_started(self, tmp_path: Path, clone: Path) -> None:
        write(clone, {"a.yaml": "a: 1\n"})
        git(clone, "config", "core.fsmonitor", f"touch {tmp_path}/ran; false")
        assert list(WorkTree(clone).files()) == ["a.yaml"]
        assert not (tmp_path / "ran").exists()

    def test_a_folder_outside_git_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="not inside a Git work tree"):
            WorkTree(tmp_path)
        with pytest.raises(SourceError, match="no such folder"):
            WorkTree(tmp_path / "nowhere")


def test_fetching_from_a_work_tree_path_and_a_file_url(tmp_path: Path, clone: Path) -> None:
    head = write(clone, {"a": "1"})
    assert GitRepository(str(clone), tmp_path / "m1.git").fetch() == head
    assert GitRepository(clone.as_uri(), tmp_path / "m2.git").fetch() == head


def test_a_git_that_hangs_ends_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="past its time"):
        Git(tmp_path).run("status", timeout_s=0.2)
