"""pydantic at the edge: files and environment in, frozen and checked models out."""

from bessai.config.fleet import ApiConfig, FleetConfig, MarketConfig, SimulationConfig
from bessai.config.load import load_fleet, load_profile, load_yaml, profile_path, resolve_profiles
from bessai.config.profile import DeviceProfile, Point, ReadBlock, WriteProgram, WriteStep
from bessai.config.site import BatteryConfig, SiteConfig

__all__ = [
    "ApiConfig",
    "BatteryConfig",
    "DeviceProfile",
    "FleetConfig",
    "MarketConfig",
    "Point",
    "ReadBlock",
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
