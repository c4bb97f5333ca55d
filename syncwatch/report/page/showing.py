"""Templates, files and headers: how an answer of the page is made."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from aiohttp import web
from markupsafe import Markup, escape

from syncwatch import __version__
from syncwatch.report.page import asking, image, prose, times
from syncwatch.runtime import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.model import Millis

HERE = Path(__file__).parent
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
FOREVER = "public, max-age=31536000, immutable"
"""A file's name holds the hash of what is in it."""

_LONG = re.compile(
    r"\b(?:(?P<digest>sha(?:256|512):[0-9a-f]{64,128})"
    r"|(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z))\b"
)


@cache
def files() -> Mapping[str, tuple[bytes, str]]:
    """Bytes and type of each file by the name under which it is served: style.0f3a….css."""
    return {
        _served_as(path, body): (body, TYPES[path.suffix])
        for path in sorted((HERE / "files").iterdir())
        if path.suffix in TYPES
        for body in [path.read_bytes()]
    }


def _served_as(path: Path, body: bytes) -> str:
    return f"{path.stem}.{hashlib.sha256(body).hexdigest()[:16]}{path.suffix}"


def file(name: str) -> web.Response | None:
    """The answer to who asks for a file; None where there is none of that name."""
    found = files().get(name)
    if found is None:
        return None
    body, kind = found
    headers = HEADERS | {"Cache-Control": FOREVER}
    return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)


def page(template: str, now: Millis, status: int = 200, **values: Any) -> web.Response:
    """The page of a template; `values` are its variables, beside those that all of them have."""
    everywhere = {"now": now, "refresh": None, "signed_in": False, "path": "/", "here": ""}
    text = _environment().get_template(f"{template}.html").render(everywhere | values)
    return web.Response(
        text=text,
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=HEADERS | {"Cache-Control": "no-store"},
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_without_secrets,
    )
    environment.filters |= {
        "ago": times.ago,
        "about": times.about,
        "clock": times.clock,
        "exact": times.exact,
        "iso": times.iso,
        "took": times.took,
        "count": lambda n: f"{n:,}",
        "digest": _short_digest,
        "marked": prose.marked,
        "paragraphs": prose.paragraphs,
        "breakable": _breakable,
        "told": _told,
        "merged": lambda told, name, value: {**told, name: value},
        "when": _when,
        "since": _since,
    }
    environment.globals |= {
        "version": __version__,
        "words": prose.words(),
        "href": asking.href,
        "explain": image.explain_command,
        "file": {name.partition(".")[0]: f"/files/{name}" for name in files()},
    }
    return environment


def _without_secrets(value: object) -> object:
    """What looks like a credential is shown nowhere, whatever field it came in."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return redact(value)
    return value


@jinja2.pass_context
def _when(context: jinja2.runtime.Context, at: Millis) -> Markup:
    """A moment as people say it, with the exact one for machines and for those who point at it."""
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        times.iso(at), times.exact(at), times.ago(at, context["now"])
    )


@jinja2.pass_context
def _since(context: jinja2.runtime.Context, at: Millis) -> Markup:
    """How long it is since then, with the moment itself."""
    return Markup('<time datetime="{}" title="since {}">{}</time>').format(
        times.iso(at), times.exact(at), times.about(context["now"] - at)
    )


def _short_digest(digest: str) -> str:
    """sha256:0123456789ab… as people compare them."""
    kind, _, value = digest.partition(":")
    return f"{kind}:{value[:12]}…" if len(value) > 12 else digest


def _told(sentence: str) -> Markup:
    """A sentence with its digests shortened; the whole ones are there for those who point at."""
    plain, end = redact(sentence), 0
    parts: list[Markup] = []
    for found in _LONG.finditer(plain):
        parts += [escape(plain[end : found.start()]), _shown(found)]
        end = found.end()
    return Markup().join([*parts, escape(plain[end:])])


def _shown(found: re.Match[str]) -> Markup:
    if found["at"]:
        return Markup('<time datetime="{}">{}</time>').format(found["at"], found["at"])
    return Markup('<code title="{}">{}</code>').format(found[0], _short_digest(found[0]))


def _breakable(name: str) -> Markup:
    """A name that may be broken into lines after its slashes, and stays whole when copied."""
    return Markup("<wbr>").join(f"{part}" for part in redact(name).replace("/", "/\0").split("\0"))
