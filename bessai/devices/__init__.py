"""One Modbus connection per inverter, driven by a device profile."""

from bessai.devices.inverter import ModbusInverter

__all__ = ["ModbusInverter"]
