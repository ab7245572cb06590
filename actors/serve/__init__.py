"""Ray Serve deployments: price, dispatch and the HTTP API."""
