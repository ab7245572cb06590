"""Secrets, from the environment or a file; they never enter a log, a URL or a plan."""

from __future__ import annotations

import os
from pathlib import Path

from bessai.config.fleet import ApiConfig
from bessai.errors import ConfigError

KEY_VARIABLES = ("BESSAI_API_KEY", "DASHBOARD_API_KEY")
KEY_FILE_VARIABLE = "BESSAI_API_KEY_FILE"
MIN_LENGTH = 16


def api_key() -> str | None:
    """The key that the HTTP API asks for, or None where none is set.

    Raises:
        ConfigError: the key file is unreadable, or the key is too short to protect anything.
    """
    for name in KEY_VARIABLES:
        if value := os.environ.get(name, "").strip():
            return _checked(value, name)
    path = os.environ.get(KEY_FILE_VARIABLE)
    if not path:
        return None
    try:
        return _checked(Path(path).read_text(encoding="utf-8").strip(), KEY_FILE_VARIABLE)
    except OSError as error:
        raise ConfigError(
            f"cannot be read ({error.strerror})", field=KEY_FILE_VARIABLE, value=path
        ) from None


def password_from(path: Path, field: str) -> str:
    """The first line of a password file.

    Raises:
        ConfigError: the file is unreadable or empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"cannot be read ({reason})", field=field, value=str(path)) from None
    if not lines or not lines[0]:
        raise ConfigError("is empty", field=field, value=str(path))
    return lines[0]


def require_key_beyond_loopback(api: ApiConfig, key: str | None) -> None:
    """Refuse to listen for other machines without a key.

    Raises:
        ConfigError: names the host and the way out.
    """
    if not api.is_loopback and key is None:
        raise ConfigError(
            "listens beyond this machine, which needs an API key",
            field="api.host",
            value=api.host,
            fix="set BESSAI_API_KEY or BESSAI_API_KEY_FILE, or use 127.0.0.1",
        )


def _checked(key: str, field: str) -> str:
    if len(key) < MIN_LENGTH:
        raise ConfigError(
            f"is shorter than {MIN_LENGTH} characters",
            field=field,
            fix="use a random one: openssl rand -hex 24",
        )
    return key
