"""Fakes of ports, shared by tests."""
