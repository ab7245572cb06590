"""The decision record of a site: what was known, wished, allowed, decided, written and answered.

``entries`` is what the control loop tells, ``book`` takes it without waiting, ``writer``, ``rows``,
``codec`` and ``file`` store it, ``reader`` and ``views`` show it, ``replay`` proves it.
"""

from bessai.control.logbook.book import Logbook, LogStatus
from bessai.control.logbook.entries import DecisionLog, NoLog
from bessai.control.logbook.file import LogLimits, decision_file
from bessai.control.logbook.reader import DecisionQuery, LogReader

__all__ = [
    "DecisionLog",
    "DecisionQuery",
    "LogLimits",
    "LogReader",
    "LogStatus",
    "Logbook",
    "NoLog",
    "decision_file",
]
