"""The ``bessai`` command."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point; a mistake of the user's is one line on standard error and exit status 1."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # Nothing is to be cleaned up yet: Ctrl-C while modules load ends without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from bessai.cli.app import run  # noqa: PLC0415  `import bessai.cli` stays cheap

    run()
