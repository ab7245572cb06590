"""What a site may do now: pure functions from limits and telemetry to Bounds."""
