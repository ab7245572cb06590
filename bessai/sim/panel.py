"""What the registers show of a simulated battery: measured values and the device's identity."""

from __future__ import annotations

from typing import Final, Protocol
from zlib import crc32

from bessai.plant import BatteryParams, BatteryState
from bessai.sim.bank import RegisterBank
from bessai.sim.spec import InverterSpec
from bessai.units import W_PER_KW, WH_PER_KWH

MAINS_V: Final = 230.0
MAINS_HZ: Final = 50.0
BUS_V: Final = 360.0
_ON_GRID: Final = 0x0200
_GRID_CONNECTED_NORMALLY: Final = 0b110
_STANDBY, _RUNNING = 1, 2
_MODE_FORCED, _MODE_SELF_CONSUMPTION = 1, 4
_UNIT_2: Final = (
    "unit2_soc",
    "unit2_running_status",
    "unit2_power",
    "unit2_bus_voltage",
    "unit2_bus_current",
    "unit2_temperature",
)


class Shown(Protocol):
    """What the panel needs to know of a device."""

    state: BatteryState
    params: BatteryParams
    exported_kwh: float
    imported_kwh: float

    @property
    def power_kw(self) -> float:
        """AC power, + discharge."""
        ...

    @property
    def forced(self) -> bool:
        """Whether a forced command is in force."""
        ...


def show_identity(bank: RegisterBank, spec: InverterSpec) -> None:
    """Registers that never change while the device runs."""
    bank.put_text("model_name", "SUN2000-10KTL-M1")
    bank.put_text("serial_number", f"SIM{crc32(spec.site_id.encode()):010d}")
    bank.put_text("part_number", "01074311-006")
    bank.put_text("firmware_version", "V100R001C00SPC174")
    bank.put_text("software_version", "V100R001C00SPC174")
    numbers = {
        "model_id": 428.0,
        "pv_string_count": 2.0,
        "mppt_count": 2.0,
        "rated_power": 10_000.0,
        "max_active_power": 10_000.0,
        "unit1_product_model": 2.0,
        "meter_type": 1.0,
        "state_1": float(_GRID_CONNECTED_NORMALLY),
        "device_status": float(_ON_GRID),
        "insulation_resistance": 3.0,
        "rated_capacity": spec.capacity_kwh * WH_PER_KWH,
        "unit1_rated_charge_power": spec.max_charge_kw * W_PER_KW,
        "unit1_rated_discharge_power": spec.max_discharge_kw * W_PER_KW,
        "efficiency": spec.round_trip_efficiency_pct**0.5 * 10.0,
        "grid_frequency": MAINS_HZ,
        "meter_frequency": MAINS_HZ,
        "power_factor": 1.0,
        "meter_power_factor": 1.0,
    }
    for name, value in numbers.items():
        bank.put(name, value)
    for name in _UNIT_2:
        bank.put_marker(name)


def show(bank: RegisterBank, device: Shown) -> None:
    """Registers that follow the battery."""
    _show_ac(bank, device.power_kw)
    _show_battery(bank, device)
    _show_energy(bank, device)


def _show_ac(bank: RegisterBank, power_kw: float) -> None:
    power_w = power_kw * W_PER_KW
    for name in ("active_power", "active_power_fast", "meter_active_power"):
        bank.put(name, power_w)
    for phase in "abc":
        bank.put(f"phase_{phase}_voltage", MAINS_V)
        bank.put(f"phase_{phase}_current", power_w / 3 / MAINS_V)
        bank.put(f"meter_voltage_{phase}", MAINS_V)
        bank.put(f"meter_current_{phase}", power_w / 3 / MAINS_V)
        bank.put(f"meter_power_{phase}", power_w / 3)


def _show_battery(bank: RegisterBank, device: Shown) -> None:
    power_w = device.power_kw * W_PER_KW
    soc_pct = device.state.soc_pct(device.params)
    status = _RUNNING if power_w else _STANDBY
    for prefix in ("", "unit1_"):
        bank.put(f"{prefix}soc", soc_pct)
        bank.put(f"{prefix}running_status", status)
        bank.put(f"{prefix}bus_voltage", BUS_V)
        bank.put(f"{prefix}bus_current", 0.0 - power_w / BUS_V)
    bank.put("battery_power", power_w)
    bank.put("unit1_power", power_w)
    bank.put("unit1_temperature", device.state.temperature_c)
    bank.put("internal_temperature", device.state.temperature_c)
    mode = _MODE_FORCED if device.forced else _MODE_SELF_CONSUMPTION
    bank.put("unit1_working_mode", mode)


def _show_energy(bank: RegisterBank, device: Shown) -> None:
    for name in ("meter_exported_energy", "total_discharge", "unit1_total_discharge"):
        bank.put(name, device.exported_kwh)
    for name in ("meter_imported_energy", "total_charge", "unit1_total_charge"):
        bank.put(name, device.imported_kwh)
    bank.put("total_yield", device.exported_kwh)
