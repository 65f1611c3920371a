"""Write ui/openapi.json from the platform's routes, or with `--check` say that it is out of date.

Knows nothing about routes. The pages' client is generated from that file.
"""

import json
import sys
from pathlib import Path

from stead.web.app import api

TARGET = Path(__file__).resolve().parent.parent / "ui" / "openapi.json"


def main() -> int:
    """Write or compare."""
    found = api().openapi()
    found["info"]["version"] = (
        "0"  # the wheel has the version; the file changes with the routes alone
    )
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if "--check" in sys.argv:
        same = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text
        if not same:
            sys.stderr.write("ui/openapi.json is out of date: make openapi\n")
        return 0 if same else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
