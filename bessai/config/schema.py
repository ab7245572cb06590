"""JSON schema of a device profile, so that editors check a profile while it is written.

``python -m bessai.config.schema FILE`` writes it; a test keeps the file in the repository current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bessai.config.profile import DeviceProfile

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def profile_schema() -> str:
    """The schema as stable, indented JSON text."""
    schema = {"$schema": SCHEMA_DIALECT, **DeviceProfile.model_json_schema()}
    point = schema["$defs"]["Point"]
    # A point of a SunSpec model is laid over the model's own definition, so it may be partial.
    partial = {key: value for key, value in point.items() if key != "required"}
    schema["properties"]["points"]["patternProperties"] = {r"^m[0-9]+\.": partial}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """Write the schema to the named file, or to standard output."""
    if arguments:
        Path(arguments[0]).write_text(profile_schema(), encoding="utf-8")
    else:
        sys.stdout.write(profile_schema())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
