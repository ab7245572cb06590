"""Price forecasts that know when they were known."""
