"""``python -m bessai`` is the ``bessai`` command."""

from bessai.cli import main

main()
