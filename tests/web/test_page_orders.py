"""Stops on the page: buttons, dialog, badges; by mouse, keyboard and screen reader."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from actors.serve.events import EventTiming
from actors.serve.web import create_app
from bessai.model import AutonomyLevel
from tests.support.web_browser import DESKTOP, PHONE, Watched, chromium, opened
from tests.support.web_fake_fleet import SITE_IDS, FakeFleet
from tests.support.web_server import served
from tests.web.conftest import Running

pytestmark = pytest.mark.browser

PACE = EventTiming(period_s=0.2, retry_s=0.2)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    fleet = FakeFleet()
    with served(create_app(fleet, api_key=None, loopback_only=True, timing=PACE)) as base:
        yield Running(fleet, base)


@pytest.fixture
def watched(browser: Browser, base: str) -> Iterator[Watched]:
    with opened(browser, base) as found:
        expect(found.page.locator("#link-text")).to_have_text("Live")
        yield found


def say(page: Page, reason: str, by: str | None = "Ana") -> None:
    page.fill("#order-reason", reason)
    if by is not None:
        page.fill("#order-by", by)
    page.keyboard.press("Enter")
    expect(page.locator("#order-dialog")).to_be_hidden()


def test_a_site_is_stopped_and_released_by_keyboard_alone(
    watched: Watched, fleet: FakeFleet
) -> None:
    page = watched.page
    fleet.obey_s = 3600.0
    act = page.get_by_role("button", name="Stop site-1")
    act.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Stop site-1")
    expect(dialog).to_be_visible()
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("smoke")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.type("Ana")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#site-act")).to_be_focused()
    flags = page.locator("tr[data-site=site-1] .flags")
    expect(flags).to_have_text("Stop ordered")
    expect(page.get_by_role("status", name="Stops")).to_contain_text("does not say yet")
    fleet.obey_s = 0.0
    expect(flags).to_have_text("Safe stop")
    expect(page.locator("#detail-flags")).to_have_text("Safe stop")
    expect(page.get_by_role("status", name="Stops")).to_have_text("site-1 stopped by Ana: smoke")
    page.get_by_role("button", name="Release site-1").click()
    expect(page.locator("#order-list")).to_have_text("site-1: stopped by Ana: smoke")
    assert page.locator("#order-by").input_value() == "Ana", "the name is remembered"
    say(page, "no smoke", by=None)
    expect(page.locator("#stops")).to_be_hidden()
    assert [(o.site_id, o.stopped, o.by, o.reason) for o in fleet.orders] == [
        ("site-1", True, "Ana", "smoke"),
        ("site-1", False, "Ana", "no smoke"),
    ]
    assert watched.errors == []


def test_all_sites_are_stopped_and_what_a_release_ends_is_listed(
    watched: Watched, fleet: FakeFleet
) -> None:
    page = watched.page
    expect(page.locator("#release-all")).to_be_hidden()
    page.get_by_role("button", name="Stop all").click()
    say(page, "storm")
    expect(page.locator("tr .flag.stop")).to_have_count(len(SITE_IDS) - 1)
    assert {order.site_id for order in fleet.orders} == set(SITE_IDS)
    page.get_by_role("button", name="Release all").click()
    expect(page.locator("#order-list li")).to_have_count(len(SITE_IDS))
    say(page, "calm")
    expect(page.locator("tr .flag.stop")).to_have_count(0)
    assert not fleet.orders[-1].stopped


@pytest.mark.parametrize("way", ["Escape", "Cancel", "without a reason"])
def test_nothing_is_ordered_without_a_yes_and_a_reason(
    watched: Watched, fleet: FakeFleet, way: str
) -> None:
    page = watched.page
    page.locator("#site-act").click()
    page.fill("#order-by", "Ana")
    match way:
        case "Escape":
            page.keyboard.press("Escape")
            expect(page.locator("#order-dialog")).to_be_hidden()
        case "Cancel":
            page.get_by_role("button", name="Cancel").click()
            expect(page.locator("#order-dialog")).to_be_hidden()
        case _:
            page.keyboard.press("Enter")
            expect(page.locator("#order-dialog")).to_be_visible()
    assert fleet.orders == []


def test_an_order_that_is_not_taken_says_why_and_can_be_sent_again(
    watched: Watched, fleet: FakeFleet
) -> None:
    page = watched.page
    fleet.store_broken = True
    page.locator("#site-act").click()
    page.fill("#order-reason", "smoke")
    page.fill("#order-by", "Ana")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="disk full")).to_be_visible()
    expect(page.locator("#order-dialog")).to_be_visible()
    fleet.store_broken = False
    page.get_by_role("button", name="Stop site-1").last.click()
    expect(page.locator("#order-dialog")).to_be_hidden()
    assert len(fleet.orders) == 1


def test_a_reason_is_text_not_markup(watched: Watched, fleet: FakeFleet) -> None:
    page, reason = watched.page, "<img src=x onerror=alert(1)>"
    page.locator("#site-act").click()
    say(page, reason)
    expect(page.locator("#stops")).to_contain_text(reason)
    page.locator("#site-act").click()
    expect(page.locator("#order-list")).to_contain_text(reason)
    assert page.locator("img").count() == 0
    assert len(fleet.orders) == 1


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_lesser_levels_and_sites_that_only_read_are_seen(
    browser: Browser, base: str, fleet: FakeFleet, viewport: ViewportSize
) -> None:
    fleet.levels["site-2"] = (AutonomyLevel.LOCAL_POLICY, "the plan has ended")
    fleet.levels["site-3"] = (AutonomyLevel.CACHED_SCHEDULE, "no answer for 21 s")
    fleet.reads_only.add("site-6")
    with opened(browser, base, viewport) as found:
        page = found.page
        expect(page.locator("tr[data-site=site-2] .c-follows")).to_contain_text("local policy")
        expect(page.locator("tr[data-site=site-2] .cause")).to_have_text("the plan has ended")
        expect(page.locator("tr[data-site=site-3] .c-follows")).to_contain_text(" old")
        expect(page.locator("tr[data-site=site-6] .flags")).to_have_text("Only reads")
        page.locator("tr[data-site=site-6]").click()
        expect(page.locator("#facts")).to_contain_text("only reads (probation)")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert found.errors == []


def test_an_order_carries_the_key_and_asks_for_it_where_it_is_wrong(browser: Browser) -> None:
    fleet = FakeFleet()
    app = create_app(fleet, api_key="s3cret", loopback_only=True, timing=PACE)
    with served(app) as base, opened(browser, base) as found:
        page = found.page
        page.fill("#key", "s3cret")
        page.keyboard.press("Enter")
        page.locator("#site-act").click()
        say(page, "smoke")
        assert len(fleet.orders) == 1
        page.route("**/release", lambda route: route.fulfill(status=401, body="{}"))
        page.get_by_role("button", name="Release site-1").click()
        page.fill("#order-reason", "again")
        page.keyboard.press("Enter")
        expect(page.locator("#key-dialog")).to_be_visible()
        assert len(fleet.orders) == 1
