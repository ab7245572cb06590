"""One real demo: Modbus TCP, Ray actors, Ray Serve, the page; then parts of it are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import psutil
import pytest
from playwright.sync_api import expect
from prometheus_client.parser import text_string_to_metric_families

from actors.local.reap import processes_of
from bessai.fleet.views import LiveView, PriceView, SchedulesView, SiteView
from tests.integration.conftest import Demo
from tests.support.command import ROOT, bessai, eventually
from tests.support.web_browser import chromium, opened

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
ROUTES = ("status", "fleet", "sites", "sites/calama", "schedule", "price", "health", "version")


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_answers_through_serve(demo: Demo, route: str) -> None:
    assert demo.get(f"/api/v1/{route}").status_code == httpx.codes.OK


def test_batteries_earn_from_the_real_price_of_the_hour(demo: Demo) -> None:
    def settled() -> bool:
        earned = demo.fleet().earnings
        return earned.exported_kwh > 1 and earned.imported_kwh > 1

    eventually(settled, 90)
    fleet = demo.fleet()
    assert fleet.earnings.unpriced_kwh == 0
    assert fleet.price_now is not None
    assert fleet.clock.speed == 600


def test_forecast_and_plans_come_from_the_served_models(demo: Demo) -> None:
    def planned() -> SchedulesView | None:
        found = SchedulesView.model_validate_json(demo.get("/api/v1/schedule").content)
        return found if len(found.schedules) == 3 else None

    plans = eventually(planned)
    price = PriceView.model_validate_json(demo.get("/api/v1/price").content)
    assert price.forecast is not None
    assert price.forecast.available_at <= price.forecast.issued_at
    assert len(price.forecast.steps) == 24
    assert all(len(plan.intervals) >= 23 for plan in plans.schedules)
    assert {plan.source for plan in plans.schedules} == {"dispatch"}


def test_events_stream_through_the_proxy(demo: Demo) -> None:
    with httpx.stream("GET", f"{demo.url}/api/v1/events", timeout=10) as stream:
        data = (line for line in stream.iter_lines() if line.startswith("data:"))
        first, second = (LiveView.model_validate_json(next(data)[5:]) for _ in range(2))
    assert len(first.sites) == 3
    assert second.fleet.as_of > first.fleet.as_of


def test_metrics_are_those_of_the_sites(demo: Demo) -> None:
    families = {f.name: f for f in text_string_to_metric_families(demo.get("/metrics").text)}
    soc = {s.labels["site_id"]: s.value for s in families["bessai_soc_percent"].samples}
    shown = {name: site.soc_pct for name, site in demo.sites().items()}
    assert soc.keys() == shown.keys()
    assert all(value is not None and 5 <= value <= 100 for value in shown.values())
    assert families["bessai_cycles"].samples[0].value > 0


def test_the_page_lives_behind_the_proxy(demo: Demo) -> None:
    with chromium() as browser, opened(browser, demo.url) as watched:
        expect(watched.page.locator("#link-text")).to_have_text("Live")
        expect(watched.page.locator("tr[data-site]")).to_have_count(3)
        expect(watched.page.locator("#chart-summary")).to_contain_text("Plan by dispatch")
        assert watched.hosts == {urlsplit(demo.url).netloc}
        assert watched.errors == []


def test_every_port_is_on_loopback_or_asks_for_the_token(demo: Demo) -> None:
    pids = {process.pid for process in processes_of(str(demo.folder))}
    listening = [
        (c.laddr.ip.removeprefix("::ffff:"), c.laddr.port)
        for c in psutil.net_connections("tcp")
        if c.laddr and c.status == psutil.CONN_LISTEN and c.pid in pids
    ]
    assert len(listening) > 10
    outside = [port for ip, port in listening if not ip.startswith("127.")]
    for port in outside:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=5)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_the_dashboard_wants_the_token_and_names_the_sites(demo: Demo) -> None:
    url = f"{demo.dashboard}/api/v0/actors?detail=1"
    assert httpx.get(url).status_code == httpx.codes.UNAUTHORIZED
    answer = httpx.get(url, headers={"Authorization": f"Bearer {demo.token}"}).json()
    actors = {a["name"]: a["repr_name"] for a in answer["data"]["result"]["result"]}
    assert actors["site:calama"].startswith("Site(calama: huawei_sun2000 at 127.0.0.1:")
    assert actors["fleet"] == "Fleet(demo: 3 sites)"


def test_a_dead_inverter_is_unreachable_without_numbers_and_comes_back(demo: Demo) -> None:
    assert bessai("fault", "calama", "dead", "--fleet", demo.folder.name) == (0, "calama: dead\n")

    def unreachable() -> SiteView | None:
        site = demo.sites()["calama"]
        return site if site.state == "unreachable" else None

    site = eventually(unreachable)
    assert (site.soc_pct, site.active_power_kw, site.grid_power_kw) == (None, None, None)
    assert site.error is not None
    assert "127.0.0.1:" in site.error
    assert demo.sites()["tocopilla"].state == "running"
    assert 'bessai_soc_percent{site_id="calama"}' not in demo.get("/metrics").text
    bessai("fault", "calama", "none", "--fleet", demo.folder.name)
    assert demo.wait_until_running()["calama"].soc_pct is not None


def test_killed_simulated_inverters_come_back_on_their_ports(demo: Demo) -> None:
    ports = {name: site.address for name, site in demo.sites().items()}
    inverters = [p for p in processes_of(str(demo.folder)) if "bessai.sim" in p.cmdline()]
    assert len(inverters) == 1
    inverters[0].kill()
    eventually(lambda: any(site.state == "unreachable" for site in demo.sites().values()))
    assert {name: site.address for name, site in demo.wait_until_running().items()} == ports


def test_a_killed_site_actor_comes_back_on_its_own(demo: Demo) -> None:
    before = demo.sites()["tocopilla"].pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: demo.sites()["tocopilla"].pid not in (None, before), 60)
    assert demo.wait_until_running()["tocopilla"].pid != before


def test_a_killed_fleet_actor_loses_no_earnings_and_sites_go_on(demo: Demo) -> None:
    cycles = {s.site_id: s.counters.cycles for s in demo.sites().values() if s.counters}
    earned = demo.fleet().earnings
    fleet = next(
        p for p in processes_of(str(demo.folder)) if p.name().startswith("ray::FleetActor")
    )
    fleet.kill()
    sites = demo.wait_until_running()
    after = demo.fleet().earnings
    assert after.exported_kwh >= earned.exported_kwh
    assert after.imported_kwh >= earned.imported_kwh
    for site_id, count in cycles.items():
        counters = sites[site_id].counters
        assert counters is not None
        assert counters.cycles > count


def test_a_stop_outlives_the_fleet_and_the_site_until_it_is_released(demo: Demo) -> None:
    said = ("--reason", "smoke", "--by", "Ana", "--url", demo.url)
    status, text = bessai("stop", "calama", *said)
    assert status == 0, text
    assert "calama: obeys after" in text
    before = demo.sites()["calama"].pid
    assert before is not None
    fleet = next(
        p for p in processes_of(str(demo.folder)) if p.name().startswith("ray::FleetActor")
    )
    fleet.kill()
    os.kill(before, signal.SIGKILL)

    def rests() -> SiteView | None:
        answer = demo.get("/api/v1/sites/calama")
        if answer.status_code != httpx.codes.OK:
            return None  # the fleet is away
        site = SiteView.model_validate_json(answer.content)
        obeys = site.stop is not None and site.stop.obeyed
        return site if obeys and site.pid != before else None

    site = eventually(rests, 90)
    assert site.stop is not None
    assert (site.stop.active, site.stop.by, site.autonomy) == (True, "Ana", "safe_stop")
    assert demo.sites()["tocopilla"].stop is None
    status, text = bessai("release", "calama", *said)
    assert status == 0, text
    assert "calama: ends the stop by Ana: smoke" in text
    demo.wait_until_running()


def test_the_training_job_runs_on_the_same_ray(demo: Demo, tmp_path: Path) -> None:
    submit = subprocess.run(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "job", "submit"),
            *("--address", demo.dashboard, "--working-dir", "."),
            *("--", sys.executable, "-m", "training.price_model", "--out", str(tmp_path)),
        ],
        cwd=ROOT,
        env=os.environ
        | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(demo.folder / "token")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert submit.returncode == 0, submit.stdout + submit.stderr
    assert len(list((tmp_path / "price").glob("*/card.json"))) == 1


def test_the_command_shows_what_the_api_says(demo: Demo) -> None:
    status, text = bessai("status", "--url", demo.url)
    assert status == 0
    assert "3 running" in text
    status, text = bessai("site", "calam", "--url", demo.url)
    assert status == 1
    assert "calama" in text  # the nearest name is the fix
