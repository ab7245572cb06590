"""Steps recorded cycles through the pure core: each decision and state must come out again.

Compared is what was written down: floats by their shortest exact digits, which differ wherever
a bit does, an int never equals a float, and NaN equals NaN.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast

from bessai.control.logbook.codec import Codec, to_text
from bessai.control.logbook.reader import Recorded
from bessai.control.logbook.rows import Tree
from bessai.control.step import ControlState, SiteRules, decide, settle
from bessai.errors import ProtocolError

SHOWN_FIELDS: Final = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that came out another way; texts are JSON."""

    path: str
    recorded: str
    replayed: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One cycle that came out another way; only the first differences are kept."""

    sequence: int
    wall: datetime
    differences: tuple[Difference, ...]


@dataclass(slots=True)
class Replay:
    """Replays the segments of one run, in order.

    Attributes:
        cycles: Cycles compared.
        mismatches: Cycles that came out another way.
        first: The first few of them.
    """

    rules: SiteRules
    codec: Codec
    keep: int = 5
    cycles: int = 0
    mismatches: int = 0
    first: list[Mismatch] = field(default_factory=list)
    _state: ControlState | None = None

    def segment(
        self,
        recorded: Iterable[Recorded],
        *,
        continues: bool,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> None:
        """Step one segment; only cycles from ``since`` to ``until`` are compared.

        Where it ``continues`` the one before, the state that it begins with must be the one
        that was replayed.

        Raises:
            SafetyError: the replay breaks an invariant of the envelope.
            ProtocolError: the record is damaged, or of another version.
        """
        if not continues:
            self._state = None
        for one in recorded:
            if until is not None and one.wall > until:
                break
            found = list(self._step(one))
            if since is None or one.wall >= since:
                self._count(one, found)

    def _step(self, one: Recorded) -> Iterator[Difference]:
        """Step one cycle; after a difference the replay goes on from what it made itself."""
        state = self._state
        if state is not None and one.lost:
            state = state.after_loss()
        if one.before is not None:
            if state is not None:
                yield from self._differences("before", one.before, state)
            state = self.codec.decode(ControlState, one.before)
        if state is None:
            raise ProtocolError("a segment begins without a state", value=str(one.sequence))
        state, decision = decide(state, self.rules, one.cycle)
        yield from self._differences("decision", self.codec.encode(one.decision), decision)
        yield from self._differences("after", one.after, state)
        if one.settled is not None:
            answer = one.settled
            state = settle(state, answer.write, answer.outcome, answer.now)
        self._state = state

    def _differences(self, path: str, recorded: object, value: object) -> Iterator[Difference]:
        tree = self.codec.encode(value)
        if to_text(recorded) != to_text(tree):
            yield from differences(path, recorded, json.loads(to_text(tree)))

    def _count(self, one: Recorded, found: list[Difference]) -> None:
        self.cycles += 1
        if not found:
            return
        self.mismatches += 1
        if len(self.first) < self.keep:
            self.first.append(Mismatch(one.sequence, one.wall, tuple(found[:SHOWN_FIELDS])))


def differences(path: str, recorded: object, replayed: object) -> Iterator[Difference]:
    """The leaves in which two trees differ, in order."""
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        for name in dict.fromkeys([*recorded, *replayed]):
            missing = "(missing)"
            inner = (
                cast("Tree", recorded).get(name, missing),
                cast("Tree", replayed).get(name, missing),
            )
            yield from differences(f"{path}.{name}", *inner)
    elif (
        isinstance(recorded, list) and isinstance(replayed, list) and len(recorded) == len(replayed)
    ):
        for index, (one, other) in enumerate(zip(recorded, replayed, strict=True)):
            yield from differences(f"{path}[{index}]", one, other)
    elif to_text(recorded) != to_text(replayed):
        yield Difference(path, to_text(recorded), to_text(replayed))
