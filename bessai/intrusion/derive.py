"""The allow-list of a site, from its device profile and its limits: what our own driver may do."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from bessai.config.profile import SIGNED, DeviceProfile, Parameter, Point, WriteStep
from bessai.config.profile.points import MAIN, Space, Table, WordOrder
from bessai.devices.codec import convert
from bessai.intrusion.allowlist import AllowList, Rule
from bessai.model import SiteLimits
from bessai.units import W_PER_KW

OWN_CLIENT: Final = "site"
WRITES_PER_CYCLE: Final = 2.0
"""A command and the hold that may lead to it."""

_LAST_REGISTER: Final = 65535
_WRITE_ONE, _WRITE_MANY = 6, 16
_READ: Final = {Table.HOLDING: 3, Table.INPUT: 4}
_LOGIN: Final = {"huawei": 0x41}
"""Function codes of login procedures, which carry no registers."""

_S_PER: Final = {"s": 1.0, "min": 60.0}
_Values = tuple[float, float]


@dataclass(frozen=True, slots=True)
class OwnSite:
    """What the allow-list must know of a site beside its profile.

    Attributes:
        limits: Bound the powers that may be written.
        unit_ids: Unit id by device name; the main unit's is the profile's default if left out.
        client: Name of the own driver in the events.
        readers: Other clients that may read, e.g. guests of the proxy.
        gains: Gain of points with a scale factor, as the device told it; without it any value
            of such a point is allowed.
        cycle_s: Real seconds between control cycles.
    """

    limits: SiteLimits
    unit_ids: Mapping[str, int] = field(default_factory=dict)
    client: str = OWN_CLIENT
    readers: Collection[str] = ()
    gains: Mapping[str, float] = field(default_factory=dict)
    cycle_s: float = 1.0


def derive(profile: DeviceProfile, site: OwnSite) -> AllowList:
    """What may happen on a site: reads of its register map, writes of its programs.

    Args:
        profile: As the device has it: after the discovery, where it begins with SunSpec models.
        site: Its limits and addresses.
    """
    reads = tuple(_reads(profile, site))
    writes = tuple(_writes(profile, site))
    login = _LOGIN.get(profile.connection.login or "")
    main = _unit(profile, site, MAIN)
    logins = () if login is None else (Rule(site.client, main, login, -1, -1),)
    places = sum(rule.last - rule.first + 1 for rule in reads)
    return AllowList(
        (*reads, *writes, *logins),
        max_places_per_min=float(min(places, 200) + len(writes)),
    )


def _reads(profile: DeviceProfile, site: OwnSite) -> Iterator[Rule]:
    for space, (first, last) in _spans(profile):
        for client in (site.client, *site.readers):
            unit = _unit(profile, site, space.device)
            yield Rule(client, unit, _READ[space.table], first, last)


def _spans(profile: DeviceProfile) -> Iterator[tuple[Space, tuple[int, int]]]:
    """Runs of readable registers, over gaps that the driver may bridge."""
    ranges: defaultdict[Space, list[tuple[int, int]]] = defaultdict(list)
    for point in profile.points.values():
        if point.readable:
            ranges[point.space].append((point.address, point.end - 1))
    if profile.sunspec is not None:
        # The discovery walks the chain of models wherever it leads.
        ranges[Space(MAIN, Table.HOLDING)].append((0, _LAST_REGISTER))
    for space, found in ranges.items():
        first, last = min(found)
        for low, high in sorted(found):
            if low > last + 1 + profile.connection.max_gap:
                yield space, (first, last)
                first = low
            last = max(last, high)
        yield space, (first, last)


def _writes(profile: DeviceProfile, site: OwnSite) -> Iterator[Rule]:
    allowed: defaultdict[str, list[_Values | None]] = defaultdict(list)
    for name, program in profile.programs.items():
        for step in program.steps:
            allowed[step.point].append(_values(profile, name, step, site))
    keep_alive = profile.connection.keep_alive
    if keep_alive is not None:
        allowed[keep_alive.point].append((keep_alive.value, keep_alive.value))
    for name, ranges in allowed.items():
        seen: set[_Values | None] = set()
        for values in ranges:
            if values not in seen:
                seen.add(values)
                yield from _write_rules(profile, site, name, values)


def _write_rules(
    profile: DeviceProfile, site: OwnSite, name: str, values: _Values | None
) -> Iterator[Rule]:
    point = profile.points[name]
    raws = None if values is None else _raws(point, values, site.gains.get(name))
    functions = (_WRITE_ONE, _WRITE_MANY) if point.count == 1 else (_WRITE_MANY,)
    for function in functions:
        yield Rule(
            client=site.client,
            unit_id=_unit(profile, site, point.device),
            function=function,
            first=point.address,
            last=point.end - 1,
            whole=True,
            lowest=None if raws is None else raws[0],
            highest=None if raws is None else raws[1],
            signed=point.type in SIGNED,
            low_word_first=point.word_order is not WordOrder.BIG,
            max_per_min=WRITES_PER_CYCLE * 60.0 / site.cycle_s,
        )


def _values(profile: DeviceProfile, program: str, step: WriteStep, site: OwnSite) -> _Values | None:
    """Lowest and highest value of a step in the point's unit; None where any may be."""
    low_kw, high_kw = {
        "charge": (-site.limits.max_charge_kw, 0.0),
        "discharge": (0.0, site.limits.max_discharge_kw),
    }.get(program, (0.0, 0.0))
    match step.value:
        case Parameter.POWER:
            ends = _power(profile, step, max(-low_kw, high_kw))
            return None if ends is None else _ordered(0.0, ends * step.factor)
        case Parameter.SIGNED_POWER:
            low, high = _power(profile, step, low_kw), _power(profile, step, high_kw)
            if low is None or high is None:
                return None
            return _ordered(low * step.factor, high * step.factor)
        case Parameter.DEAD_MAN:
            if profile.dead_man is None:
                return None
            period = profile.dead_man.period_s / _S_PER.get(profile.points[step.point].unit, 1.0)
            return _ordered(period * step.factor, period * step.factor)
        case float() as number:
            return _ordered(number * step.factor, number * step.factor)


def _power(profile: DeviceProfile, step: WriteStep, power_kw: float) -> float | None:
    """A power in the point's unit; of a percentage all that is possible."""
    if step.percent_of is not None:
        return math.copysign(100.0, power_kw) if power_kw else 0.0
    return convert(power_kw * W_PER_KW, "W", profile.points[step.point].unit)


def _raws(point: Point, values: _Values, gain: float | None) -> tuple[int, int] | None:
    """Raw range of a range of values; None where the gain or the order of raws is not known."""
    if point.is_float or (point.scale_factor is not None and gain is None and any(values)):
        return None
    used = point.gain if gain is None else gain
    ends = sorted(point.sign * value * used + point.offset for value in values)
    return math.floor(ends[0] + 1e-6), math.ceil(ends[1] - 1e-6)


def _ordered(one: float, other: float) -> _Values:
    return min(one, other), max(one, other)


def _unit(profile: DeviceProfile, site: OwnSite, device: str) -> int:
    if device in site.unit_ids:
        return site.unit_ids[device]
    others = profile.connection.other_units
    return others[device][0] if device in others else profile.connection.default_unit_id
