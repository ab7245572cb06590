"""Days of simulated sites, second by second, for training and judging the anomaly score.

The battery is the project's own model, and what a site may do comes from its own safety core; no
sockets, so that a day takes seconds. Everything else tries to be as unpleasant as real sites are:
meters with gain errors that lag, states of charge in whole per cent that were guessed by a BMS and
are corrected now and then, wrong efficiencies in the file, clouds, appliances, busy reads, missing
values, reboots and restarts. An attacker may change what the device is told, what it tells, or how
it answers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bessai.model import SiteId, SiteLimits, Telemetry
from bessai.plant import BatteryParams, BatteryState, power_limits, step
from bessai.safety import Outlook
from bessai.safety.holds import hold_reasons
from bessai.units import S_PER_HOUR, MonotonicS

DAY_S: Final = 86_400
SITE: Final = SiteId("simulated")
DEAD_BAND_SHARE: Final = 0.005
REWRITE_GAP_S: Final = 10
RENEW_S: Final = 60
"""As the site's own write ledger does it."""

_LOAD_EVERY_S: Final = 10
_SLOW_S: Final = 5
"""How often a battery that covers the load is told anew; slow registers and plain thresholds."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SiteTraits:
    """What makes one simulated site differ from another.

    Attributes:
        limits: What its file says; efficiency and capacity there are a little wrong.
        params: What its battery is.
        style: ``blocks`` (hourly plan), ``steps`` (every 5 to 15 minutes) or ``load``
            (the battery covers the site's load).
        soc_step_pct, power_step_kw, temperature_step_c, counter_step_wh: Resolution.
        lag_s, ramp_kw: Dead time and power change per second of the inverter.
        power_gain, meter_gain: Calibration errors.
        power_noise_kw, meter_noise_kw: Standard deviations.
        meter_lag_s: How old the meter's value is.
        pv_kw, load_kw: Sizes; 0 where the site has only a battery.
    """

    limits: SiteLimits
    params: BatteryParams
    style: str
    soc_step_pct: float
    power_step_kw: float
    temperature_step_c: float
    counter_step_wh: int
    lag_s: int
    ramp_kw: float
    power_gain: float
    meter_gain: float
    power_noise_kw: float
    meter_noise_kw: float
    meter_lag_s: int
    pv_kw: float
    load_kw: float
    tells_pv: bool
    tells_counters: bool
    tells_limits: bool
    read_s: float

    @property
    def peak_kw(self) -> float:
        """Larger of the two power limits."""
        return max(self.limits.max_charge_kw, self.limits.max_discharge_kw)


@dataclass(frozen=True, slots=True)
class Cycle:
    """What a site sees in one second.

    Attributes:
        command_kw: The command in force as the site knows it.
        baseline: Whether plain thresholds of the safety core are crossed.
        episode: Index of the attack that runs, or -1.
        restarted: The site's process began anew before this cycle.
    """

    now: MonotonicS
    telemetry: Telemetry | None
    command_kw: float | None
    read_s: float | None
    writes: int
    baseline: bool
    episode: int
    restarted: bool


class Attacker(Protocol):
    """What an attacker can reach; each method is called once a second."""

    def episode(self, second: int) -> int:
        """Index of the attack that runs, or -1."""
        ...

    def commanded(self, second: int, held_kw: float | None) -> float | None:
        """The command that the device holds after foreign writes."""
        ...

    def limit_share(self, second: int) -> float:
        """What foreign writes left of the device's power limits, 1 is all."""
        ...

    def told(self, second: int, telemetry: Telemetry) -> Telemetry:
        """What the site reads instead of the truth."""
        ...

    def answer(self, second: int, read_s: float, random: float) -> float | None:
        """How long the read takes; None where it fails."""
        ...


class Nobody:
    """No attack."""

    def episode(self, second: int) -> int:
        """Never one."""
        return -1

    def commanded(self, second: int, held_kw: float | None) -> float | None:
        """Nobody else writes."""
        return held_kw

    def limit_share(self, second: int) -> float:
        """All of it."""
        return 1.0

    def told(self, second: int, telemetry: Telemetry) -> Telemetry:
        """The truth."""
        return telemetry

    def answer(self, second: int, read_s: float, random: float) -> float | None:
        """As ever."""
        return read_s


def draw_traits(rng: np.random.Generator) -> SiteTraits:
    """A random site, from a home to a small park."""
    capacity_kwh = float(np.exp(rng.uniform(np.log(8.0), np.log(400.0))))
    peak_kw = capacity_kwh * float(rng.choice([0.25, 0.5, 0.5, 1.0]))
    home = bool(rng.random() < 0.7)
    limits = SiteLimits(
        capacity_kwh=capacity_kwh,
        max_charge_kw=peak_kw,
        max_discharge_kw=peak_kw,
        soc_min_pct=10.0,
        soc_max_pct=95.0,
        temperature_min_c=0.0,
        temperature_max_c=50.0,
        export_limit_kw=math.inf,
        import_limit_kw=math.inf,
        round_trip_efficiency_pct=90.0,
        ramp_kw_per_s=peak_kw,
        max_age_s=10.0,
    )
    params = BatteryParams(
        capacity_kwh=capacity_kwh * float(rng.uniform(0.96, 1.02)),
        max_charge_kw=peak_kw,
        max_discharge_kw=peak_kw,
        round_trip_efficiency_pct=float(rng.uniform(86.0, 94.0)),
        standby_w=peak_kw * float(rng.uniform(0.2, 1.5)),
        thermal_resistance_c_per_kw=12.0 / (0.05 * peak_kw) * float(rng.uniform(0.5, 1.2)),
        thermal_time_constant_s=float(rng.uniform(1.5, 4.0)) * S_PER_HOUR,
        ambient_c=float(rng.uniform(8.0, 28.0)),
    )
    fine = bool(rng.random() < 0.6)
    return SiteTraits(
        limits=limits,
        params=params,
        style=str(rng.choice(["blocks", "steps", "load"] if home else ["blocks", "steps"])),
        soc_step_pct=0.1 if fine else 1.0,
        power_step_kw=0.001 if peak_kw < 60 else 0.01,
        temperature_step_c=float(rng.choice([0.1, 0.1, 1.0])),
        counter_step_wh=10 if peak_kw < 60 else 100,
        lag_s=int(rng.integers(0, 4)),
        ramp_kw=peak_kw / float(rng.uniform(1.0, 5.0)),
        power_gain=float(rng.normal(1.0, 0.005)),
        meter_gain=float(rng.normal(1.0, 0.007)),
        power_noise_kw=peak_kw * float(rng.uniform(0.0005, 0.004)),
        meter_noise_kw=peak_kw * float(rng.uniform(0.0005, 0.003)),
        meter_lag_s=int(rng.integers(0, 3)),
        pv_kw=peak_kw * float(rng.uniform(0.5, 2.0)) if home else 0.0,
        load_kw=peak_kw * float(rng.uniform(0.2, 0.8)) if home else 0.0,
        tells_pv=home and bool(rng.random() < 0.7),
        tells_counters=bool(rng.random() < 0.85),
        tells_limits=bool(rng.random() < 0.85),
        read_s=float(rng.uniform(0.02, 0.35)),
    )


@dataclass(frozen=True, slots=True)
class Weather:
    """Columns of one day, one value a second: shape ``(DAY_S,)`` as lists.

    Attributes:
        plan_kw: What somebody upstream wishes.
        soc_error_pct: What the BMS is wrong by.
        fault: 0 none, 1 the read fails, 2 the meter is not available, 3 the device reboots.
        restart: Seconds at which the site's process begins anew.
    """

    plan_kw: list[float]
    pv_kw: list[float]
    load_kw: list[float]
    ambient_c: list[float]
    soc_error_pct: list[float]
    power_noise: list[float]
    meter_noise: list[float]
    read_s: list[float]
    random: list[float]
    fault: list[int]
    restart: frozenset[int]


def draw_weather(traits: SiteTraits, rng: np.random.Generator) -> Weather:
    """A random day of that site."""
    second = np.arange(DAY_S)
    hour = second / S_PER_HOUR
    return Weather(
        plan_kw=_plan(traits, rng).tolist(),
        pv_kw=(traits.pv_kw * _sun(hour, rng)).tolist(),
        load_kw=(traits.load_kw * _appliances(rng)).tolist(),
        ambient_c=(traits.params.ambient_c + 4.0 * np.sin((hour - 9) / 12 * np.pi)).tolist(),
        soc_error_pct=_soc_error(rng).tolist(),
        power_noise=rng.normal(0.0, traits.power_noise_kw, DAY_S).tolist(),
        meter_noise=rng.normal(0.0, traits.meter_noise_kw, DAY_S).tolist(),
        read_s=_read_times(traits, rng).tolist(),
        random=rng.random(DAY_S).tolist(),
        fault=_faults(rng).tolist(),
        restart=frozenset(int(at) for at in rng.integers(0, DAY_S, rng.poisson(0.3))),
    )


def run_day(
    traits: SiteTraits,
    weather: Weather,
    attacker: Attacker,
    *,
    soc_pct: float = 50.0,
    seconds: int = DAY_S,
) -> Iterator[Cycle]:
    """Let the site live; one :class:`Cycle` a second.

    Args:
        traits: The site.
        weather: Its day.
        attacker: Who else is there.
        soc_pct: State of charge to begin with.
        seconds: Shorter than a day where asked.
    """
    device = _Device(traits, weather, soc_pct)
    site = _Site(traits)
    for second in range(seconds):
        now = MonotonicS(float(second))
        restarted = second in weather.restart
        if restarted:
            site = _Site(traits)
        fault = weather.fault[second]
        if fault == _REBOOT:
            device.reboot()
        device.held_kw = attacker.commanded(second, device.held_kw)
        device.limit_share = attacker.limit_share(second)
        device.run(second)
        read_s: float | None = weather.read_s[second]
        if fault in (_FAILED, _REBOOT):
            read_s = None
        elif read_s is not None:
            read_s = attacker.answer(second, read_s, weather.random[second])
        seen = None
        truth = device.read(now, second, meter=fault != _NO_METER)
        told = attacker.told(second, truth)
        if read_s is not None:
            seen = told
        known_kw, writes = site.command_kw, site.last_writes
        baseline = site.cycle(now, seen, weather.plan_kw[second])
        yield Cycle(
            now, seen, known_kw, read_s, writes, baseline, attacker.episode(second), restarted
        )
        if site.write_kw is not None:
            device.held_kw = site.write_kw


class _Device:
    """Inverter, battery and meter."""

    def __init__(self, traits: SiteTraits, weather: Weather, soc_pct: float) -> None:
        self.held_kw: float | None = None
        self.limit_share = 1.0
        self._traits = traits
        self._weather = weather
        self._params = replace(traits.params, ambient_c=weather.ambient_c[0])
        self._state = BatteryState.at(self._params, soc_pct)
        self._asked: deque[float] = deque([0.0], traits.lag_s + 1)
        self._metered: deque[float] = deque([0.0], traits.meter_lag_s + 1)
        self._way_kw = self._power_kw = 0.0
        self._out_kwh, self._in_kwh = 5000.0, 3000.0
        self._able_kw = (traits.peak_kw, traits.peak_kw)

    def reboot(self) -> None:
        self.held_kw = None
        self._way_kw = 0.0

    def run(self, second: int) -> None:
        """One second of physics."""
        traits, weather = self._traits, self._weather
        if second % 600 == 0:
            self._params = replace(self._params, ambient_c=weather.ambient_c[second])
        share_kw = self.limit_share * traits.peak_kw
        wish_kw = 0.0 if self.held_kw is None else self.held_kw
        self._asked.append(max(-share_kw, min(wish_kw, share_kw)))
        move_kw = self._asked[0] - self._way_kw
        self._way_kw += max(-traits.ramp_kw, min(move_kw, traits.ramp_kw))
        real_kw = self._way_kw * traits.power_gain
        self._state, self._power_kw = step(self._state, self._params, real_kw, 1.0)
        net_kw = weather.pv_kw[second] + self._power_kw - weather.load_kw[second]
        grid_kw = net_kw * traits.meter_gain
        self._metered.append(grid_kw)
        if grid_kw > 0:
            self._out_kwh += grid_kw / S_PER_HOUR
        else:
            self._in_kwh -= grid_kw / S_PER_HOUR

    def read(self, now: MonotonicS, second: int, *, meter: bool) -> Telemetry:
        """What an honest device tells."""
        traits, weather = self._traits, self._weather
        power_kw = self._power_kw + (weather.power_noise[second] if self._power_kw else 0.0)
        grid_kw = self._metered[0] + weather.meter_noise[second]
        counts = meter and traits.tells_counters
        soc_pct = self._state.soc_pct(self._params) + weather.soc_error_pct[second]
        if traits.tells_limits and second % _SLOW_S == 0:
            able = power_limits(self._state, self._params)
            share_kw = self.limit_share * traits.peak_kw
            self._able_kw = (min(-able.lower_kw, share_kw), min(able.upper_kw, share_kw))
        return Telemetry(
            site_id=SITE,
            measured_at=now,
            soc_pct=_rounded(min(max(soc_pct, 0.0), 100.0), traits.soc_step_pct),
            capacity_kwh=traits.limits.capacity_kwh,
            active_power_kw=_rounded(power_kw, traits.power_step_kw),
            grid_power_kw=_rounded(grid_kw, traits.power_step_kw) if meter else None,
            temperature_c=_rounded(self._state.temperature_c, traits.temperature_step_c),
            charge_limit_kw=self._able_kw[0],
            discharge_limit_kw=self._able_kw[1],
            exported_wh=_counted(self._out_kwh, traits.counter_step_wh) if counts else None,
            imported_wh=_counted(self._in_kwh, traits.counter_step_wh) if counts else None,
            battery_status="running",
            inverter_status="on-grid",
            commanded_kw=self.held_kw,
            pv_power_kw=_rounded(weather.pv_kw[second], traits.power_step_kw)
            if traits.tells_pv
            else None,
            missing=() if meter else ("meter_active_power",),
        )


class _Site:
    """What matters of the control loop: the safety core, and its ledger's habits."""

    def __init__(self, traits: SiteTraits) -> None:
        self.command_kw: float | None = None
        self.write_kw: float | None = None
        self.last_writes = 0
        self._traits = traits
        self._seen: Telemetry | None = None
        self._held = True
        self._written_at = self._answered_at = -math.inf

    def cycle(self, now: MonotonicS, seen: Telemetry | None, plan_kw: float) -> bool:
        """Decide the write of this cycle; True where plain thresholds are crossed."""
        self.write_kw, self.last_writes = None, 0
        self._seen = seen or self._seen
        limits = self._traits.limits
        if seen is None or now % _SLOW_S == 0:
            self._held = bool(hold_reasons(self._seen, limits, Outlook(now, 1.0, 2.0, 1.0, 0.0)))
        held = self._held
        if seen is not None:
            low_kw, high_kw = (0.0, 0.0) if held else _allowed_kw(seen, limits)
            wish_kw = self._wish_kw(now, seen, plan_kw)
            self._decide(now, seen, max(low_kw, min(wish_kw, high_kw)), (low_kw, high_kw))
        return held or crosses_limits(self._seen, limits)

    def _wish_kw(self, now: float, seen: Telemetry, plan_kw: float) -> float:
        if self._traits.style != "load" or seen.grid_power_kw is None:
            return plan_kw
        if now % _LOAD_EVERY_S or seen.active_power_kw is None:
            return self.command_kw or 0.0
        return seen.active_power_kw - 0.7 * seen.grid_power_kw

    def _decide(
        self, now: float, seen: Telemetry, target_kw: float, allowed_kw: tuple[float, float]
    ) -> None:
        band_kw = DEAD_BAND_SHARE * self._traits.peak_kw
        known_kw, held_kw = self.command_kw, seen.commanded_kw
        changed = (
            known_kw is None
            or abs(target_kw - known_kw) > band_kw
            or (target_kw == 0) != (known_kw == 0)
        )
        foreign = (
            known_kw is not None
            and (held_kw is None or abs(held_kw - known_kw) > band_kw)
            and now - self._answered_at >= REWRITE_GAP_S
        )
        unsafe = known_kw is not None and not allowed_kw[0] <= known_kw <= allowed_kw[1]
        if changed or foreign or unsafe or now - self._written_at >= RENEW_S:
            self._answered_at = now if foreign else self._answered_at
            self.write_kw = self.command_kw = target_kw
            self._written_at = now
            self.last_writes = 4 if changed or foreign else 1


def crosses_limits(seen: Telemetry | None, limits: SiteLimits) -> bool:
    """A state of charge outside its band or more power than the nameplate, or no read yet.

    With the safety core's own reasons to hold (missing, old, impossible, too hot or cold) this is
    the baseline. One per cent of tolerance, so that resting at a limit is no alarm.
    """
    if seen is None:
        return True
    soc, power_kw = seen.soc_pct, seen.active_power_kw
    outside = soc is not None and not limits.soc_min_pct - 1 <= soc <= limits.soc_max_pct + 1
    peak_kw = max(limits.max_charge_kw, limits.max_discharge_kw)
    return outside or (power_kw is not None and abs(power_kw) > 1.03 * peak_kw)


def _allowed_kw(seen: Telemetry, limits: SiteLimits) -> tuple[float, float]:
    """Band and device limits; what matters here of the safety core's envelope."""
    soc = 50.0 if seen.soc_pct is None else seen.soc_pct
    charge_kw = limits.max_charge_kw if seen.charge_limit_kw is None else seen.charge_limit_kw
    discharge_kw = (
        limits.max_discharge_kw if seen.discharge_limit_kw is None else seen.discharge_limit_kw
    )
    low_kw = 0.0 if soc >= limits.soc_max_pct else -min(charge_kw, limits.max_charge_kw)
    high_kw = 0.0 if soc <= limits.soc_min_pct else min(discharge_kw, limits.max_discharge_kw)
    return low_kw, high_kw


_FAILED, _NO_METER, _REBOOT = 1, 2, 3


def _plan(traits: SiteTraits, rng: np.random.Generator) -> Floats:
    length_s = 3600 if traits.style == "blocks" else int(rng.choice([300, 900]))
    n = DAY_S // length_s
    hour = np.arange(n) * length_s / S_PER_HOUR
    # Cheap at noon, dear in the evening, with a good deal of chance.
    level = -np.exp(-(((hour - 12) / 3) ** 2)) + np.exp(-(((hour - 20) / 2.5) ** 2))
    level = np.clip(0.9 * level + rng.normal(0.0, 0.35, n), -1.0, 1.0)
    level[rng.random(n) < 0.35] = 0.0
    return np.repeat(np.round(level * traits.peak_kw, 3), length_s)


def _sun(hour: Floats, rng: np.random.Generator) -> Floats:
    clear = np.clip(np.sin((hour - 6.5) / 12 * np.pi), 0.0, None) ** 1.3
    cloudy = rng.random() < 0.6
    minutes = np.clip(0.75 + np.cumsum(rng.normal(0, 0.06, 1441)) * 0.2, 0.15, 1.0)
    jumps = np.where(rng.random(1441) < 0.25, rng.uniform(0.2, 1.0, 1441), minutes)
    cover = np.interp(np.arange(DAY_S) / 60.0, np.arange(1441), jumps)
    return clear * (cover if cloudy else 1.0)


def _appliances(rng: np.random.Generator) -> Floats:
    load = 0.15 + 0.05 * np.repeat(rng.random(1440), 60)
    for _ in range(int(rng.integers(10, 60))):
        start, length = int(rng.integers(0, DAY_S)), int(rng.exponential(900)) + 20
        load[start : start + length] += rng.uniform(0.05, 0.8)
    return load + 0.01 * rng.normal(0, 1, DAY_S)


def _soc_error(rng: np.random.Generator) -> Floats:
    """A wandering guess that the BMS corrects now and then."""
    wander = np.repeat(np.cumsum(rng.normal(0.0, 0.01, DAY_S // 60)), 60)
    for _ in range(rng.poisson(0.2)):
        wander[int(rng.integers(0, DAY_S)) :] += rng.uniform(-2.0, 2.0)
    return wander


def _read_times(traits: SiteTraits, rng: np.random.Generator) -> Floats:
    usual = traits.read_s * np.exp(rng.normal(0.0, 0.15, DAY_S))
    slow = rng.random(DAY_S) < 0.003
    return np.where(slow, usual * rng.uniform(2.0, 8.0, DAY_S), usual)


def _faults(rng: np.random.Generator) -> NDArray[np.int64]:
    fault = np.where(rng.random(DAY_S) < 0.0004, _FAILED, 0)
    for kind, per_day, longest_s in ((_FAILED, 1.0, 8), (_NO_METER, 0.5, 120), (_REBOOT, 0.3, 180)):
        for _ in range(rng.poisson(per_day)):
            start = int(rng.integers(0, DAY_S))
            fault[start : start + int(rng.integers(2, longest_s))] = kind
    return fault


def _rounded(value: float, step_size: float) -> float:
    steps = round(value / step_size)
    return steps / round(1.0 / step_size) if step_size < 1.0 else steps * step_size


def _counted(kwh: float, step_wh: int) -> int:
    return int(kwh * 1000.0 / step_wh) * step_wh
