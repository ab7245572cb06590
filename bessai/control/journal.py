"""Log on change and on recovery, never per cycle."""

from __future__ import annotations

import logging

from bessai.model import SiteId

log = logging.getLogger("bessai.control")


class Journal:
    """Remembers what was said about each topic of one site."""

    def __init__(self, site_id: SiteId) -> None:
        self._site_id = site_id
        self._said: dict[str, str | None] = {}

    def note(self, topic: str, problem: str | None, detail: str | None = None) -> None:
        """Log a problem when it begins or changes, and its end once.

        Args:
            topic: Static message, e.g. ``inverter unreachable``.
            problem: What is wrong now, or None where nothing is; decides what a change is.
            detail: What to log in place of ``problem``.
        """
        if self._said.get(topic) == problem:
            return
        self._said[topic] = problem
        if problem is None:
            log.info("%s: over", topic, extra={"site_id": self._site_id})
        else:
            extra = {"site_id": self._site_id, "problem": detail or problem}
            log.warning("%s: %s", topic, detail or problem, extra=extra)

    def change(self, topic: str, value: str) -> None:
        """Log a value when it is another than before."""
        before = self._said.get(topic)
        if before != value:
            self._said[topic] = value
            extra = {"site_id": self._site_id, "before": before}
            log.info("%s is now %s", topic, value, extra=extra)

    def event(self, message: str, **fields: object) -> None:
        """Log something that happened once."""
        log.info(message, extra={"site_id": self._site_id, **fields})

    def crash(self, topic: str, error: BaseException | None) -> None:
        """Log a bug with its traceback; the same one again is not repeated."""
        text = f"{type(error).__name__}: {error}"
        if self._said.get(topic) != text:
            self._said[topic] = text
            log.error("%s: %s", topic, text, exc_info=error, extra={"site_id": self._site_id})
