"""Command line and environment of a private head node.

Source: measured with Ray 2.60. ``RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0`` makes Ray take
loopback as the node's address, so that each of its servers binds to 127.0.0.1 alone; without
it ``--node-ip-address=127.0.0.1`` is resolved back to the outer address and three metrics
servers listen on all interfaces without a token. Serve replicas still open a port for each
other on all interfaces; it asks for the token.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from actors.local.plan import RayPorts
from actors.local.reap import RUN_MARK
from actors.local.rundir import RunDir
from bessai.config.secret import KEY_FILE_VARIABLE

OBJECT_STORE_BYTES = 150_000_000
GCS_RECONNECT_S = 86_400


def run_environment(run: RunDir, ports: RayPorts) -> dict[str, str]:
    """Environment of every process of the run, the driver's included."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    if key_file := inherited.get(KEY_FILE_VARIABLE):
        inherited[KEY_FILE_VARIABLE] = str(Path(key_file).absolute())  # they run elsewhere
    return inherited | {
        RUN_MARK: run.marker,
        "SPT_NOENV": "1",  # process titles must not overwrite the environment that we search
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(run.token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(GCS_RECONNECT_S),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TMPDIR": str(run.ray),
        "AUTOSCALER_METRIC_PORT": str(ports.metrics_autoscaler),
        "DASHBOARD_METRIC_PORT": str(ports.metrics_dashboard),
        "PYTHONUNBUFFERED": "1",
    }


def head_command(run: RunDir, ports: RayPorts) -> list[str]:
    """``ray start --head`` with each port chosen by us.

    Not ``--block``: it ends the whole node when Ray's head server dies, and the sites must
    outlive that. The keeper ends what is left.
    """
    return [
        sys.executable,
        "-P",
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--node-ip-address=127.0.0.1",
        f"--port={ports.gcs}",
        f"--temp-dir={run.ray}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={ports.dashboard}",
        f"--dashboard-agent-listen-port={ports.agent_http}",
        f"--dashboard-agent-grpc-port={ports.agent_grpc}",
        f"--runtime-env-agent-port={ports.runtime_env}",
        f"--metrics-export-port={ports.metrics_export}",
        f"--ray-client-server-port={ports.client}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--num-cpus={max(4, os.cpu_count() or 1)}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        "--disable-usage-stats",
        "--include-log-monitor=false",
    ]
