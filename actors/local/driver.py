"""Connecting to the run's own Ray."""

from __future__ import annotations

import logging

import ray

from actors.local.plan import RunPlan
from actors.names import NAMESPACE


def connect(plan: RunPlan) -> None:
    """Join the private Ray of a run as a driver; the environment carries the token."""
    ray.init(
        address=plan.ray_address,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.WARNING,
        logging_config=ray.LoggingConfig(encoding="JSON", log_level="INFO"),
    )
