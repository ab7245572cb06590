"""Back-tests: what a forecast and a policy would have earned on prices they could not see."""
