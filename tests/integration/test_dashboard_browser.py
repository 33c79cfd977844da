"""The page in a real browser: live, honest when it is not, usable by keyboard, on a telephone, without JavaScript."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from dashboard_browser import Browser, Tab

from customhouse._kit.clock import SystemClock, to_rfc3339
from customhouse.app.overview import Overview
from customhouse.server import streams
from customhouse.server.serving import Server

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit" / "server"))
from server_boards import DENIAL, EMPTY, PICTURE, RELEASE, StillBoard

pytestmark = pytest.mark.part("chromium")

LIVE = "document.getElementById('live').dataset.state === '{}'"
# WCAG 2.2, 1.4.3: 4.5 to 1 for text against what is painted behind it.
FAINT = """
(() => {
  const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (css) => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = css; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data]; };
  const behind = (node) => { for (; node; node = node.parentElement) {
    const c = rgba(getComputedStyle(node).backgroundColor); if (c[3] === 255) return c; } return rgba('Canvas'); };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || ['SCRIPT', 'NOSCRIPT'].includes(node.tagName)) continue;
    const a = light(rgba(getComputedStyle(node).color)), b = light(behind(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push([walk.currentNode.data.trim(), ratio]);
  }
  return faint;
})()
"""


class FreshBoard(StillBoard):
    """A board whose control plane looks all the time, until it hangs."""

    def __init__(self, picture: Overview | None = PICTURE) -> None:
        super().__init__(picture)
        self.hangs = False

    def overview(self) -> Overview:
        picture = super().overview()
        return picture if self.hangs else replace(picture, at=to_rfc3339(SystemClock().now()))


@pytest.fixture(scope="module")
def browser(find_part: Callable[[str], Path]) -> Iterator[Browser]:
    with Browser(find_part("chromium")) as running:
        yield running


@pytest.fixture
def board() -> FreshBoard:
    return FreshBoard()


@pytest.fixture
def server(board: FreshBoard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(streams, "BEAT_S", 0.4)
    with Server(board) as running:
        yield running


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[Tab]:
    with closing(browser.open(server.address.url)) as page:
        page.until(LIVE.format("live"))
        yield page


def test_a_denial_is_on_the_open_page_within_a_second(tab: Tab, board: FreshBoard) -> None:
    new = replace(DENIAL, digest="sha256:" + "99" * 32, subject="Ask for eight H100", at="2026-03-01T10:00:09Z")
    board.show(replace(PICTURE, decisions=(new, DENIAL)))
    assert tab.until("document.getElementById('decisions').innerText.includes('Ask for eight H100')") < 1.0
    assert tab.value("document.getElementById('news').textContent") == "deny: Ask for eight H100"
    assert tab.value("document.getElementById('news').getAttribute('role')") == "status"


def test_when_the_server_goes_away_the_page_says_stale_and_comes_back_with_it(
    browser: Browser, board: FreshBoard
) -> None:
    with Server(board) as server:
        port = server.address.port
        page = browser.open(server.address.url)
        page.until(LIVE.format("live"))
    with closing(page):
        assert page.until(LIVE.format("stale")) < 2.0
        board.show(replace(PICTURE, problem="it was away"))
        with Server(board, port=port):
            assert page.until(LIVE.format("live")) < 5.0
            page.until("document.querySelector('[role=alert]').textContent.includes('it was away')")


def test_a_control_plane_that_hangs_behind_a_server_that_answers_is_stale(tab: Tab, board: FreshBoard) -> None:
    board.hangs = True
    assert tab.until(LIVE.format("stale")) < 3.0
    board.hangs = False
    assert tab.until(LIVE.format("live")) < 3.0


def test_the_time_of_the_last_look_goes_on_when_nothing_else_changes(tab: Tab) -> None:
    before = tab.value("document.getElementById('as-of').dateTime")
    tab.until(f"document.getElementById('as-of').dateTime > '{before}'", 3.0)


def test_the_page_waits_for_a_control_plane_that_starts(browser: Browser, server: Server, board: FreshBoard) -> None:
    board.picture = None
    with closing(browser.open(server.address.url)) as page:
        assert "The control plane is starting" in page.text()
        board.show(PICTURE)
        assert page.until("document.getElementById('releases') !== null") < 2.0
        assert "The control plane is starting" not in page.text()


def test_what_the_reader_opened_and_where_the_focus_is_stays(tab: Tab, board: FreshBoard) -> None:
    tab.value("document.querySelector('#decisions summary').focus()")
    tab.key("Enter")
    tab.until("document.querySelector('#decisions details').open")
    new = replace(DENIAL, digest="sha256:" + "98" * 32, subject="Another", reason="Something else")
    board.show(replace(PICTURE, decisions=(new, DENIAL), ledger_size=2002))
    tab.until("document.getElementById('decisions').innerText.includes('Another')")
    assert tab.value("[...document.querySelectorAll('#decisions details')].map((one) => one.open)") == [False, True]
    assert DENIAL.reason in tab.value("document.activeElement.textContent")


def test_the_keyboard_reaches_everything_in_reading_order(tab: Tab) -> None:
    seen = []
    for _ in range(20):
        tab.key("Tab")
        seen.append(tab.value("(document.activeElement.textContent || '').trim().slice(0, 12)"))
        if seen[-1].startswith("/metrics"):
            break
    assert seen[0] == "Skip to the "
    assert seen[1:6] == ["Serving", "Releases", "Decisions", "Costs", "Ledger"]
    assert any("docker.io" in word or "The image" in word for word in seen)
    assert seen[-1] == "/metrics"
    assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_nothing_breaks_the_content_security_policy_and_nothing_is_asked_of_other_hosts(
    tab: Tab, server: Server, board: FreshBoard
) -> None:
    board.show(replace(PICTURE, releases=(replace(RELEASE, author="<img src=http://elsewhere.example/x>"),)))
    tab.until("document.getElementById('releases').innerText.includes('elsewhere.example')")
    asked = {urlsplit(event["request"]["url"]).netloc for event in tab.happened("Network.requestWillBeSent")}
    assert asked == {f"{server.address.host}:{server.address.port}"}
    assert tab.happened("Log.entryAdded", lambda event: event["entry"]["level"] == "error") == []
    assert tab.happened("Runtime.exceptionThrown") == []
    blocked = "new Promise((done) => { document.addEventListener('securitypolicyviolation', (e) => done(e.blockedURI));"
    blocked += " const i = new Image(); i.src = 'http://elsewhere.example/x'; document.body.append(i); })"
    assert tab.value(blocked) == "http://elsewhere.example/x"


def test_without_javascript_the_page_has_everything_and_says_that_it_stands_still(
    browser: Browser, server: Server
) -> None:
    with closing(browser.open(server.address.url, script=False)) as page:
        text = page.text()
        for words in ("fraud-detection v2.1", "deny", "Budget fraud", "reload to see a newer one"):
            assert words in text
        assert page.value("document.getElementById('live').hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_text_is_readable_in_both_schemes_and_nothing_runs_off_a_telephone(
    browser: Browser, server: Server, board: FreshBoard, scheme: str, width: int
) -> None:
    arms = tuple(
        replace(RELEASE, state=state, health=health, release="sha256:" + f"{number:02x}" * 32, message="why " * 20)
        for number, (state, health) in enumerate(
            [("canary", "Progressing"), ("serving", "Healthy"), ("rolled back", ""), ("failed", "Degraded")]
        )
    )
    long = replace(DENIAL, reason="docker.io/someone/trainer@sha256:" + "9" * 64, verdict="warn")
    board.show(
        replace(PICTURE, problem="x" * 300, releases=arms, decisions=(long, DENIAL), repository="/srv/" + "r" * 90)
    )
    with closing(browser.open(server.address.url, width=width, scheme=scheme)) as page:
        page.until(LIVE.format("live"))
        assert page.value(FAINT) == []
        assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("width", [390, 1400])
def test_a_screen_reader_finds_landmarks_headings_and_tables(browser: Browser, server: Server, width: int) -> None:
    with closing(browser.open(server.address.url, width=width)) as page:
        page.until(LIVE.format("live"))
        nodes = [node for node in page.call("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
        found: dict[str, list[str]] = {}
        for node in nodes:
            found.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
        for landmark in ("banner", "navigation", "main", "contentinfo"):
            assert len(found[landmark]) == 1, landmark
        assert {"Serving now", "Releases", "Decisions", "Costs", "Ledger"} <= set(found["heading"])
        assert [name.split(",")[0] for name in found["table"]] == [
            "Every release that runs or ran",
            "What the gate said of each change of each commit",
        ]
        assert len(found["rowheader"]) == 2
        assert len(found["cell"]) == 9 + 5
        pictures = found.get("image", []) + found.get("img", [])
        assert "Traffic: v2.1 100 %" in pictures
        assert any(name.startswith("25.0 % of the budget is spent") for name in pictures)
        assert all(found["link"]), "a link without a name"


def test_an_empty_board_is_a_page_too(browser: Browser, server: Server, board: FreshBoard) -> None:
    board.show(EMPTY)
    with closing(browser.open(server.address.url)) as page:
        page.until(LIVE.format("live"))
        assert "No model is served yet" in page.text()
        assert page.happened("Runtime.exceptionThrown") == []
