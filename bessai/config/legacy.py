"""Environment variables of the earlier system: accepted where their part exists, else named."""

from __future__ import annotations

import os

from bessai.config.fleet import FleetConfig
from bessai.config.load import parse
from bessai.errors import ConfigError

_NO_LAKE = "the BigQuery sink comes with a later version"
_NO_CLOUD = "no part of this version talks to Google Cloud"
_NOT_YET = {
    "GCP_PROJECT_ID": _NO_CLOUD,
    "GCP_PUBSUB_TOPIC": "the Pub/Sub sink comes with a later version",
    "GOOGLE_APPLICATION_CREDENTIALS": _NO_CLOUD,
    "P2P_LEDGER_ENDPOINT": "peer-to-peer trading comes with a later version",
    "BIGQUERY_PROJECT_ID": _NO_LAKE,
    "BIGQUERY_DATASET": _NO_LAKE,
}


def apply_environment(fleet: FleetConfig) -> FleetConfig:
    """Let ``SITE_ID`` and ``INVERTER_IP`` override the site of a fleet file with one site.

    ``DASHBOARD_API_KEY`` is read by :func:`bessai.config.secret.api_key`.

    Raises:
        ConfigError: a variable is set beside a file with several sites, or its value is wrong.
    """
    wanted = {"SITE_ID": "id", "INVERTER_IP": "host"}
    given = {field: os.environ[name] for name, field in wanted.items() if os.environ.get(name)}
    if not given:
        return fleet
    if len(fleet.sites) != 1:
        name = next(n for n in wanted if os.environ.get(n))
        raise ConfigError(
            f"would change one of {len(fleet.sites)} sites, and cannot say which",
            field=name,
            value=os.environ[name],
            fix=f"unset {name}, or use a fleet file with one site",
        )
    data = fleet.model_dump(mode="json")
    data["sites"][0].update(given)
    return parse(FleetConfig, data, "environment")


def unused_variables() -> list[tuple[str, str]]:
    """Variables of the earlier system that are set but have no part yet, with the reason."""
    return [(name, why) for name, why in _NOT_YET.items() if os.environ.get(name)]
