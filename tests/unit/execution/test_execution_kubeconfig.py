"""kubeconfig files and credentials, as kubectl reads them."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.core.errors import ConfigError, TargetError
from customhouse.execution.adapters.kubernetes.credentials import Credentials
from customhouse.execution.adapters.kubernetes.kubeconfig import Access, find_access, read_access

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def written(folder: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None, name: str = "config") -> Path:
    place = folder / name
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "models"}}],
        "current-context": "x",
    }
    place.write_text(json.dumps(document))
    return place


def header(access: Access, clock: FixedClock | None = None, environment: dict[str, str] | None = None) -> str:
    credentials = Credentials(access, environment or {"PATH": "/usr/bin:/bin"}, clock or FixedClock(NOW))
    return asyncio.run(credentials.headers()).get("Authorization", "")


def test_a_token_its_context_and_its_namespace_are_read_and_the_token_is_not_shown(tmp_path: Path) -> None:
    access = read_access([written(tmp_path, {"token": "secret-token"})])
    assert (access.server, access.context, access.namespace) == ("https://api.example:6443", "x", "models")
    assert header(access) == "Bearer secret-token"
    assert "secret-token" not in repr(access)


def test_files_beside_the_kubeconfig_are_found_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    for name in ("ca", "crt", "key"):
        (tmp_path / "pki" / name).write_bytes(name.encode())
    user = {"client-certificate": "pki/crt", "client-key": "pki/key"}
    access = read_access([written(tmp_path, user, {"certificate-authority": "pki/ca"})])
    assert (access.authority, access.certificate, access.key) == (b"ca", b"crt", b"key")
    data = {"certificate-authority-data": base64.b64encode(b"inline").decode()}
    assert read_access([written(tmp_path, {}, data)]).authority == b"inline"


def test_several_files_are_merged_and_the_first_wins(tmp_path: Path) -> None:
    first = written(tmp_path, {"token": "first"}, name="first")
    second = written(tmp_path, {"token": "second"}, {"server": "https://other.example"}, name="second")
    environment = {"KUBECONFIG": f"{first}:{tmp_path / 'absent'}:{second}", "HOME": str(tmp_path)}
    assert header(find_access(environment)) == "Bearer first"
    with pytest.raises(ConfigError, match="none of the files"):
        find_access({"KUBECONFIG": str(tmp_path / "absent")})


def test_a_pod_uses_its_service_account_and_reads_its_token_again(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"authority")
    (tmp_path / "namespace").write_text("customhouse-system")
    (tmp_path / "token").write_text("one\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = find_access(environment, account=tmp_path)
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "customhouse-system")
    clock = FixedClock(NOW)
    credentials = Credentials(access, {}, clock)
    assert asyncio.run(credentials.headers())["Authorization"] == "Bearer one"
    (tmp_path / "token").write_text("two")
    assert asyncio.run(credentials.headers())["Authorization"] == "Bearer one"
    clock.advance(61)
    assert asyncio.run(credentials.headers())["Authorization"] == "Bearer two"


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        ({"token": "t"}, {"server": "http://api.example"}, "plain HTTP"),
        ({"token": "t"}, {"server": "ftp://api.example"}, "https://HOST:PORT"),
        ({"token": "t"}, {"server": "https://a:b@api.example"}, "more than a place"),
        ({"token": "a\r\nX-Evil: 1"}, {}, "control character"),
        ({"client-certificate-data": "AAAA"}, {}, "not both"),
        ({"client-certificate-data": "%%"}, {}, "not base64"),
        ({"auth-provider": {"name": "gcp"}}, {}, "exec plugin"),
        ({"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1alpha1"}}, {}, "speaks"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, {}, "no command"),
        (
            {"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Always"}},
            {},
            "person",
        ),
        ({}, {"certificate-authority": "absent.pem"}, "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_file(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], said: str
) -> None:
    place = written(tmp_path, user, cluster)
    with pytest.raises(ConfigError, match=said) as error:
        read_access([place])
    assert str(place) in error.value.where


def test_a_context_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read_access([written(tmp_path, {})], "production")
    assert "'production'" in error.value.message
    assert error.value.hint == "it has: x"


def test_broken_yaml_is_placed_and_never_quoted(tmp_path: Path) -> None:
    place = tmp_path / "config"
    place.write_text("users:\n- user: {token: 'very-secret\n")
    with pytest.raises(ConfigError) as error:
        read_access([place])
    assert "very-secret" not in str(error.value)
    place.write_text("a: &a [1]\nb: [*a, *a]\n")
    with pytest.raises(ConfigError, match="alias"):
        read_access([place])
    place.write_text("[" * 200)
    with pytest.raises(ConfigError):
        read_access([place])


def plugin(folder: Path, body: str) -> dict[str, Any]:
    program = folder / "plugin"
    program.write_text(f"#!{sys.executable}\nimport json, os, sys\n{body}\n")
    program.chmod(stat.S_IRWXU)
    return {"exec": {"command": "./plugin", "apiVersion": "client.authentication.k8s.io/v1", "args": ["--for", "it"]}}


ANSWER = """
told = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
count = open("count", "a"); count.write("x"); count.close()
status = {"token": " ".join(sys.argv[1:]).replace(" ", ".") + str(len(open("count").read())), **EXTRA}
print(json.dumps({"apiVersion": told["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def test_an_exec_plugin_gives_a_token_until_it_expires_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body = ANSWER.replace("EXTRA", "{'expirationTimestamp': '2026-11-20T12:10:00Z'}")
    access = read_access([written(tmp_path, plugin(tmp_path, body))])
    clock = FixedClock(NOW)
    credentials = Credentials(access, {"PATH": "/usr/bin:/bin"}, clock)

    def token() -> str:
        return asyncio.run(credentials.headers())["Authorization"]

    assert [token(), token()] == ["Bearer --for.it1", "Bearer --for.it1"]
    clock.advance(600)
    assert token() == "Bearer --for.it2"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit('no session, log in first')", "no session, log in first"),
        ("print('{}')", "no ExecCredential"),
        ("print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential', 'status': {}}))",
         "neither a token"),
        ("print('x' * 2_000_000)", "it failed"),
    ],
)  # fmt: skip
def test_a_plugin_that_fails_says_why_and_not_what_it_printed(tmp_path: Path, body: str, said: str) -> None:
    access = read_access([written(tmp_path, plugin(tmp_path, body))])
    with pytest.raises(TargetError, match=said):
        header(access)


def test_a_plugin_that_is_not_installed_brings_its_hint(tmp_path: Path) -> None:
    user = {"exec": {"command": "no-such-plugin", "apiVersion": "client.authentication.k8s.io/v1beta1"}}
    user["exec"]["installHint"] = "install it from there"
    with pytest.raises(TargetError) as error:
        header(read_access([written(tmp_path, user)]))
    assert error.value.hint == "install it from there"
