"""Hypothesis: the same examples in each `make test`, fresh ones in `make test-all`; own state."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

# A deadline would make a loaded machine fail a correct test.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

if "BESSAI_STATE_DIR" not in os.environ:
    # Locks, stops and records of tests never lie among those of this user's own fleets.
    _folder = tempfile.mkdtemp(prefix="bessai-tests-")
    os.environ["BESSAI_STATE_DIR"] = _folder
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
