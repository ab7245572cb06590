"""The fault campaign and the soak: scripts on a private Ray, not collected by the default tests."""
