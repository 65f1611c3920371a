"""Write ui/openapi.json from the platform's routes, or with `--check` say that it is out of date.

Knows nothing about routes. The pages' client is generated from that file and says on its first line from which state
of it, so that the check needs no Node.
"""

import hashlib
import json
import sys
from pathlib import Path

from stead.web.app import api

UI = Path(__file__).resolve().parent.parent / "ui"
TARGET = UI / "openapi.json"
CLIENT = UI / "src" / "api" / "schema.d.ts"


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
            sys.stderr.write("ui/openapi.json is out of date: make client\n")
            return 1
        return _check_client(text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


def _check_client(text: str) -> int:
    made_from = f"// openapi.json sha256 {hashlib.sha256(text.encode()).hexdigest()}"
    with CLIENT.open(encoding="utf-8") as lines:
        same = lines.readline().rstrip() == made_from
    if not same:
        sys.stderr.write("ui/src/api/schema.d.ts is out of date: make client\n")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
