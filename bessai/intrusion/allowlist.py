"""The allow-list: who may do what with which register, how often; all else is a finding.

Pure but for the memory of the last minute. It is derived from a device profile (what our own driver
may do, :mod:`bessai.intrusion.derive`) or learned from a capture known to be clean.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bessai.errors import ModelError
from bessai.intrusion.events import Finding, ModbusEvent

ANYBODY: Final = "*"
MINUTE_S: Final = 60.0
SLACK: Final = 1.5
"""A learned rate may be exceeded by this factor: a capture is short."""

LEAST_PER_MIN: Final = 6.0
_NO_REGISTERS: Final = -1


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that may happen.

    Attributes:
        client: Who; ``*`` is anybody.
        first, last: Registers or coils, both included; -1 for a function without addresses.
        whole: A write must cover exactly these registers; a read may cover a part.
        lowest, highest: Raw value of a write; None is any.
        signed, low_word_first: How the raw value lies in the registers.
        min_gap_s: Least time between two of them.
        max_per_min: Most in any minute; None is any number.
    """

    client: str
    unit_id: int
    function: int
    first: int
    last: int
    whole: bool = False
    lowest: int | None = None
    highest: int | None = None
    signed: bool = False
    low_word_first: bool = False
    min_gap_s: float = 0.0
    max_per_min: float | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def place(self) -> str:
        """Registers for people."""
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"

    @property
    def range(self) -> str:
        """Values for people."""
        if self.lowest is None and self.highest is None:
            return "any value"
        return f"{self.lowest} to {self.highest}"

    def covers(self, event: ModbusEvent) -> bool:
        """Whether the registers of an event are those of the rule."""
        if event.address is None or self.first == _NO_REGISTERS:
            return event.address is None and self.first == _NO_REGISTERS
        if self.whole:
            return event.address == self.first and event.end == self.last + 1
        return self.first <= event.address and event.end <= self.last + 1

    def raw(self, words: tuple[int, ...]) -> int:
        """The number that a write carries."""
        ordered = words[::-1] if self.low_word_first else words
        value = 0
        for word in ordered:
            value = value << 16 | word
        bits = 16 * len(words)
        return value - (1 << bits) if self.signed and value >> (bits - 1) & 1 else value

    def holds(self, event: ModbusEvent) -> bool:
        """Whether the value of a write is inside the range."""
        if not event.is_write or not event.words:
            return True
        raw = self.raw(event.words)
        above = self.lowest is None or raw >= self.lowest
        return above and (self.highest is None or raw <= self.highest)


@dataclass(frozen=True, slots=True)
class AllowList:
    """All that may happen.

    Attributes:
        rules: One is enough.
        max_refusals_per_min: Exceptions that one client may cause; a scan causes many.
        max_places_per_min: Different (unit, function, address) that one client may touch.
    """

    rules: tuple[Rule, ...]
    max_refusals_per_min: float = 12.0
    max_places_per_min: float = 200.0

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def to_json(self) -> str:
        """The list as text."""
        return _ADAPTER.dump_json(self, indent=1).decode()

    @classmethod
    def from_json(cls, text: str) -> AllowList:
        """The list from its text.

        Raises:
            ModelError: it is no allow-list.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError("is not an allow-list", field=where, value=first["msg"]) from None


_ADAPTER: Final = TypeAdapter(AllowList)


class AllowListMonitor:
    """Checks events against an allow-list, in the order in which they happen."""

    def __init__(self, allowed: AllowList) -> None:
        self._allowed = allowed
        self._rules: defaultdict[tuple[int, int], list[Rule]] = defaultdict(list)
        for rule in allowed.rules:
            self._rules[rule.unit_id, rule.function].append(rule)
        self._times: defaultdict[tuple[str, Rule], deque[float]] = defaultdict(deque)
        self._refusals: defaultdict[str, deque[float]] = defaultdict(deque)
        self._places: defaultdict[str, _Places] = defaultdict(_Places)

    def check(self, event: ModbusEvent) -> tuple[Finding, ...]:
        """What is wrong with an event: the first broken rule, and the scan it is part of."""
        if event.exception is not None:
            return self._check_refusal(event)
        found = self._check_request(event)
        scan = self._places[event.client].add(event)
        if scan > self._allowed.max_places_per_min:
            text = f"{event.client} touched {scan} places in a minute"
            limit = f"at most {self._allowed.max_places_per_min:g} a minute"
            return (*found, Finding("scan", text, limit))
        return found

    def _check_request(self, event: ModbusEvent) -> tuple[Finding, ...]:
        here = self._rules.get((event.unit_id, event.function), [])
        if not here:
            return (_unknown_function(event, self._allowed),)
        mine = [rule for rule in here if rule.client in (event.client, ANYBODY)]
        if not mine:
            known = ", ".join(sorted({rule.client for rule in here}))
            return (Finding("writer" if event.is_write else "client", _shown(event), known),)
        covering = [rule for rule in mine if rule.covers(event)]
        if not covering:
            places = ", ".join(sorted({rule.place for rule in mine})[:8])
            return (Finding("register", _shown(event), f"registers {places}"),)
        holding = next((rule for rule in covering if rule.holds(event)), None)
        if holding is None:
            ranges = " or ".join(rule.range for rule in covering)
            text = f"{_shown(event)} value {covering[0].raw(event.words)}"
            return (Finding("value", text, ranges),)
        return self._check_cadence(event, holding)

    def _check_cadence(self, event: ModbusEvent, rule: Rule) -> tuple[Finding, ...]:
        times = self._times[event.client, rule]
        last = times[-1] if times else None
        in_minute = _note(times, event.at_s)
        if last is not None and event.at_s - last < rule.min_gap_s:
            text = f"{_shown(event)} {event.at_s - last:.2f} s after the last one"
            return (Finding("cadence", text, f"not within {rule.min_gap_s:g} s"),)
        if rule.max_per_min is not None and in_minute > rule.max_per_min:
            text = f"{_shown(event)} {in_minute} times in a minute"
            return (Finding("cadence", text, f"at most {rule.max_per_min:g} a minute"),)
        return ()

    def _check_refusal(self, event: ModbusEvent) -> tuple[Finding, ...]:
        in_minute = _note(self._refusals[event.client], event.at_s)
        if in_minute <= self._allowed.max_refusals_per_min:
            return ()
        text = f"{event.client} was refused {in_minute} times in a minute"
        limit = f"at most {self._allowed.max_refusals_per_min:g} a minute"
        return (Finding("scan", text, limit),)


class _Places:
    """Different places that one client touched in the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, tuple[int, int, int | None]]] = deque()
        self._counts: Counter[tuple[int, int, int | None]] = Counter()

    def add(self, event: ModbusEvent) -> int:
        place = (event.unit_id, event.function, event.address)
        self._seen.append((event.at_s, place))
        self._counts[place] += 1
        while self._seen[0][0] <= event.at_s - MINUTE_S:
            _, old = self._seen.popleft()
            self._counts[old] -= 1
            if not self._counts[old]:
                del self._counts[old]
        return len(self._counts)


