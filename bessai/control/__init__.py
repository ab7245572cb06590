"""One site: the pure control step and the thin loop that drives it."""
