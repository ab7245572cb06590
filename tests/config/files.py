"""A small device profile and fleet file, and ways to spoil them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import yaml

from bessai.config import FleetConfig, load_fleet
from bessai.config.load import parse
from bessai.config.profile import DeviceProfile

Data = dict[str, object]
Change = dict[tuple[str | int, ...], object]

DELETE = object()

STEP = [{"point": "command", "value": 1}]
PROFILE: Data = {
    "name": "small",
    "title": "A small inverter",
    "source": "made for tests",
    "limits": {
        "max_charge_kw": 5,
        "max_discharge_kw": 6,
        "soc_min_pct": 5,
        "soc_max_pct": 98,
        "temperature_min_c": -10,
        "temperature_max_c": 55,
    },
    "connection": {},
    "identification": {"model": ["model"], "serial": "model", "expect": ["SMALL"]},
    "dead_man": {"period_s": 60, "restarted_by": ["command"], "on_expiry": {"command": 0}},
    "maturity": {
        "reading": "none",
        "control": "none",
        "dead_man": "none",
        "persistence": "none",
        "notes": "made for tests",
    },
    "points": {
        "model": {"address": 100, "type": "string", "count": 10},
        "soc": {"address": 200, "type": "u16", "gain": 10, "unit": "%"},
        "energy": {"address": 202, "type": "u32", "count": 2},
        "temperature": {"address": 204, "type": "i16", "unit": "degC"},
        "status": {"address": 205, "type": "u16", "enum": {0: "fault", 1: "running"}},
        "command": {"address": 300, "type": "u16", "persistence": "command"},
        "forced_power": {"address": 301, "type": "u16", "unit": "W", "persistence": "command"},
    },
    "telemetry": {
        "soc_pct": "soc",
        "temperature_c": "temperature",
        "battery_status": "status",
        "inverter_status": "status",
    },
    "ready": {"battery_status": ["running"], "inverter_status": ["running"]},
    "commanded": [{"when": {"command": 1}, "point": "forced_power"}],
    "programs": {
        "charge": {"steps": [{"point": "command", "value": 1}]},
        "discharge": {"steps": [{"point": "command", "value": 1}]},
        "hold": {"steps": [{"point": "command", "value": 1}]},
        "release": {"steps": [{"point": "command", "value": 0}]},
    },
}
FLEET: Data = {
    "id": "north",
    "sites": [
        {
            "id": "a",
            "profile": "small",
            "host": "192.0.2.1",
            "battery": {"max_charge_kw": 4, "max_discharge_kw": 4},
        },
        {
            "id": "b",
            "profile": "small",
            "host": "192.0.2.2",
            "battery": {"max_charge_kw": 4, "max_discharge_kw": 4},
        },
    ],
}


def dump(data: object) -> str:
    """``data`` as YAML, without aliases."""
    return yaml.safe_dump(copy.deepcopy(data), sort_keys=False)


def changed(data: Data, change: Change) -> Data:
    """A copy of ``data`` with the value at each path replaced, added or deleted."""
    result: Data = copy.deepcopy(data)
    for path, value in change.items():
        target: object = result
        for step in path[:-1]:
            assert isinstance(target, dict | list)
            target = target[step]  # type: ignore[index]
        assert isinstance(target, dict | list)
        if value is DELETE:
            del target[path[-1]]  # type: ignore[arg-type]
        else:
            target[path[-1]] = value  # type: ignore[index]
    return result


def profile(change: Change | None = None) -> DeviceProfile:
    """The small profile, parsed."""
    return parse(DeviceProfile, changed(PROFILE, change or {}), "small.yaml")


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a test's fleet file lies."""

    path: Path

    @property
    def fleet_file(self) -> Path:
        """The fleet file."""
        return self.path / "fleet.yaml"

    def load_text(self, text: str) -> FleetConfig:
        """Write ``text`` as the fleet file and load it."""
        self.fleet_file.write_text(text, encoding="utf-8")
        return load_fleet(self.fleet_file)

    def load(self, change: Change | None = None) -> FleetConfig:
        """Load the fleet file with a change."""
        return self.load_text(dump(changed(FLEET, change or {})))

    def write_profile(self, name: str, change: Change) -> None:
        """Add a changed copy of the small profile to the registry."""
        path = self.path / "registry" / "devices" / f"{name}.yaml"
        path.write_text(dump(changed(PROFILE, {("name",): name} | change)), encoding="utf-8")
