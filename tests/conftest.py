"""Hypothesis: the same examples in each `make test`, fresh ones in `make test-all`."""

from __future__ import annotations

import os

from hypothesis import settings

# A deadline would make a loaded machine fail a correct test.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
