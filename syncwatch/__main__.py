"""`python -m syncwatch` is `syncwatch`."""

from __future__ import annotations

from syncwatch.cli import main

if __name__ == "__main__":
    main()
