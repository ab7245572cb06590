"""Simulated inverters: real Modbus TCP servers driven by the plant model."""
