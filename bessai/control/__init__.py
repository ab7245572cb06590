"""One site: the pure control step and the thin loop that drives it."""

from bessai.control.clocks import Clocks
from bessai.control.loop import SiteLoop

__all__ = ["Clocks", "SiteLoop"]
