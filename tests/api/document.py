"""docs/openapi.json and the generated parts of docs/api.md, from the running daemon.

`python tests/api/document.py` writes them anew.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(TOP / "tests"), str(TOP / "tests" / "daemon")]

from scene import scene  # noqa: E402

from syncwatch.report.manual import markdown  # noqa: E402

PAGE, DOCUMENT = TOP / "docs" / "api.md", TOP / "docs" / "openapi.json"

_spec = importlib.util.spec_from_file_location("docs_generate", TOP / "docs" / "generate.py")
assert _spec is not None and _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


async def served(directory: Path) -> dict[str, Any]:
    """What a daemon serves as /openapi.json."""
    async with scene(directory) as one, one.watched(ready=False) as watched:
        return await watched.get("/openapi.json")


def page_of(document: dict[str, Any]) -> str:
    """docs/api.md with its generated parts as the document has them."""
    page = PAGE.read_text(encoding="utf-8")
    for name, text in markdown(document).items():
        page = generate.refreshed(page, f"api {name}", text)
    return page


def written(document: dict[str, Any]) -> str:
    """The document as the file has it."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as directory:
        document = asyncio.run(served(Path(directory)))
    DOCUMENT.write_text(written(document), encoding="utf-8")
    PAGE.write_text(page_of(document), encoding="utf-8")


if __name__ == "__main__":
    main()
