"""One cycle as a row: columns to search by, and everything else as compressed JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Final, cast

from bessai.control.ledger import Write, WriteKind
from bessai.control.logbook.codec import Codec, to_text
from bessai.control.logbook.entries import Decided
from bessai.errors import ProtocolError

SAME: Final = "$same"
BY_REFERENCE: Final = ("seen", "last")
"""Parts of a state that mostly are the telemetry and the decision of its cycle."""

POWER_CHANGE_KW: Final = 0.05
"""A setpoint that moved less since the last change is not a change for people."""

LONGEST_TEXT: Final = 16 * 1024 * 1024

Tree = dict[str, object]


def payload(codec: Codec, entry: Decided, previous: Decided | None) -> bytes:
    """JSON of a cycle; whole where ``previous``, the cycle before it in its segment, is None."""
    tree: Tree = {} if previous else {"before": codec.encode(entry.before)}
    tree["cycle"] = codec.encode(entry.cycle)
    tree["decision"] = codec.encode(entry.decision)
    after = dict(cast("Tree", codec.encode(entry.after)))
    for name in BY_REFERENCE:
        reference = _reference(getattr(entry.after, name, None), name, entry, previous)
        if reference is not None:
            after[name] = {SAME: reference}
    tree["after"] = after
    tree["lost"] = entry.lost
    return to_text(tree).encode()


def _reference(value: object, name: str, entry: Decided, previous: Decided | None) -> str | None:
    if value is None:
        return None
    if value is entry.decision:
        return "decision"
    if value is entry.cycle.telemetry:
        return "telemetry"
    if previous is not None and value is getattr(previous.after, name):
        return "before"
    return None


def state_tree(tree: Tree, previous: Mapping[str, object] | None) -> Tree:
    """The whole state after a cycle.

    Args:
        tree: What :func:`payload` made.
        previous: The whole state after the cycle before, or None at the begin of a segment.

    Raises:
        ProtocolError: the tree refers to something that is not there.
    """
    cycle, after = cast("Tree", tree["cycle"]), dict(cast("Tree", tree["after"]))
    for name in BY_REFERENCE:
        value = after.get(name)
        if not (isinstance(value, dict) and SAME in value):
            continue
        match value[SAME]:
            case "decision":
                after[name] = tree["decision"]
            case "telemetry":
                after[name] = cycle["telemetry"]
            case "before" if previous is not None:
                after[name] = previous[name]
            case other:
                raise ProtocolError("refers to nothing", field=name, value=str(other))
    return after


def squeezed(text: bytes, dictionary: bytes) -> bytes:
    """Compress against the first cycle of the segment, to which most of the text is equal."""
    squeezer = zlib.compressobj(level=6, zdict=dictionary)
    return squeezer.compress(text) + squeezer.flush()


def unsqueezed(data: bytes, dictionary: bytes) -> Tree:
    """The tree of a row.

    Raises:
        ProtocolError: the row is damaged.
    """
    try:
        opener = zlib.decompressobj(zdict=dictionary)
        text = opener.decompress(data, LONGEST_TEXT)
        if not opener.eof:
            raise ProtocolError("a recorded cycle is cut off or too long")
        return cast("Tree", json.loads(text))
    except (zlib.error, ValueError) as error:
        raise ProtocolError(f"a recorded cycle is damaged ({error})") from error


def codes(entry: Decided) -> str:
    """Codes of all narrowings, each once."""
    return " ".join(dict.fromkeys(n.code for n in entry.decision.allowed.narrowings))


class Changes:
    """Tells the cycles in which something changed that a person would ask about."""

    def __init__(self) -> None:
        self._shown: tuple[object, ...] = ()
        self._shown_kw = 0.0
        self._write: Write | None = None
        self._result = "applied"

    def is_one(self, entry: Decided) -> bool:
        """Whether a cycle differs from the last one that did.

        A renewal does not, nor the same write that is tried again.
        """
        decision, after = entry.decision, entry.after
        setpoint, write = decision.setpoint, decision.write
        key = (
            setpoint.source,
            setpoint.cause_id,
            decision.autonomy,
            after.ownership.tenure,
            codes(entry),
            decision.blocked,
            decision.coasting,
        )
        moved = abs(setpoint.power_kw - self._shown_kw) > POWER_CHANGE_KW
        wrote = write is not None and write.kind is not WriteKind.RENEW and write != self._write
        happened = wrote or decision.external or decision.effect_failed or entry.lost
        if key == self._shown and not moved and not happened:
            return False
        self._shown, self._shown_kw = key, setpoint.power_kw
        self._write = self._write if write is None else write
        return True

    def is_answer(self, result: str) -> bool:
        """Whether the device answered a write another way than the one before."""
        before, self._result = self._result, result
        return result != before
