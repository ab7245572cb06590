"""A site's loop over a real device, built as in production, with nobody else to ask."""

from __future__ import annotations

import pytest

from bessai.build import SiteSpec, build_site
from bessai.control import SiteLoop
from bessai.control.claims import NoRivals
from bessai.ports import Uplink


def built(spec: SiteSpec, uplink: Uplink) -> SiteLoop:
    return build_site(spec, uplink, NoRivals(), pytest.fail)
