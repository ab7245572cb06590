"""What a site may do now: pure functions from limits and telemetry to Bounds."""

from bessai.safety.envelope import Envelope, envelope, nameplate, validate_envelope
from bessai.safety.holds import usable_capacity_kwh
from bessai.safety.outlook import Outlook
from bessai.safety.plausible import PLAUSIBLE_CODES, Trace, observe

__all__ = [
    "PLAUSIBLE_CODES",
    "Envelope",
    "Outlook",
    "Trace",
    "envelope",
    "nameplate",
    "observe",
    "usable_capacity_kwh",
    "validate_envelope",
]
