"""Who decides this cycle: proposals narrow each other, then safety clamps what is left.

The rule, from the highest priority to the lowest, over the proposals that have not expired:

1. A proposal with bounds narrows what lower priorities may choose. Where its bounds miss what
   higher priorities left, the higher one wins: the proposal is ignored, and the reason says so.
2. A proposal without bounds pins its preferred power, as near as higher bounds allow: lower
   priorities have no choice left.
3. The last proposal that was accepted chooses: its preferred power inside all bounds.
4. Safety comes last and is never a proposal: the choice moves to the nearest allowed power.

Without a live proposal the site holds 0 kW.

Source: the power manager of the frequenz SDK ("Matryoshka" algorithm) for rules 1 and 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bessai.model import Bounds, CauseId, Proposal, Setpoint
from bessai.safety import Envelope
from bessai.units import MonotonicS

HOLD_SOURCE = "hold"
POWER_TOLERANCE_KW = 1e-6


@dataclass(frozen=True, slots=True)
class Choice:
    """What the proposals agreed on before safety.

    Attributes:
        wish_kw: Preferred power of the proposal that chose, before any bounds.
        power_kw: The same inside the bounds of higher priorities.
        chooser: The proposal that chose.
        limiter: The higher proposal whose bounds moved the wish, or None.
        ignored: Proposals that missed the bounds of higher ones.
    """

    wish_kw: float
    power_kw: float
    chooser: Proposal
    limiter: Proposal | None
    ignored: tuple[Proposal, ...]


def live(proposals: Iterable[Proposal], now: MonotonicS) -> list[Proposal]:
    """The proposals that count at ``now``, highest priority first; not a number never counts."""
    usable = [p for p in proposals if now < p.expires_at and math.isfinite(p.preferred_kw)]
    return sorted(usable, key=lambda p: (-p.priority, p.source, p.cause_id))


def choose(proposals: Iterable[Proposal], now: MonotonicS) -> Choice | None:
    """Apply rules 1 to 3; None where no proposal is live."""
    accepted: list[Proposal] = []
    ignored: list[Proposal] = []
    room: Bounds | None = None
    for proposal in live(proposals, now):
        narrowed = _narrowed(room, proposal)
        if narrowed is None:
            ignored.append(proposal)
            continue
        accepted.append(proposal)
        room = narrowed
        if proposal.bounds is None:
            break
    if not accepted or room is None:
        return None
    *higher, chooser = accepted
    power_kw = room.clamp(chooser.preferred_kw)
    limiter = _limiter(higher, chooser.preferred_kw, power_kw)
    return Choice(chooser.preferred_kw, power_kw, chooser, limiter, tuple(ignored))


def _narrowed(room: Bounds | None, proposal: Proposal) -> Bounds | None:
    if proposal.bounds is None:
        pinned = proposal.preferred_kw if room is None else room.clamp(proposal.preferred_kw)
        return Bounds(pinned, pinned)
    return proposal.bounds if room is None else room.narrow(proposal.bounds)


def _limiter(higher: list[Proposal], wish_kw: float, power_kw: float) -> Proposal | None:
    """The highest proposal that alone already moves the wish to the chosen power."""
    for proposal in higher:
        if proposal.bounds is None or proposal.bounds.contains(wish_kw):
            continue
        if abs(proposal.bounds.clamp(wish_kw) - power_kw) <= POWER_TOLERANCE_KW:
            return proposal
    return None


def arbitrate(
    choice: Choice | None,
    allowed: Envelope,
    notes: Mapping[CauseId, str],
    idle: str = "no live proposal",
) -> Setpoint:
    """Clamp the choice into the envelope and say why in one sentence.

    Args:
        choice: What the proposals agreed on, or None.
        allowed: What safety allows now.
        notes: What to add about a cause, e.g. ``until 21:00 UTC``.
        idle: Why there is no choice, for the reason of a hold.
    """
    if choice is None:
        power_kw = allowed.bounds.clamp(0.0)
        text = f"hold: {idle}" + _limited(0.0, power_kw, [_blockers_text(allowed, 0.0)])
        return Setpoint(power_kw, HOLD_SOURCE, text, None)
    winner = choice.limiter or choice.chooser
    power_kw = allowed.bounds.clamp(choice.power_kw)
    causes = []
    if choice.limiter is not None:
        causes.append(f"bounds of {label(choice.limiter)}")
    if not _same(power_kw, choice.power_kw):
        causes.append(_blockers_text(allowed, choice.power_kw))
    text = f"{label(choice.chooser)}: {action(choice.wish_kw)}"
    note = notes.get(choice.chooser.cause_id)
    text += f" {note}" if note else ""
    text += _limited(choice.wish_kw, power_kw, causes)
    text += "".join(f"; {label(p)} ignored: outside higher bounds" for p in choice.ignored)
    return Setpoint(power_kw, winner.source, text, winner.cause_id)


def blockers(allowed: Envelope, wish_kw: float) -> tuple[str, ...]:
    """Codes of the safety reasons that do not allow the wish, without repeats."""
    hits = (r.code for r in allowed.narrowings if not r.bounds.contains(wish_kw))
    return tuple(dict.fromkeys(hits))


def label(proposal: Proposal) -> str:
    """How a person calls the proposal, e.g. ``vpp event``."""
    return proposal.priority.name.lower().replace("_", " ")


def action(power_kw: float) -> str:
    """A power in words, e.g. ``discharge 4.2 kW``."""
    if abs(power_kw) < 0.005:
        return "rest at 0 kW"
    return f"{'discharge' if power_kw > 0 else 'charge'} {_kw(power_kw)}"


def _limited(wish_kw: float, power_kw: float, causes: list[str]) -> str:
    if _same(wish_kw, power_kw):
        return ""
    same_way = wish_kw * power_kw >= 0 and abs(power_kw) < abs(wish_kw)
    verb = f"limited to {_kw(power_kw)}" if same_way else f"moved to {action(power_kw)}"
    return f" ({verb}: {' and '.join(causes)})" if causes else f" ({verb})"


def _blockers_text(allowed: Envelope, wish_kw: float) -> str:
    """The reasons that bind hardest, at most two."""
    hits = [r for r in allowed.narrowings if not r.bounds.contains(wish_kw)]
    moves = [abs(r.bounds.clamp(wish_kw) - wish_kw) for r in hits]
    hardest = max(moves, default=0.0)
    texts = [r.text for r, move in zip(hits, moves, strict=True) if _same(move, hardest)]
    return "; ".join(texts[:2])


def _same(one_kw: float, other_kw: float) -> bool:
    return abs(one_kw - other_kw) <= POWER_TOLERANCE_KW


def _kw(power_kw: float) -> str:
    size = abs(power_kw)
    return f"{size:.1f} kW" if size >= 1 or size == 0 else f"{size:.2f} kW"
