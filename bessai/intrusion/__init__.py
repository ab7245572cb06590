"""Whether what happens on a site may happen there: an allow-list, and an anomaly score."""

from bessai.intrusion.allowlist import AllowList, AllowListMonitor, Rule, learn
from bessai.intrusion.derive import OwnSite, derive
from bessai.intrusion.events import Finding, ModbusEvent, refusal_event, request_event
from bessai.intrusion.model import IntrusionModel, load_model
from bessai.intrusion.watch import Change, SiteWatch, Verdict

__all__ = [
    "AllowList",
    "AllowListMonitor",
    "Change",
    "Finding",
    "IntrusionModel",
    "ModbusEvent",
    "OwnSite",
    "Rule",
    "SiteWatch",
    "Verdict",
    "derive",
    "learn",
    "load_model",
    "refusal_event",
    "request_event",
]