def learn(events: Iterable[ModbusEvent]) -> AllowList:
    """The tightest list that allows what was seen, with :data:`SLACK` in the rates.

    Only for a capture that is known to be clean: whatever is in it is allowed from then on.
    """
    seen: defaultdict[tuple[str, int, int, int, int], list[ModbusEvent]] = defaultdict(list)
    refusals: defaultdict[str, deque[float]] = defaultdict(deque)
    places: defaultdict[str, _Places] = defaultdict(_Places)
    most_refusals = most_places = 0
    for event in events:
        if event.exception is not None:
            most_refusals = max(most_refusals, _note(refusals[event.client], event.at_s))
            continue
        first = _NO_REGISTERS if event.address is None else event.address
        last = _NO_REGISTERS if event.address is None else event.end - 1
        seen[event.client, event.unit_id, event.function, first, last].append(event)
        most_places = max(most_places, places[event.client].add(event))
    rules = tuple(_learned(key, group) for key, group in sorted(seen.items()))
    return AllowList(
        rules,
        max_refusals_per_min=max(SLACK * most_refusals, LEAST_PER_MIN),
        max_places_per_min=max(SLACK * most_places, LEAST_PER_MIN),
    )


def _learned(key: tuple[str, int, int, int, int], group: list[ModbusEvent]) -> Rule:
    client, unit_id, function, first, last = key
    plain = Rule(client, unit_id, function, first, last, whole=True)
    raws = [plain.raw(event.words) for event in group if event.is_write]
    times: deque[float] = deque()
    busiest = max(_note(times, event.at_s) for event in group)
    return Rule(
        client,
        unit_id,
        function,
        first,
        last,
        whole=True,
        lowest=min(raws, default=None),
        highest=max(raws, default=None),
        max_per_min=max(SLACK * busiest, LEAST_PER_MIN),
    )


def _note(times: deque[float], at_s: float) -> int:
    """Add a time and count those of the last minute."""
    times.append(at_s)
    while times[0] <= at_s - MINUTE_S:
        times.popleft()
    return len(times)


def _shown(event: ModbusEvent) -> str:
    where = "" if event.address is None else f" at {event.address} x{event.count}"
    return f"{event.client}: unit {event.unit_id} function {event.function}{where}"


def _unknown_function(event: ModbusEvent, allowed: AllowList) -> Finding:
    units = {rule.unit_id for rule in allowed.rules}
    if event.unit_id not in units:
        known = ", ".join(str(unit) for unit in sorted(units))
        return Finding("unit", _shown(event), f"units {known}")
    functions = {rule.function for rule in allowed.rules if rule.unit_id == event.unit_id}
    return Finding("function", _shown(event), f"functions {sorted(functions)}")
