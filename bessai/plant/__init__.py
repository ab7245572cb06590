"""The one battery model, for the simulator, the environment and back-tests."""

from bessai.plant.battery import BatteryParams, BatteryState, power_limits, step, temperature_factor

__all__ = ["BatteryParams", "BatteryState", "power_limits", "step", "temperature_factor"]
