"""What a site may do now: pure functions from limits and telemetry to Bounds."""

from bessai.safety.envelope import Envelope, envelope, nameplate, validate_envelope
from bessai.safety.holds import usable_capacity_kwh
from bessai.safety.outlook import Outlook

__all__ = [
    "Envelope",
    "Outlook",
    "envelope",
    "nameplate",
    "usable_capacity_kwh",
    "validate_envelope",
]
