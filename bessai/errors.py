"""The one error hierarchy, so that a caller can catch everything BESSAI raises on purpose."""

from __future__ import annotations


class BessaiError(Exception):
    """Root of all errors raised on purpose; survives pickling through Ray.

    Args:
        message: One line that says what is wrong.
        field: Name of the offending field, e.g. ``sites[2].battery.soc_min_pct``.
        value: The offending value, as text.
        fix: What the reader should do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        value: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.value = value
        self.fix = fix

    def __str__(self) -> str:
        parts = [f"{self.field}: {self.message}" if self.field else self.message]
        if self.value is not None:
            parts.append(f"got {self.value}")
        if self.fix:
            parts.append(self.fix)
        return "; ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.field, self.value, self.fix))


def _rebuild(
    kind: type[BessaiError],
    message: str,
    field: str | None,
    value: str | None,
    fix: str | None,
) -> BessaiError:
    return kind(message, field=field, value=value, fix=fix)


class ConfigError(BessaiError):
    """A configuration file or option cannot be used."""


class DeviceError(BessaiError):
    """A device did not do what was asked."""


class DeviceTimeout(DeviceError):
    """The device did not answer within the deadline, or the connection is down."""


class DeviceClosed(DeviceTimeout):
    """The other end closed the connection; another client may have taken the device over."""


class DeviceMoved(DeviceTimeout):
    """The device's registers are elsewhere now; only a new connection finds them."""


class DeviceBusy(DeviceError):
    """The device answered Modbus exception 6 (server device busy)."""


class RegisterRejected(DeviceError):
    """The device answered a Modbus exception other than busy."""


class IllegalAddress(RegisterRejected):
    """The device answered Modbus exception 2: it lacks a register of the request."""


class VerificationFailed(DeviceError):
    """A written register reads back with another value."""


class Fenced(DeviceError):
    """This process may not write to the device now."""


class SafetyError(BessaiError):
    """An invariant of the safety core is broken."""


class StaleDataError(BessaiError):
    """Data is older than its use allows."""


class MarketError(BessaiError):
    """A market source has no usable data for what was asked."""


class ProtocolError(BessaiError):
    """A peer sent something that the protocol does not allow."""


class ModelError(BessaiError):
    """A forecast or dispatch model is missing or unusable."""


class StoreError(BessaiError):
    """Durable state cannot be read or written now."""
