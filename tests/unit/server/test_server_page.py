"""The page shows what the Overview says, and nothing that a repository's author can write is taken for HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from server_boards import COSTS, DENIAL, EMPTY, PICTURE, RELEASE

from customhouse.app.overview import BudgetRow
from customhouse.server.page import Page, rounded, services, shares


def rendered(picture=PICTURE) -> str:  # type: ignore[no-untyped-def]
    return Page().render("index.html", picture)


def test_a_release_is_known_by_its_models_version() -> None:
    text = rendered()
    assert "fraud-detection v2.1" in text
    assert f'<code title="{RELEASE.artifact}">{"c3" * 6}</code>' in text


def test_a_release_says_what_was_said_of_its_model() -> None:
    text = rendered()
    assert "evidence: 1 of 2 verified" in text
    assert "scan clean, by build" in text
    assert "provenance not verified: &lt;no key&gt;" in text


def test_a_denial_says_why_and_what_to_do() -> None:
    text = rendered()
    for part in (DENIAL.reason, "Mirror it.", "rule trusted-registry, jobs/x.yaml:9:5", "and 1 more", "Add it."):
        assert part in text


def test_an_amount_is_exact_for_programs_and_short_for_people() -> None:
    assert '<data value="0.000593123456">0.00059</data>' in rendered()


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0.00", "0.00"),
        ("0.004", "0.0040"),
        ("1234.5", "1,234.50"),
        ("-0.001234", "-0.0012"),
        ("2.675", "2.68"),
        ("0.05", "0.050"),
        ("12", "12.00"),
    ],
)
def test_an_amount_that_is_there_is_never_shown_as_nothing(amount: str, shown: str) -> None:
    assert rounded(amount) == shown
    assert (Decimal(shown.replace(",", "")) == 0) == (Decimal(amount) == 0)


def test_a_time_of_another_day_has_its_date() -> None:
    text = rendered(replace(PICTURE, releases=(RELEASE, replace(RELEASE, at="2026-02-28T09:00:00Z", release="r"))))
    assert '<time datetime="2026-03-01T10:00:00.5Z" title="2026-03-01 10:00:00 UTC">10:00:00</time>' in text
    assert '<time datetime="2026-02-28T09:00:00Z" title="2026-02-28 09:00:00 UTC">2026-02-28 09:00</time>' in text


def test_the_budget_bar_has_what_is_spent_within_what_is_expected() -> None:
    assert shares(COSTS.budgets[0]) == (25.0, 50.0)
    text = rendered()
    assert '<rect class="spent" width="25.0"' in text
    assert '<rect class="expected" width="50.0"' in text


def test_a_budget_that_will_not_suffice_says_so() -> None:
    tight = replace(COSTS, budgets=(BudgetRow("fraud", "100.00", "90.00", "20.00", "-10.00"),))
    text = rendered(replace(PICTURE, costs=tight))
    assert "will not suffice" in text
    assert '<rect class="bad" width="100.0"' in text
    assert shares(BudgetRow("none", "0.00", "0.00", "0.00", "0.00")) == (100.0, 100.0)


def test_a_canary_shows_both_arms_with_their_share() -> None:
    arms = (
        replace(RELEASE, weight=20, state="canary", version="v2.2", release="sha256:" + "b2" * 32),
        replace(RELEASE, weight=80),
    )
    picture = replace(PICTURE, releases=arms, state="canary")
    assert [[row.weight for row in rows] for _, rows in services(picture)] == [[80, 20]]
    assert 'aria-label="Traffic: v2.1 80 %, v2.2 20 %"' in rendered(picture)


def test_an_empty_board_says_what_to_do_next() -> None:
    text = rendered(EMPTY)
    for words in ("Commit an InferenceService", "Nothing is released yet", "judged nothing yet", "recorded yet"):
        assert words in text


def test_before_the_first_look_the_page_is_there_and_waits() -> None:
    text = rendered(None)
    assert "The control plane is starting" in text
    assert 'src="/static/live.js"' in text


def test_what_an_author_wrote_is_text() -> None:
    attack = '"><script>alert(1)</script>'
    picture = replace(
        PICTURE,
        problem=attack,
        branch=attack,
        releases=(replace(RELEASE, author=attack, version=attack, message=attack, name=attack, state="rolled back"),),
        decisions=(replace(DENIAL, subject=attack, reason=attack, resource=attack),),
    )
    text = rendered(picture)
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;") >= 6


def test_the_page_has_what_screen_readers_go_by() -> None:
    text = rendered()
    for landmark in ("<header>", "<nav aria-label", '<main id="board"', "<footer>", 'lang="en"', 'class="skip"'):
        assert landmark in text
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert text.count("<caption") == text.count("<table")
    assert all('scope="' in head for head in re.findall(r"<th\b[^>]*>", text))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    referred = {name for names in re.findall(r'aria-labelledby="([^"]+)"', text) for name in names.split()}
    assert referred | set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


def test_the_page_needs_nothing_from_elsewhere_and_no_inline_code() -> None:
    text = rendered()
    loaded = re.findall(r'<(?:script|link|img)\b[^>]*?(?:src|href)="([^"]+)"', text)
    assert loaded
    assert all(place.startswith("/static/") for place in loaded)
    assert not re.search(r"\s(?:style|on\w+)=", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)


def test_the_same_picture_is_put_into_html_once() -> None:
    page = Page()
    assert page.render("fragment.html", PICTURE) is page.render("fragment.html", PICTURE)
    assert page.render("fragment.html", EMPTY) != page.render("fragment.html", PICTURE)
