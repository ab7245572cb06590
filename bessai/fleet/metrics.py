"""Prometheus text from the fleet's snapshot: one scrape, true values only.

An unknown number is an absent sample; nothing is 0 unless it was counted and is 0. Money is a
gauge, because a site that buys at a high price has earned less than before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bessai.fleet.views import FleetView, LiveView, SiteView
from bessai.model import AutonomyLevel, DurationHistogram, Tenure
from bessai.store.account import PICO_PER_UNIT, Account
from bessai.units import WH_PER_KWH

Sample = tuple[Sequence[str], float | None]


@dataclass(frozen=True, slots=True)
class MetricsInput:
    """All that a scrape shows.

    Attributes:
        cycle_durations: Histogram per reporting site.
        accounts: Accounts of the sites that have one.
    """

    live: LiveView
    market: str
    node: str
    currency: str
    cycle_durations: Mapping[str, DurationHistogram]
    accounts: Sequence[Account]
    plans: int
    plan_failures: int
    store_ok: bool


def render_metrics(data: MetricsInput) -> str:
    """The Prometheus text format, version 0.0.4.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FleetCollector(data))
    return generate_latest(registry).decode("utf-8")


class FleetCollector(Collector):
    """Turns one snapshot into metric families."""

    def __init__(self, data: MetricsInput) -> None:
        self._data = data

    def describe(self) -> Iterable[Metric]:
        """Nothing: what exists depends on what is known now."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families that have at least one sample."""
        data = self._data
        families = [
            *_site_gauges(data.live.sites),
            *_site_guards(data.live.sites),
            *_site_counters(data.live.sites),
            _cycle_durations(data.cycle_durations),
            *_fleet_gauges(data.live.fleet, data),
            *_account_metrics(data),
            *_planning(data),
        ]
        yield from (family for family in families if family.samples)


