"""The page as its users meet it: in a real Chromium, over a real server."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from actors.serve.events import EventTiming
from actors.serve.web import create_app
from tests.support.web_browser import DESKTOP, PHONE, Watched, chromium, opened
from tests.support.web_fake_fleet import HOLDING, SITE_IDS, UNREACHABLE, FakeFleet
from tests.support.web_server import served
from tests.web.conftest import Running

pytestmark = pytest.mark.browser

DASH = "\N{EN DASH}"
both_widths = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
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
def viewport() -> ViewportSize:
    return DESKTOP


@pytest.fixture
def watched(browser: Browser, base: str, viewport: ViewportSize) -> Iterator[Watched]:
    with opened(browser, base, viewport) as found:
        expect(found.page.locator("#link-text")).to_have_text("Live")
        expect(found.page.locator("#chart-summary")).to_contain_text("Plan by dispatch")
        yield found


def row(page: Page, site_id: str, cell: str) -> str:
    return page.locator(f"tr[data-site={site_id}] {cell}").inner_text()


@both_widths
def test_the_page_shows_the_fleet_and_asks_nobody_else(watched: Watched, base: str) -> None:
    page = watched.page
    expect(page.locator("#fleet-id")).to_have_text("atacama")
    expect(page.locator("#speed")).to_have_text("simulated \N{MULTIPLICATION SIGN}600")
    expect(page.locator("#version")).to_have_text("v0.1.0")
    expect(page.locator("#t-sites")).to_have_text("5 of 6")
    expect(page.locator("#t-price-sub")).to_have_text("chile cen, crucero 220")
    assert page.locator("tbody tr").count() == len(SITE_IDS)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert watched.errors == []
    assert watched.hosts == {urlsplit(base).netloc}


@both_widths
def test_unknown_numbers_are_dashes_with_a_reason_never_zero(watched: Watched) -> None:
    page = watched.page
    for cell in (".c-soc .num", ".c-power .num", ".c-setpoint .num"):
        assert row(page, UNREACHABLE, cell) == DASH
        assert page.locator(f"tr[data-site={UNREACHABLE}] {cell}").get_attribute("title")
    assert "no answer within" in row(page, UNREACHABLE, ".error")
    assert row(page, HOLDING, ".c-power .num") == "0.0 kW"


def test_the_numbers_move(watched: Watched) -> None:
    page, before = watched.page, watched.page.locator("#market-time").inner_text()
    now_at = page.locator("#chart .now-text").inner_html()
    expect(page.locator("#market-time")).not_to_have_text(before)
    expect(page.locator("#chart .now-text")).not_to_have_text(now_at)


@both_widths
def test_the_chart_draws_price_band_zones_and_lines(watched: Watched) -> None:
    chart = watched.page.locator("#chart")
    for part in ("path.price", "path.forecast", "path.band", "path.power", "path.soc.planned"):
        drawn = chart.locator(part).get_attribute("d")
        assert drawn, part
        assert "NaN" not in drawn
    assert chart.locator("rect.zone.charge").count() >= 1
    assert chart.locator("rect.zone.discharge").count() >= 1
    assert chart.locator("rect.plan").count() >= 6
    assert chart.locator("line.now").count() == 1
    assert watched.page.locator(".legend li").count() == 7
    path = chart.locator("path.price").get_attribute("d")
    assert path is not None
    assert path.count("M") == 2, "the hour without a price must be a gap"


WATCH_LINK = """() => {
  window.links = [];
  new MutationObserver(() => window.links.push(document.body.dataset.link)).observe(
    document.body, { attributes: true, attributeFilter: ["data-link"] });
}"""

# Samples a minute apart, then a pause of so many minutes, at the speed of a real market.
READ_MIDDLE_OF_PAUSE = """async (minutes) => {
  const { Day } = await import("/static/day.js");
  const day = new Day();
  const at = (minute) => Date.UTC(2024, 0, 1) + minute * 60_000;
  const text = (minute) => new Date(at(minute)).toISOString();
  const numbers = { active_power_kw: 1, soc_pct: 50 };
  const end = 10 + minutes;
  day.setSamples([8, 9, 10, end].map((minute) => ({ market_at: text(minute), ...numbers })));
  day.setLive({ clock: { market_now: text(end), speed: 1 } }, numbers);
  return [day.maxGapMs >= minutes * 60_000, day.reading(at(10 + minutes / 2)).sample !== null];
}"""


@pytest.mark.parametrize(("minutes", "joined"), [(2, True), (30, False)])
def test_a_pause_of_a_site_is_a_gap_not_a_line(
    watched: Watched, minutes: int, joined: bool
) -> None:
    assert watched.page.evaluate(READ_MIDDLE_OF_PAUSE, minutes) == [joined, joined]


def test_a_pointer_and_the_keyboard_read_values(watched: Watched) -> None:
    page, chart = watched.page, watched.page.locator("#chart")
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60)
    expect(page.locator(".tip")).to_contain_text(f"p10{DASH}p90")
    chart.focus()
    page.keyboard.press("Escape")
    expect(page.locator(".tip")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tip")).to_contain_text("Power")
    expect(page.locator("#chart [role=status]")).to_contain_text("UTC")


@both_widths
def test_choosing_a_site_by_click_and_by_keyboard(watched: Watched) -> None:
    page = watched.page
    page.locator("tr[data-site=site-2]").click()
    expect(page.locator("#detail-title")).to_have_text("site-2")
    pick = page.locator("tr[data-site=site-2] .pick")
    expect(pick).to_have_attribute("aria-pressed", "true")
    pick.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#detail-title")).to_have_text("site-3")
    expect(pick).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#chart-summary")).to_contain_text("Plan by dispatch")


def test_a_site_without_plan_or_numbers_says_so(watched: Watched) -> None:
    page = watched.page
    page.locator(f"tr[data-site={UNREACHABLE}]").click()
    expect(page.locator("#chart-summary")).to_contain_text("No plan for this site yet")
    expect(page.locator("#detail-why")).to_contain_text("no answer within")
    assert page.locator("#facts dd").first.inner_text() == DASH
    assert page.locator("#chart .dot.soc").count() == 0
    assert watched.errors == []


def test_texts_of_the_fleet_are_text_not_markup(
    browser: Browser, base: str, fleet: FakeFleet
) -> None:
    fleet.site_text = "<img src=x onerror=alert(1)> & more"
    with opened(browser, base) as found:
        expect(found.page.locator("tr[data-site=site-1] .reason")).to_have_text(fleet.site_text)
        assert found.page.locator("img").count() == 0
        assert found.errors == []


def test_a_fleet_without_a_plan_says_why(browser: Browser, base: str, fleet: FakeFleet) -> None:
    fleet.plan_error = "the dispatch model does not answer"
    with opened(browser, base) as found:
        expect(found.page.locator("#plan-error")).to_contain_text(fleet.plan_error)
        fleet.plan_error = None
        expect(found.page.locator("#plan-error")).to_be_hidden()


def test_a_fleet_that_is_gone_greys_its_numbers_until_it_returns(
    browser: Browser, base: str, fleet: FakeFleet
) -> None:
    with opened(browser, base) as found:
        page, power = found.page, found.page.locator("#t-power")
        expect(page.locator("#link-text")).to_have_text("Live")
        fresh = power.evaluate("e => getComputedStyle(e).color")
        fleet.available = False
        expect(page.locator("#link-text")).to_have_text("No fleet")
        expect(page.locator("#lost")).to_contain_text("no fleet answers; start one")
        expect(page.locator("#lost")).to_contain_text("numbers are from")
        assert power.evaluate("e => getComputedStyle(e).color") != fresh
        fleet.available = True
        expect(page.locator("#link-text")).to_have_text("Live")
        expect(page.locator("#lost")).to_be_hidden()


def test_a_stream_that_the_server_renews_is_no_loss(browser: Browser) -> None:
    timing = EventTiming(period_s=0.05, longest_s=0.3)
    app = create_app(FakeFleet(), api_key=None, loopback_only=True, timing=timing)
    with served(app) as base, opened(browser, base) as found:
        expect(found.page.locator("body")).to_have_attribute("data-link", "live")
        found.page.evaluate(WATCH_LINK)
        found.page.wait_for_timeout(1500)
        assert found.page.evaluate("window.links") == []
        assert found.errors == []


def test_a_server_that_stops_and_returns_is_found_again(browser: Browser) -> None:
    fleet = FakeFleet()
    app = create_app(fleet, api_key=None, loopback_only=True, timing=PACE)
    with served(app) as first:
        port = urlsplit(first).port
        context = opened(browser, first)
        page = context.__enter__().page
        expect(page.locator("#link-text")).to_have_text("Live")
    expect(page.locator("#link-text")).to_have_text("Connection lost")
    expect(page.locator("#lost")).to_contain_text("Retrying")
    with served(app, port or 0):
        expect(page.locator("#link-text")).to_have_text("Live", timeout=15_000)
        expect(page.locator("#lost")).to_be_hidden()
        context.__exit__(None, None, None)


def test_a_key_is_asked_for_and_kept_out_of_the_address(browser: Browser) -> None:
    app = create_app(FakeFleet(), api_key="s3cret", loopback_only=True, timing=PACE)
    with served(app) as base, opened(browser, base) as found:
        page = found.page
        expect(page.locator("#key-dialog")).to_be_visible()
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-text")).to_contain_text("not accepted")
        expect(page.locator("#key-dialog")).to_be_visible()
        page.fill("#key", "s3cret")
        page.keyboard.press("Enter")
        expect(page.locator("#link-text")).to_have_text("Live")
        expect(page.locator("#key-dialog")).to_be_hidden()
        expect(page.locator("#version")).to_have_text("v0.1.0")
        assert "s3cret" not in page.url
        page.reload()
        expect(page.locator("#link-text")).to_have_text("Live")
