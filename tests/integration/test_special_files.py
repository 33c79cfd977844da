"""Pipes and devices where files are expected: refused at once with the reason, and never waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from customhouse.app import wiring
from customhouse.cli.program import run
from customhouse.trust.keys import load_public, open_pair
from customhouse.trust.note import NoteKey

PIPE = "pipe"
"""A FIFO that nobody writes to; KEY is a private key, MODEL a model, and what ends in `.new` does not exist."""
OF = "sha256:" + "0" * 64
COMMANDS = [
    "gate pipe.yaml",
    "gate good.yaml --before pipe",
    "gate good.yaml --config pipe",
    "audit pipe.yaml",
    "cost estimate pipe.yaml",
    "cost forecast --series pipe --horizon 3",
    "health pipe.yaml",
    "model scan pipe",
    "model sign MODEL --key pipe --out a.new",
    "model sign MODEL --key KEY.key --certificate pipe --out a.new",
    "model sign MODEL --identity-token KEY.pub --trust-config pipe --out a.new",
    "model verify MODEL --signature pipe --key KEY.pub",
    "model verify MODEL --signature signed.json --key pipe",
    "model verify MODEL --signature signed.json --authority pipe",
    "model bom MODEL --name a --version 1 --card pipe",
    "model bom MODEL --name a --version 1 --libraries pipe",
    "model bom MODEL --name a --version 1 --image-sbom pipe",
    "model convert pipe --out a.new",
    f"model pull pipe folder.new --digest {OF}",
    f"model pull MODEL folder.new --digest {OF} --lock pipe",
    "model register pipe --to oci-layout://layout.new --key KEY.key",
    "model register MODEL --to oci-layout://layout.new --key pipe",
    "model register MODEL --to oci-layout://layout.new --key KEY.key --evaluation pipe",
    "model provenance pipe",
    "model lineage pipe",
    "model evaluate pipe --data good.csv --label a",
    "model attest MODEL --key pipe --name a --version 1",
    "model attest MODEL --key KEY.key --name a --version 1 --evaluation pipe",
    "model attest MODEL --key KEY.key --name a --version 1 --job pipe",
    "artifact sign pipe --key KEY.key",
    "artifact sign good.yaml --key pipe",
    "artifact verify good.yaml --bundle pipe --key KEY.pub",
    "artifact verify good.yaml --bundle signed.json --key pipe",
    "image scan pipe",
    f"image verify localhost:1/a@{OF} --key pipe",
    f"image attest localhost:1/a@{OF} --key KEY.key --kind scan --predicate pipe",
    "bom diff pipe pipe",
    "bom score pipe",
    "vuln import pipe",
    "vuln scan pipe",
    "vuln scan pkg:pypi/a@1 --vex pipe",
    "vuln scan pkg:pypi/a@1 --imports pipe",
    f"vuln attest pipe --subject {OF} --key KEY.key",
    "vuln status --db pipe",
    "data register pipe --name a",
    "data register good.csv --name a --schema pipe",
    "data register good.csv --name a --reference pipe",
    "data register good.csv --name a --snapshot pipe",
    "data validate pipe",
    "data validate good.csv --schema pipe",
    "data validate good.csv --reference pipe",
    "data validate good.csv --attest a --key pipe",
    "policy build rules -o a.new --sign pipe",
    "policy lint pipe",
    "policy pull pipe --key KEY.pub",
    "policy pull file:bundle.tar.gz --key pipe",
    "policy replay --bundle pipe",
    "policy replay --waivers pipe",
    "policy test --cases pipe",
    "verify pipe",
    "verify good.yaml --key pipe",
    "verify good.yaml --checkpoint pipe",
    "verify good.yaml --root pipe",
    "trace a#rows=1-2 --data pipe",
    "report compliance a --mapping pipe",
    "report compliance a --statements pipe",
    "ledger restore pipe",
    "ledger verify --since pipe",
    "ledger verify-proof pipe --entry good.yaml --key VKEY",
    "ledger verify-proof good.yaml --entry pipe --key VKEY",
    "ledger witness serve --name a.example --logs pipe",
    "webhook --cert pipe --key KEY.key",
]


class WaitedError(BaseException):
    """The alarm; nothing that handles errors of files handles it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipe that nobody writes to, a key, a signed model, and a ledger."""
    made = tmp_path_factory.mktemp("special")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        os.mkfifo("pipe")
        os.mkfifo("pipe.yaml")
        open_pair(made, "KEY")
        Path("good.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
        Path("good.csv").write_text("a,b\n" + "".join(f"{n},{n % 2}\n" for n in range(20)))
        Path("MODEL").mkdir()
        Path("MODEL/config.json").write_text("{}")
        Path("rules").mkdir()
        assert run(["model", "sign", "MODEL", "--key", "KEY.key", "--out", "signed.json"]) == 0
        assert run(["data", "register", "good.csv", "--name", "a"]) == 0
    return made


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That folder, and an alarm: a command that waits fails its test."""
    monkeypatch.chdir(folder)

    def waited(_signal: int, _frame: Any) -> None:
        raise WaitedError

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield folder
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_is_refused_and_not_waited_for(place: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    vkey = NoteKey(wiring.LEDGER_ORIGIN, load_public(place / ".customhouse/keys/ledger.pub")).vkey
    words = [vkey if word == "VKEY" else word for word in command.split()]
    assert run(words) not in (0, 70)
    said = capsys.readouterr()
    assert "pipe" in said.err + said.out
    assert "there is no file" not in said.err
