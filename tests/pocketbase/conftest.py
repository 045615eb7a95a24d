"""The real PocketBase, which `make test-pocketbase` installs."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("POCKETBASE") else ["test_*.py"]
