"""The ``bessai`` command."""

from __future__ import annotations


def main() -> None:
    """Entry point; a mistake of the user's is one line on standard error and exit status 1."""
    from bessai.cli.app import run  # noqa: PLC0415  `import bessai.cli` stays cheap

    run()
