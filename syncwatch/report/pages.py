"""Pure: the routes of the page, as the document has them. Their answers are for people, in HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from syncwatch.model import Reason  # noqa: TC001 - msgspec reads the annotations
from syncwatch.report.operations import Answer, Guard, Nothing, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

HTML = "text/html"
EITHER = "text/html, application/json"
"""What could not be read as far as the page is refused as JSON."""
ELSEWHERE = "/{path}"
"""Every other address gets a page that says so; it is no route to ask for."""

Refresh = Annotated[
    int | None,
    Meta(
        description="seconds after which a browser loads it again without a script",
        extra_json_schema={"minimum": 5, "maximum": 3600},
    ),
]
Words = Annotated[
    str | None,
    Meta(
        description="a part of a name, or an image as manifests have it",
        examples=["apps/web"],
        extra_json_schema={"maxLength": 512},
    ),
]
HarborName = Annotated[str | None, Meta(description="the Harbor's name", examples=["main"])]
Before = Annotated[str | None, Meta(description="what a link to the page before has")]
After = Annotated[str | None, Meta(description="what a link to the next page has")]


class Reload(Struct, frozen=True):
    """How the page is loaded."""

    refresh: Refresh = None


class FirstQuery(Struct, frozen=True, kw_only=True):
    """What the list is narrowed to."""

    q: Words = None
    state: Annotated[
        Literal["pending", "verified", "failed", "unknown", "closed", "open", "any"] | None,
        Meta(description="that state only; `open` for those that owe, `any` for closed ones too"),
    ] = None
    reason: Annotated[Reason | None, Meta(description="that reason only")] = None
    harbor: HarborName = None
    policy: Annotated[str | None, Meta(description="a policy's name")] = None
    destination: Annotated[str | None, Meta(description="Harbor's name of an endpoint")] = None
    overdue: Annotated[Literal["1", "true"] | None, Meta(description="only what is overdue")] = None
    before: Before = None
    after: After = None
    refresh: Refresh = None


class ImagesQuery(Struct, frozen=True, kw_only=True):
    """What the table is narrowed to."""

    q: Words = None
    harbor: HarborName = None
    owed: Annotated[
        Literal["1", "true"] | None, Meta(description="only images that are owed somewhere")
    ] = None
    before: Before = None
    after: After = None
    refresh: Refresh = None


class ImagePath(Struct, frozen=True):
    """Which image is meant."""

    harbor: Annotated[str, Meta(description="the Harbor's name", examples=["main"])]
    image: Annotated[
        str, Meta(description="REPOSITORY:TAG or REPOSITORY@DIGEST", examples=["apps/web:1.4.0"])
    ]


class FilePath(Struct, frozen=True):
    """Which file is meant."""

    name: Annotated[str, Meta(description="as the page names it, with the hash of its bytes")]


class SignIn(Struct, frozen=True):
    """The form for the token."""

    token: Annotated[str, Meta(description="the token")]
    next: Annotated[str, Meta(description="the address to go to then")] = "/"


def _page(when: str) -> Answer:
    return Answer(when, None, HTML)


def _pages(
    name: str,
    summary: str,
    query: type[Struct] = Reload,
    path: type[Struct] = Nothing,
    more: Mapping[int, Answer] | None = None,
) -> Operation:
    answers = {
        200: _page("always"),
        400: Answer("a parameter is unknown, or not as it is described", None, EITHER),
        401: _page("a token is configured; the page has the form for it"),
        503: _page("the store is away"),
    }
    answers |= more or {}
    return Operation(name, summary, answers, query=query, path=path, guard=Guard.BROWSER)


SEE_OTHER = {"Location": "the address to go to"}
PAGES = {
    ("GET", "/"): _pages("page", "the page: what is wrong, and the list", FirstQuery),
    ("GET", "/images"): _pages("page_images", "images by destinations", ImagesQuery),
    ("GET", "/images/{harbor}/{image}"): _pages(
        "page_image",
        "one image everywhere",
        path=ImagePath,
        more={
            303: Answer("it names neither tag nor digest: to the search", None, "", SEE_OTHER),
            404: Answer("nothing is expected of it", None, EITHER),
        },
    ),
    ("GET", "/policies"): _pages("page_policies", "policies and findings"),
    ("GET", "/words"): _pages("page_words", "what states, reasons and findings mean"),
    ("GET", "/files/{name}"): Operation(
        "page_file",
        "style, script and icon of the page",
        {
            200: Answer("it is there", None, "text/css, text/javascript, image/svg+xml"),
            404: _page("there is no such file"),
        },
        path=FilePath,
        guard=Guard.NOBODY,
    ),
    ("POST", "/sign-in"): Operation(
        "page_sign_in",
        "takes the token and gives a cookie for twelve hours",
        {
            303: Answer("it is the token, or none is configured", None, "", SEE_OTHER),
            400: _page("the form cannot be read"),
            401: _page("it is not the token"),
            413: _page("the form is longer than 64 KiB"),
            429: _page("too many wrong tokens wait for their answer"),
        },
        body=SignIn,
        body_content="application/x-www-form-urlencoded",
        guard=Guard.NOBODY,
    ),
    ("POST", "/sign-out"): Operation(
        "page_sign_out",
        "has the browser forget its cookie",
        {303: Answer("always", None, "", SEE_OTHER)},
        guard=Guard.NOBODY,
    ),
}
"""By method and path; the page parses and guards for itself, for it answers in HTML."""
