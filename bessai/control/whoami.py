"""Which process this is, for those who must know whether another one is this, or beside it."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from pathlib import Path
from typing import Final

from bessai.config.paths import state_folder
from bessai.model import Owner

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE: Final = Path("/proc/self/ns/pid")
HOST_DIGITS: Final = 16
TOKEN_BYTES: Final = 8
log = logging.getLogger(__name__)


def this_process() -> Owner:
    """This process as an owner, with a new token: ask once per process.

    Raises:
        ConfigError: the folder for state cannot be made.
    """
    return Owner(_host(), os.getpid(), secrets.token_hex(TOKEN_BYTES))


def _host() -> str:
    """Where a pid and a file lock mean the same: one boot, one pid namespace, one state folder.

    Two containers of one machine differ in the namespace or in the folder that holds their locks;
    machines made of one image, in the boot. Where the kernel does not tell, the host is like no
    other, so that nothing is ever concluded from its pids.
    """
    folder = state_folder().stat()
    try:
        boot = BOOT_ID.read_text(encoding="ascii").strip()
        namespace = PID_NAMESPACE.stat().st_ino
    except OSError as error:
        log.warning("this machine cannot be told apart from others", extra={"cause": str(error)})
        return f"unknown-{secrets.token_hex(TOKEN_BYTES)}"
    told = f"{boot} {namespace} {folder.st_dev} {folder.st_ino}"
    return hashlib.sha256(told.encode("ascii")).hexdigest()[:HOST_DIGITS]