def _gauge(name: str, text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(f"bessai_{name}", text, labels=labels)
    for values, number in samples:
        if number is not None:
            family.add_metric(values, number)
    return family


def _counter(name: str, text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    family = CounterMetricFamily(f"bessai_{name}", text, labels=labels)
    for values, number in samples:
        if number is not None:
            family.add_metric(values, number)
    return family


def _site_gauges(sites: Sequence[SiteView]) -> list[Metric]:
    site = ("site_id",)
    return [
        _gauge(
            "soc_percent",
            "State of charge, 0 to 100.",
            site,
            [([s.site_id], s.soc_pct) for s in sites],
        ),
        _gauge(
            "power_kw",
            "Measured battery power at the AC side, + discharge.",
            site,
            [([s.site_id], s.active_power_kw) for s in sites],
        ),
        _gauge(
            "grid_power_kw",
            "Measured power at the grid connection, + export.",
            site,
            [([s.site_id], s.grid_power_kw) for s in sites],
        ),
        _gauge(
            "last_power_kw",
            "Last setpoint that the site decided, + discharge.",
            site,
            [([s.site_id], s.setpoint_kw) for s in sites],
        ),
        _gauge(
            "telemetry_age_seconds",
            "Real age of the numbers that are shown.",
            site,
            [([s.site_id], s.reading_age_s) for s in sites],
        ),
        _gauge(
            "autonomy_level",
            "1 for the level on which a reporting site works now, 0 for the others.",
            ("site_id", "level"),
            [
                ([s.site_id, level], float(s.autonomy is level))
                for s in sites
                if s.autonomy is not None
                for level in AutonomyLevel
            ],
        ),
    ]


def _site_guards(sites: Sequence[SiteView]) -> list[Metric]:
    site = ("site_id",)
    return [
        _gauge(
            "site_epoch",
            "Epoch of the process that reports for the site; 0 before it was granted one.",
            site,
            [([s.site_id], s.epoch) for s in sites],
        ),
        _gauge(
            "site_tenure",
            "1 for what the reporting process is, 0 for the others; only an owner writes.",
            ("site_id", "tenure"),
            [
                ([s.site_id, tenure], float(s.tenure is tenure))
                for s in sites
                if s.tenure is not None
                for tenure in Tenure
            ],
        ),
        _gauge(
            "site_stopped",
            "1 while a stop of an operator or of the site itself holds.",
            site,
            [([s.site_id], _stopped(s)) for s in sites],
        ),
        _gauge(
            "intrusion_score",
            "Anomaly score of the site's last cycle.",
            site,
            [([s.site_id], s.intrusion_score) for s in sites],
        ),
    ]


def _stopped(site: SiteView) -> float | None:
    if site.stop is not None:
        return float(site.stop.active)
    return None if site.autonomy is None else 0.0


def _site_counters(sites: Sequence[SiteView]) -> list[Metric]:
    counted = [(s.site_id, s.counters) for s in sites if s.counters is not None]
    plain = {
        "cycles": "Control cycles since the site's process started.",
        "overruns": "Control cycles that took longer than their period.",
        "read_failures": "Telemetry reads that failed.",
        "reconnects": "Connections to the device that had to be opened again.",
        "write_failures": "Register writes that the device did not accept.",
        "verify_failures": "Written registers that read back with another value.",
        "stored_writes": "Register writes to memory that may wear out.",
    }
    families = [
        _counter(name, text, ("site_id",), [([s], float(getattr(c, name))) for s, c in counted])
        for name, text in plain.items()
    ]
    families.append(
        _counter(
            "writes",
            "Register writes by reason: change, renew, safety, external, release.",
            ("site_id", "kind"),
            [([s, kind], float(n)) for s, c in counted for kind, n in sorted(c.writes.items())],
        )
    )
    families.append(
        _counter(
            "safety_blocks",
            "Cycles in which safety allowed less, by reason.",
            ("site_id", "reason"),
            [
                ([s, why], float(n))
                for s, c in counted
                for why, n in sorted(c.safety_blocks.items())
            ],
        )
    )
    return families


def _cycle_durations(durations: Mapping[str, DurationHistogram]) -> Metric:
    family = HistogramMetricFamily(
        "bessai_cycle_duration_seconds", "Real duration of a control cycle.", labels=["site_id"]
    )
    for site_id, histogram in durations.items():
        pairs = zip(histogram.upper_s, histogram.counts, strict=True)
        buckets = [(str(upper_s), float(count)) for upper_s, count in pairs]
        buckets.append(("+Inf", float(histogram.total)))
        family.add_metric([site_id], buckets, sum_value=histogram.sum_s)
    return family


def _fleet_gauges(fleet: FleetView, data: MetricsInput) -> list[Metric]:
    flexibility = fleet.flexibility
    directions: list[Sample] = []
    energies: list[Sample] = []
    if flexibility is not None:
        directions = [(["up"], flexibility.up_kw), (["down"], flexibility.down_kw)]
        energies = [(["up"], flexibility.energy_up_kwh), (["down"], flexibility.energy_down_kwh)]
    return [
        _gauge("fleet_sites", "Sites in the fleet file.", (), [((), fleet.sites_total)]),
        _gauge("fleet_sites_active", "Sites that report now.", (), [((), fleet.sites_reporting)]),
        _gauge(
            "fleet_sites_in_state",
            "Sites by state; a state without a site is absent.",
            ("state",),
            [([state], n) for state, n in sorted(fleet.sites_by_state.items())],
        ),
        _gauge(
            "fleet_total_capacity_kwh",
            "Usable energy of the sites that report it.",
            (),
            [((), fleet.capacity_kwh)],
        ),
        _gauge(
            "vpp_flex_capacity_kw",
            "Power the fleet could add now; up is more export.",
            ("direction",),
            directions,
        ),
        _gauge(
            "vpp_flex_energy_kwh",
            "Energy behind that power.",
            ("direction",),
            energies,
        ),
        _gauge(
            "price_per_mwh",
            "Price of the settlement step that runs now.",
            ("market", "node", "currency"),
            [([data.market, data.node, data.currency], fleet.price_now)],
        ),
    ]


def _account_metrics(data: MetricsInput) -> list[Metric]:
    accounts = data.accounts
    return [
        _gauge(
            "revenue",
            "Settled money, export less import; may fall.",
            ("currency", "site_id"),
            [([a.currency, a.site_id], a.amount_pico / PICO_PER_UNIT) for a in accounts],
        ),
        _counter(
            "settled_energy_kwh",
            "Energy that was settled, priced or not.",
            ("site_id", "direction"),
            [([a.site_id, "export"], a.exported_wh / WH_PER_KWH) for a in accounts]
            + [([a.site_id, "import"], a.imported_wh / WH_PER_KWH) for a in accounts],
        ),
        _counter(
            "unpriced_energy_kwh",
            "Settled energy that met no price, both directions.",
            ("site_id",),
            [([a.site_id], a.unpriced_wh / WH_PER_KWH) for a in accounts],
        ),
        _counter(
            "settlement_resets",
            "Times the meter counters could not be continued.",
            ("site_id",),
            [([a.site_id], float(a.resets)) for a in accounts],
        ),
    ]


def _planning(data: MetricsInput) -> list[Metric]:
    tried = data.plans + data.plan_failures > 0
    works = float(data.live.fleet.plan_error is None) if tried else None
    return [
        _counter("plans", "Plans made by this process.", (), [((), float(data.plans))]),
        _counter("plan_failures", "Plans that failed.", (), [((), float(data.plan_failures))]),
        _gauge("planning_up", "1 while the last plan succeeded.", (), [((), works)]),
        _gauge("store_up", "1 while accounts are saved.", (), [((), float(data.store_ok))]),
    ]
