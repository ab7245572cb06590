"""BESSAI: fleets of battery energy storage sites, run as one power plant."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("bessai-fleet")
except PackageNotFoundError:  # a bare checkout, e.g. a Ray working_dir
    __version__ = "0.0.0+checkout"
