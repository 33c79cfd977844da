"""OPA as a sidecar: it answers as the embedded engine does, whoever else asks it, and silence decides nothing."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from admission_world import pod, start_webhook

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa_beside import OpaBeside, rooted
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import QUERY, builtin_bundle
from decision_cases import case

pytestmark = pytest.mark.part("opa")
_HEAD = "package customhouse\nimport rego.v1\n"
GOOD = {"good.rego": _HEAD + 'findings contains "seen" if input.x == 1\n'}
_NESTED = "\tsome a in numbers.range(1, 99999)\n\tsome b in numbers.range(1, 99999)\n\tz := a + b\n"
ENDLESS = {"endless.rego": _HEAD + f"findings contains z if {{\n{_NESTED}}}\n"}


class Sidecar:
    def __init__(self, program: Path, folder: Path) -> None:
        self.place, self._program, self._folder = folder / "socket", program, folder
        self.start()

    @property
    def address(self) -> str:
        return f"unix://{self.place}"

    def start(self) -> None:
        self.place.unlink(missing_ok=True)
        command: list[str | Path] = [self._program, "run", "--server", "--addr", self.address, "--disable-telemetry"]
        with (self._folder / "log").open("wb") as log:
            self.child = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while not self.place.exists():
            assert self.child.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.01)

    def stop(self) -> None:
        self.child.kill()
        self.child.wait()


def until(probe: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def sidecar(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    made = Sidecar(find_part("opa"), tmp_path_factory.mktemp("opa"))
    yield made
    made.stop()


@pytest.fixture
def engine(sidecar: Sidecar) -> Iterator[OpaBeside]:
    made = OpaBeside(sidecar.address, timeout_s=60)
    yield made
    made.close()


def test_several_at_once_with_more_bundles_than_are_kept_each_get_the_answers_of_their_own(sidecar: Sidecar) -> None:
    answers: list[tuple[str, object]] = []

    def ask(word: str) -> None:
        engine = OpaBeside(sidecar.address, timeout_s=60)
        modules = {"a.rego": f'{_HEAD}import data.more\nfindings contains more.said("{word}")\n'}
        modules["b.rego"] = 'package more\nsaid(x) := concat("-", [x, data.word])\n'
        for _ in range(5):
            # Others may take it out again and again: then nothing is decided.
            with contextlib.suppress(PolicyError):
                answers.append((word, engine.evaluate(modules, {"word": word}, {}, QUERY)))
        engine.close()

    threads = [threading.Thread(target=ask, args=(word,)) for word in ("a", "b", "c", "d", "e", "f")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ask("alone")
    assert answers.count(("alone", ["alone-alone"])) == 5
    assert [one for one in answers if one[1] != [f"{one[0]}-{one[0]}"]] == []


def test_half_a_bundle_answers_nothing(engine: OpaBeside) -> None:
    modules = {**GOOD, "deny.rego": _HEAD + 'findings contains "denied" if not data.spared\n'}
    assert engine.evaluate(modules, {}, {"x": 1}, QUERY) == ["denied", "seen"]
    root = engine._root(modules, {})
    half = (f"/v1/policies/customhouse/{root}/0", f"/v1/policies/customhouse/{root}/1", f"/v1/data/{root}")
    for part in half:
        engine._ask("DELETE", part, b"", "")
        assert "result" not in engine._judge(root, QUERY, b'{"x": 1}')
        assert engine.evaluate(modules, {}, {"x": 1}, QUERY) == ["denied", "seen"]


def test_a_bundle_that_reaches_out_is_refused_before_it_is_sent(engine: OpaBeside) -> None:
    reaching = {"out.rego": _HEAD + 'findings contains http.send({"method": "get", "url": "http://x"})\n'}
    with pytest.raises(PolicyError, match=r"http\.send"):
        engine.evaluate(reaching, {}, {}, QUERY)


def test_what_cannot_be_compiled_or_evaluated_is_told_with_its_file(engine: OpaBeside) -> None:
    broken = {**GOOD, "bad.rego": "package customhouse.bad\nimport rego.v1\nx if if\n"}
    with pytest.raises(PolicyError, match=r"bad\.rego|parse error"):
        engine.evaluate(broken, {}, {}, QUERY)
    with pytest.raises(PolicyError, match="divide by zero"):
        engine.evaluate({"zero.rego": _HEAD + "findings contains x if x := 1 / input.zero\n"}, {}, {"zero": 0}, QUERY)
    with pytest.raises(PolicyError, match="undefined"):
        engine.evaluate({"none.rego": "package other\nx := 1\n"}, {}, {}, QUERY)


def test_modules_that_call_one_another_are_taken_in_any_order(engine: OpaBeside) -> None:
    first = "package customhouse\nimport rego.v1\nimport data.lib\nfindings contains lib.twice(input.x)\n"
    modules = {"a.rego": first, "b.rego": "package lib\ntwice(x) := data.more.sum(x, x)\n"}
    modules["c.rego"] = "package more\nsum(x, y) := x + y\n"
    assert engine.evaluate(modules, {}, {"x": 4}, QUERY) == [8]


def test_a_rule_without_end_and_a_server_that_is_gone_decide_nothing(sidecar: Sidecar, engine: OpaBeside) -> None:
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]
    hasty = OpaBeside(sidecar.address, timeout_s=1)
    with pytest.raises(PolicyError, match=r"no answer within 1 s|no answer"):
        hasty.evaluate(ENDLESS, {}, {}, QUERY)
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]
    sidecar.stop()
    with pytest.raises(PolicyError, match="cannot be asked"):
        engine.evaluate(GOOD, {}, {"x": 1}, QUERY)
    sidecar.start()
    assert engine.evaluate(GOOD, {}, {"x": 1}, QUERY) == ["seen"]  # it was started anew, with nothing in it


@pytest.mark.parametrize("address", ["http://opa:8181", "https://127.0.0.1:1", "unix://x/y", "http://127.0.0.1", "opa"])
def test_an_opa_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(PolicyError, match="no OPA of this machine"):
        OpaBeside(address)


def test_what_a_module_refers_to_moves_with_it_and_its_lines_stay() -> None:
    text = """# data.a
