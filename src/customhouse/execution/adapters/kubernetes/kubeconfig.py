"""kubeconfig files and the service account of a pod, as one value that says how to reach an API.

The format is that of client-go's `clientcmd/api/v1`. Several files are merged as kubectl does: the first that names an
entry wins, and relative paths start at the folder of the file that has them.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from customhouse.core.errors import ConfigError
from customhouse.execution.adapters.kubernetes.proxying import checked, proxy_for

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints an ExecCredential (client.authentication.k8s.io)."""

    command: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    api_version: str
    provide_cluster: bool = False
    install_hint: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one API and as whom. Secrets are kept out of `repr`; `source` is the file, for messages."""

    server: str
    source: str
    context: str = ""
    authority: bytes | None = field(default=None, repr=False)
    """PEM; None: the system's authorities."""
    insecure: bool = False
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    namespace: str = "default"
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    certificate_file: Path | None = None
    """This and the next two: where the bytes were read from, to be read again; None for those of the kubeconfig."""
    key_file: Path | None = None
    authority_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """Read again and again: service account tokens are rotated."""
    basic: tuple[str, str] | None = field(default=None, repr=False)
    exec_plugin: ExecPlugin | None = field(default=None, repr=False)
    impersonate: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Headers `Impersonate-…` → values."""
    cluster_extension: Any = None


def find_access(
    environment: Mapping[str, str], *, file: Path | None = None, context: str | None = None, account: Path = ACCOUNT
) -> Access:
    """The API that a file names, else KUBECONFIG, else the pod's own service account, else ~/.kube/config.

    Raises ConfigError that names the file and what is missing in it.
    """
    found = _found(environment, file, context, account)
    return found if found.proxy is not None else replace(found, proxy=proxy_for(found.server, environment))


def _found(environment: Mapping[str, str], file: Path | None, context: str | None, account: Path) -> Access:
    if file is not None:
        return read_access([file], context)
    listed = [Path(item) for item in environment.get("KUBECONFIG", "").split(os.pathsep) if item]
    if listed:
        # kubectl passes over files of the list that do not exist, as long as there is one.
        present = [item for item in listed if item.is_file()]
        if not present:
            raise ConfigError("none of the files in KUBECONFIG exists", where=str(listed[0]))
        return read_access(present, context)
    home = Path(environment["HOME"]) / ".kube" / "config" if environment.get("HOME") else None
    if context is None and environment.get("KUBERNETES_SERVICE_HOST") and (account / "token").is_file():
        return _in_cluster(environment, account)
    if home is not None and home.is_file():
        return read_access([home], context)
    raise ConfigError(
        "no Kubernetes API is configured",
        where="kubeconfig",
        hint="set KUBECONFIG, or name a file: `target.kubeconfig` in customhouse.yaml, or `--kubeconfig`",
    )


def _in_cluster(environment: Mapping[str, str], account: Path) -> Access:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT") or "443"
    host = f"[{host}]" if ":" in host else host
    namespace = account / "namespace"
    return Access(
        server=f"https://{host}:{port}",
        source=str(account),
        authority=_read(account / "ca.crt", "the service account"),
        authority_file=account / "ca.crt",
        namespace=namespace.read_text().strip() if namespace.is_file() else "default",
        token_file=account / "token",
    )


def read_access(files: Sequence[Path], context: str | None = None) -> Access:
    """The access that a context of these files describes (none named: the current one). Raises ConfigError."""
    documents = [(path, _document(path)) for path in files]
    where = ", ".join(str(path) for path in files)
    name = context or next((str(doc["current-context"]) for _, doc in documents if doc.get("current-context")), None)
    if name is None:
        contexts = ", ".join(sorted(_names(documents, "contexts"))) or "none"
        raise ConfigError("it has no current-context", where=where, hint=f"name one with --context: {contexts}")
    chosen, _ = _entry(documents, "contexts", "context", name, where)
    cluster_name, user_name = chosen.get("cluster"), chosen.get("user")
    if not isinstance(cluster_name, str):
        raise ConfigError(f"context {name!r} names no cluster", where=where)
    cluster, base = _entry(documents, "clusters", "cluster", cluster_name, where)
    user: Mapping[str, Any] = {}
    user_base = base
    if isinstance(user_name, str) and user_name:
        user, user_base = _entry(documents, "users", "user", user_name, where)
    namespace = chosen.get("namespace")
    return _access(cluster, base, user, user_base, name, namespace if isinstance(namespace, str) else "default")


def _access(
    cluster: Mapping[str, Any], base: Path, user: Mapping[str, Any], user_base: Path, context: str, namespace: str
) -> Access:
    where = str(base)
    server = _text(cluster, "server", where)
    parts = urlsplit(server or "")
    if server is None or parts.scheme not in ("https", "http") or not parts.hostname:
        raise ConfigError(f"the server is {server!r}", where=where, hint="write https://HOST:PORT")
    if parts.username or parts.query or parts.fragment:
        raise ConfigError("the server's address holds more than a place", where=where, hint="write https://HOST:PORT")
    proxy = _text(cluster, "proxy-url", where)
    if "auth-provider" in user:
        raise ConfigError(
            "users with auth-provider are gone since Kubernetes 1.26", where=str(user_base), hint="use an exec plugin"
        )
    certificate = _bytes(user, "client-certificate", user_base)
    key = _bytes(user, "client-key", user_base)
    if (certificate is None) != (key is None):
        raise ConfigError("it has a client certificate or its key, and not both", where=str(user_base))
    token_file = _text(user, "tokenFile", str(user_base))
    username, password = _text(user, "username", str(user_base)), _text(user, "password", str(user_base))
    access = Access(
        server=server.rstrip("/"),
        source=where,
        context=context,
        authority=_bytes(cluster, "certificate-authority", base),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        server_name=_text(cluster, "tls-server-name", where),
        proxy=None if proxy is None else checked(proxy, f"proxy-url of {where}"),
        namespace=namespace,
        certificate=certificate,
        key=key,
        certificate_file=_file(user, "client-certificate", user_base),
        key_file=_file(user, "client-key", user_base),
        authority_file=_file(cluster, "certificate-authority", base),
        token=_text(user, "token", str(user_base)),
        token_file=None if token_file is None else user_base.parent / token_file,
        basic=None if username is None else (username, password or ""),
        exec_plugin=_plugin(user.get("exec"), user_base),
        impersonate=_impersonation(user, str(user_base)),
        cluster_extension=_extension(cluster),
    )
    secret = certificate or access.token or token_file or access.basic or access.exec_plugin
    if parts.scheme == "http" and secret and parts.hostname not in _LOOPBACK:
        raise ConfigError("credentials would go over plain HTTP", where=where, hint="write an https:// server")
    return access


def _plugin(value: Any, base: Path) -> ExecPlugin | None:
    if value is None:
        return None
    where = str(base)
    if not isinstance(value, Mapping) or not isinstance(value.get("command"), str) or not value["command"]:
        raise ConfigError("users[].user.exec names no command", where=where)
    arguments = value.get("args") or []
    variables = value.get("env") or []
    if not isinstance(arguments, list) or not all(isinstance(item, str) for item in arguments):
        raise ConfigError("users[].user.exec.args is not a list of texts", where=where)
    if not isinstance(variables, list) or not all(
        isinstance(item, Mapping) and isinstance(item.get("name"), str) and isinstance(item.get("value"), str)
        for item in variables
    ):
        raise ConfigError("users[].user.exec.env is not a list of names and values", where=where)
    if value.get("interactiveMode") == "Always":
        raise ConfigError("its exec plugin wants to talk to a person", where=where, hint="use one that does not")
    api_version = str(value.get("apiVersion") or "")
    if api_version not in ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"):
        raise ConfigError(f"its exec plugin speaks {api_version or 'nothing known'}", where=where)
    command = value["command"]
    if "/" in command and not command.startswith("/"):
        command = str(base.parent.absolute() / command)  # client-go: a path with a slash is relative to the file
    return ExecPlugin(
        command,
        tuple(arguments),
        {item["name"]: item["value"] for item in variables},
        api_version,
        value.get("provideClusterInfo") is True,
        str(value.get("installHint") or "")[:500],
    )


def _impersonation(user: Mapping[str, Any], where: str) -> Mapping[str, tuple[str, ...]]:
    headers: dict[str, tuple[str, ...]] = {}
    if name := _text(user, "as", where):
        headers["Impersonate-User"] = (name,)
    if uid := _text(user, "as-uid", where):
        headers["Impersonate-Uid"] = (uid,)
    if groups := user.get("as-groups"):
        headers["Impersonate-Group"] = tuple(str(group) for group in groups)
    for key, values in (user.get("as-user-extra") or {}).items():
        headers[f"Impersonate-Extra-{key}"] = tuple(str(value) for value in values)
    return headers


def _extension(cluster: Mapping[str, Any]) -> Any:
    for item in cluster.get("extensions") or []:
        if isinstance(item, Mapping) and item.get("name") == "client.authentication.k8s.io/exec":
            return item.get("extension")
    return None


def _names(documents: Iterable[tuple[Path, Mapping[str, Any]]], plural: str) -> set[str]:
    return {
        str(item["name"])
        for _, document in documents
        for item in document.get(plural) or []
        if isinstance(item, Mapping) and "name" in item
    }


def _entry(
    documents: Sequence[tuple[Path, Mapping[str, Any]]], plural: str, singular: str, name: str, where: str
) -> tuple[Mapping[str, Any], Path]:
    for path, document in documents:
        entries = document.get(plural) or []
        if not isinstance(entries, list):
            raise ConfigError(f"{plural} is not a list", where=str(path))
        for item in entries:
            if isinstance(item, Mapping) and item.get("name") == name:
                value = item.get(singular) or {}
                if not isinstance(value, Mapping):
                    raise ConfigError(f"{singular} {name!r} is not a mapping", where=str(path))
                return value, path
    known = ", ".join(sorted(_names(documents, plural))) or "none"
    raise ConfigError(f"it has no {singular} {name!r}", where=where, hint=f"it has: {known}")


def _text(values: Mapping[str, Any], key: str, where: str) -> str | None:
    value = values.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{key} is not text", where=where, hint="quote it")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ConfigError(f"{key} holds a control character", where=where)
    return value


def _bytes(values: Mapping[str, Any], key: str, base: Path) -> bytes | None:
    """PEM in the file itself (`KEY-data`, base64), which wins, or in a file that `KEY` names."""
    data = _text(values, f"{key}-data", str(base))
    if data is not None:
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"{key}-data is not base64", where=str(base)) from error
    path = _file(values, key, base)
    return None if path is None else _read(path, str(base))


def _file(values: Mapping[str, Any], key: str, base: Path) -> Path | None:
    """The file that `KEY` names, unless `KEY-data` stands beside it."""
    if _text(values, f"{key}-data", str(base)) is not None:
        return None
    path = _text(values, key, str(base))
    return None if path is None else base.parent / path


def _read(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", where=where) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} has more than {MAX_BYTES} bytes", where=where)
    return data


def _document(path: Path) -> Mapping[str, Any]:
    import yaml

    text = _read(path, "kubeconfig")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            # Aliases are how a small text becomes a huge value; depth is how a parser runs out of stack.
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError("it holds a YAML alias", where=str(path), hint="write the value out")
            depth += isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
            depth -= isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent))
            if depth > MAX_DEPTH:
                raise ConfigError(f"nested more than {MAX_DEPTH} levels deep", where=str(path))
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # The error's own text quotes the line, which may hold a token.
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark is not None else str(path)
        raise ConfigError("it is not YAML", where=place) from error
    if not isinstance(value, Mapping) or value.get("kind", "Config") != "Config":
        raise ConfigError("it is not a kubeconfig file", where=str(path))
    return value
