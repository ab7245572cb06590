"""One Modbus connection per inverter, driven by a device profile."""