package customhouse.x

import data.customhouse.lib
import data.words as data_words

findings contains {"data": data["y"], "z": input.data, "t": "data.q"} if data.customhouse.lib.f(`data`)
"""
    assert (
        rooted(text, "x.rego", "r")
        == """# data.a
package r.customhouse.x

import data.r.customhouse.lib
import data.r.words as data_words

findings contains {"data": data.r["y"], "z": input.data, "t": "data.q"} if data.r.customhouse.lib.f(`data`)
"""
    )


def test_the_packaged_rules_say_the_same_there(engine: OpaBeside) -> None:
    embedded, bundle = RegorusEngine(), builtin_bundle()
    said = 0
    for seed in range(30):
        _, facts, _ = case(seed)
        answer = engine.evaluate(bundle.modules, bundle.data, facts.canonical, QUERY)
        assert answer == embedded.evaluate(bundle.modules, bundle.data, facts.canonical, QUERY)
        said += len(answer)
    assert said


def test_the_webhook_asks_the_opa_beside_it_and_stays_shut_without_it(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOMHOUSE_ENGINE", "opa")
    monkeypatch.setenv("CUSTOMHOUSE_OPA", sidecar.address)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # no program of this name to fall back to
    rules = "policy: {trustedRegistries: [apexlogic.com], requireSignedCommits: false}\n"
    (tmp_path / "customhouse.yaml").write_text("apiVersion: customhouse.dev/v1\n" + rules)
    webhook = start_webhook(tmp_path)
    try:
        until(lambda: webhook.ask("/readyz")[0] == 200)
        assert webhook.judge(pod("good", "default"))["allowed"] is True
        denied = webhook.judge(pod("bad", "default", "evil.example/x:latest"))
        assert denied["allowed"] is False
        assert "image-untrusted-registry" in denied["status"]["message"]
        sidecar.stop()
        shut = webhook.judge(pod("good", "default"))
        assert shut["allowed"] is False
        assert "opa" in shut["status"]["message"]
    finally:
        assert webhook.stop() == 0
