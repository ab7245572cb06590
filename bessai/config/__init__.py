"""pydantic at the edge: files and environment in, frozen and checked models out."""

from bessai.config.fleet import ApiConfig, FleetConfig, MarketConfig, SimulationConfig
from bessai.config.load import load_fleet, load_profile, profile_path, resolve_profiles
from bessai.config.profile import DeviceProfile, Point, WriteProgram, WriteStep
from bessai.config.site import BatteryConfig, SiteConfig
from bessai.config.yaml_file import load_yaml

__all__ = [
    "ApiConfig",
    "BatteryConfig",
    "DeviceProfile",
    "FleetConfig",
    "MarketConfig",
    "Point",
    "SimulationConfig",
    "SiteConfig",
    "WriteProgram",
    "WriteStep",
    "load_fleet",
    "load_profile",
    "load_yaml",
    "profile_path",
    "resolve_profiles",
]
