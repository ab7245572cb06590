"""One simulated inverter of any family: its registers in front of the battery model, no sockets.

Energy runs in market time (real seconds x speed); the dead-man of a forced command and the ramp
run in real time, because they concern a real link. Without a forced command the device covers
the load from the battery and stores what the sun leaves over. Not modelled: forced mode until a
target SoC, and leaving forced mode at 100 %.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from bessai.config.profile import (
    BITFIELDS,
    MAIN,
    DeviceProfile,
    Parameter,
    Persistence,
    Point,
    Space,
)
from bessai.devices.codec import Registers
from bessai.errors import ConfigError
from bessai.plant import BatteryParams, BatteryState, power_limits, step, temperature_factor
from bessai.sim.bank import HOLDING, ILLEGAL_ADDRESS, ILLEGAL_VALUE, RegisterBank
from bessai.sim.faults import Fault, FaultKind, Faults
from bessai.sim.spec import InverterSpec
from bessai.sim.timer import DeadManTimer
from bessai.sim.twin import Books, Flows, Snapshot, Twin
from bessai.units import S_PER_HOUR, W_PER_KW, MonotonicS

DEVICE_FAILURE: Final = 4
_DAY_S: Final = 24 * S_PER_HOUR
