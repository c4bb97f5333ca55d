"""The header by which a list says where its next page is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import seeds
from campaign import Target
from header_targets import header

from syncwatch.verify.links import next_page

if TYPE_CHECKING:
    from collections.abc import Hashable

LINKS = (
    '</api/v2.0/replication/policies?page=2&page_size=10>; rel="next"',
    (
        '</api/v2.0/projects?page=1&page_size=10>; rel="prev" , '
        '</api/v2.0/projects?page=3&page_size=10>; rel="next"'
    ),
    f'</v2/library/busybox/referrers/{seeds.DIGEST}?n=10&last=abc>; rel="next"',
    f"<https://registry.example.com/v2/a/b/referrers/{seeds.DIGEST}?artifactType=x&n=2>; rel=next",
    '<https://other.example.net/v2/_catalog?last=x>; rel="next"; title="a, <b>; \\"c\\""',
    '</a>; rel="prev next"; anchor="#x", </b>; REL=NEXT',
    '<?last=a,b;c>; rel="next"\n<x>;rel=prev',
    "</a>; rel*=UTF-8''next",
    "",
)


def check_links(data: bytes) -> Hashable:
    """Each line is one Link header."""
    values = [header(line) for line in data.split(b"\n")]
    asked = "https://registry.example.com/v2/a/referrers/x?n=2"
    following = next_page(values, asked)
    if following is None:
        return None
    parts = urlsplit(following)
    assert (parts.scheme, parts.hostname) == ("https", "registry.example.com"), "a stranger's"
    assert parts.port in (None, 443) and not (parts.username or parts.password)
    assert any(part in data.lower() for part in (b"next", b"\\")) and not parts.fragment
    assert next_page([f'<{following}>; rel="next"'], asked) == following, "it does not stay"
    assert next_page([f"<{following}>; a=b ;REL = Next, <x>; rel=next"], asked) == following
    return min(parts.path.count("/"), 4), bool(parts.query), min(len(values), 4)


_LINKS = (
    b'<|>|; rel="next"|; rel=next|;|,| , |"|\\"|rel|NEXT|prev next|title=|anchor="#"|=|/v2/x|//|https://|'
    b"registry.example.com|:443|@|?last=a,b;c|#|..|   "
).split(b"|")
TARGETS = (
    Target(
        "links",
        "`Link` (`verify.links.next_page`)",
        check_links,
        lambda: [text.encode() for text in LINKS],
        _LINKS,
    ),
)
