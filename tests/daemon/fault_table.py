"""The rows of the fault table: what is wrong at a destination, and the word that it deserves.

Numbers in brackets are those of the field study's list of acceptance faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fault_parts import (
    Ground,
    Row,
    alter,
    another,
    big,
    both,
    both_kinds,
    capitals,
    child,
    child_layer,
    config,
    empty,
    fault,
    layer,
    lose,
    lose_bytes,
    lose_tag,
    no_tokens,
    nowhere,
    odd_case,
    schema_1,
    truncate,
    twice,
)

from syncwatch.lab import images
from syncwatch.lab.registry import Fault

if TYPE_CHECKING:
    from fault_parts import Spoil

MATCHED, READABLE = "matched", "readable"

USER = {"reader": "the-readers-password"}
_LOGIN = {"username": "reader", "password": "the-readers-password"}
PLAIN = Ground("plain")
ONE_PLATFORM = Ground("amd64", {"platforms": ["linux/amd64"]})
KEPT = Ground("kept", policy={"override": False})
BEARER = Ground("bearer", _LOGIN, users=USER, bearer=True)
BASIC = Ground("basic", _LOGIN, users=USER)


def alone(name: str, **settings: Any) -> Ground:
    """A destination for one row, because its fault counts for all that is there."""
    return Ground(name, settings)


def verified(words: str, spoil: Spoil | None = None, **more: Any) -> Row:
    given = {} if spoil is None else {"spoil": spoil}
    return Row(words, "verified", None, READABLE, **given, **more)


def failed(words: str, reason: str, spoil: Spoil, level: str | None = MATCHED, **more: Any) -> Row:
    return Row(words, "failed", reason, level, spoil, **more)


def unknown(
    words: str, reason: str, spoil: Spoil | None = None, level: str | None = MATCHED, **more: Any
) -> Row:
    given = {} if spoil is None else {"spoil": spoil}
    return Row(words, "unknown", reason, level, **given, **more)


TWO = images.platforms
MANIFESTS = (
    failed(
        "a tag answers and its digest does not (1)", "missing", fault(Fault.DIGEST_NOT_FOUND), None
    ),
    failed("HEAD answers and GET does not (2)", "missing", fault(Fault.GET_NOT_FOUND), None),
    failed("the manifest's bytes are others (3)", "manifest_corrupt", fault(Fault.ALTERED), None),
    failed(
        "the registry names another digest (3)", "digest_mismatch", fault(Fault.WRONG_DIGEST), None
    ),
    verified("the registry names no digest", fault(Fault.NO_DIGEST)),
    failed("the digest is there and the tag is not (11)", "tag_missing", lose_tag, None),
    failed("the policy does not override (12)", "not_overridden", another, None, ground=KEPT),
    failed(
        "a policy there forbids it (21)",
        "policy_blocked",
        fault(Fault.POLICY_BLOCKED),
        None,
        succeeds=False,
    ),
    verified("404 for an index that Accept leaves out", fault(Fault.ACCEPT_TRAP), image=TWO),
    unknown("a manifest that never ends", "unreadable_answer", fault(Fault.ENDLESS), None),
    unknown("a manifest packed 80 MB small", "unreadable_answer", fault(Fault.GZIP_BOMB), None),
    unknown("five thousand headers", "unreadable_answer", fault(Fault.HEADER_FLOOD), None),
    unknown("a header of a megabyte", "unreadable_answer", fault(Fault.GIANT_HEADER), None),
    verified("a manifest without its length", fault(Fault.NO_LENGTH)),
    verified("304 for whatever has an If-None-Match", fault(Fault.NOT_MODIFIED_LIE)),
    unknown("a web page instead of everything", "unreadable_answer", fault(Fault.HTML), None),
    unknown("500", "server_error", fault(Fault.SERVER_ERROR), None),
    unknown("502", "server_error", fault(Fault.BAD_GATEWAY), None),
    unknown("401 without a word", "unauthorized", fault(Fault.UNAUTHORIZED), None),
    unknown("403", "forbidden", fault(Fault.FORBIDDEN), None),
    verified("an answer half a second late", fault(Fault.SLOW)),
    verified("one lost packet", fault(Fault.RESET, times=1)),
)

CHILDREN = (
    failed("a child is gone (4)", "child_missing", fault(Fault.DIGEST_NOT_FOUND, child), image=TWO),
    failed(
        "a child answers HEAD only (4)",
        "child_missing",
        fault(Fault.GET_NOT_FOUND, child),
        image=TWO,
    ),
    failed(
        "a child of a platform that nobody uses is gone (5)",
        "child_missing",
        fault(Fault.DIGEST_NOT_FOUND, child),
        image=TWO,
    ),
    verified(
        "a child of a platform that is not named is gone (5)",
        fault(Fault.DIGEST_NOT_FOUND, child),
        image=TWO,
        ground=ONE_PLATFORM,
    ),
    failed(
        "a child of the platform that is named is gone",
        "child_missing",
        fault(Fault.DIGEST_NOT_FOUND, lambda image: image.child_digests[0]),
        image=TWO,
        ground=ONE_PLATFORM,
    ),
    verified("attestations beside the images (6)", image=images.attested),
    verified(
        "attestations with an empty config (6)",
        image=lambda seed: images.attested(seed, empty_config=True),
    ),
    failed(
        "an attestation is gone",
        "child_missing",
        fault(Fault.DIGEST_NOT_FOUND, child),
        image=images.attested,
    ),
    verified(
        "an attestation is gone where a platform is named",
        fault(Fault.DIGEST_NOT_FOUND, child),
        image=images.attested,
        ground=ONE_PLATFORM,
    ),
    failed(
        "a child's bytes are others", "manifest_corrupt", fault(Fault.ALTERED, child), image=TWO
    ),
    failed("a child's layer is gone", "blob_missing", lose(child_layer), image=TWO),
    failed(
        "a policy forbids a child",
        "policy_blocked",
        fault(Fault.POLICY_BLOCKED, child),
        image=TWO,
        succeeds=False,
    ),
    unknown(
        "a web page instead of a child", "unreadable_answer", fault(Fault.HTML, child), image=TWO
    ),
    unknown("500 for a child", "server_error", fault(Fault.SERVER_ERROR, child), image=TWO),
    unknown("403 for a child", "forbidden", fault(Fault.FORBIDDEN, child), image=TWO),
    unknown("a child that never ends", "unreadable_answer", fault(Fault.ENDLESS, child), image=TWO),
    verified("indexes three deep", image=lambda seed: images.nested(seed, 3)),
    unknown("indexes four deep", "unreadable_answer", image=lambda seed: images.nested(seed, 4)),
    unknown("1,001 children", "unreadable_answer", image=lambda seed: images.crowded_index(1_001)),
    unknown(
        "100,000 children",
        "unreadable_answer",
        level=None,
        image=lambda seed: images.crowded_index(100_000),
    ),
)

BLOBS = (
    failed("206 without a byte (7)", "blob_unreadable", fault(Fault.EMPTY_206)),
    failed("a layer lacks its last byte (8)", "blob_unreadable", truncate),
    failed(
        "a layer lacks its last byte, and 206 all the same",
        "blob_unreadable",
        fault(Fault.TRUNCATED_206),
    ),
    failed("a layer is half as long", "blob_unreadable", fault(Fault.BLOB_TRUNCATED)),
    failed("a layer's file is empty", "blob_unreadable", empty),
    failed("a layer is gone", "blob_missing", lose(layer)),
    failed("a layer's file is gone", "blob_missing", lose_bytes),
    failed("the configuration is gone", "blob_missing", lose(config)),
    unknown("403 by the object store (9)", "forbidden", fault(Fault.STORAGE_FORBIDDEN)),
    failed("404 by the object store (9)", "blob_missing", fault(Fault.STORAGE_NOT_FOUND)),
    unknown("503 by the object store", "server_error", fault(Fault.STORAGE_DOWN)),
    verified("a redirect to another host", fault(Fault.REDIRECT)),
    failed(
        "a layer is shorter behind a redirect",
        "blob_unreadable",
        both(fault(Fault.REDIRECT), truncate),
    ),
    unknown("a redirect in a circle", "unreadable_answer", fault(Fault.REDIRECT_LOOP)),
    unknown("401 for blobs alone", "unauthorized", fault(Fault.BLOB_UNAUTHORIZED)),
    unknown("403 for blobs alone", "forbidden", fault(Fault.BLOB_FORBIDDEN)),
    unknown("500 for a blob", "server_error", fault(Fault.SERVER_ERROR, layer)),
    failed("404 for a blob", "blob_missing", fault(Fault.BLOB_NOT_FOUND, layer)),
    unknown("a web page instead of blobs", "unreadable_answer", fault(Fault.BLOB_HTML)),
    failed(
        "a layer's bytes end before they begin", "blob_unreadable", fault(Fault.CUT_BODY, layer)
    ),
    verified("200 and all of a layer", fault(Fault.NO_RANGES)),
    failed(
        "200 and a layer one byte short", "blob_unreadable", both(fault(Fault.NO_RANGES), truncate)
    ),
    failed("200 and no byte of a layer", "blob_unreadable", both(fault(Fault.NO_RANGES), empty)),
    verified("206 without its length", fault(Fault.NO_LENGTH, layer)),
    verified(
        "200 without its length, and a small layer",
        both(fault(Fault.NO_LENGTH, layer), fault(Fault.NO_RANGES)),
    ),
    failed(
        "200 without its length, and a small layer one byte short",
        "blob_unreadable",
        both(fault(Fault.NO_LENGTH, layer), fault(Fault.NO_RANGES), truncate),
    ),
    unknown(
        "200 without its length, and a big layer",
        "unreadable_answer",
        both(fault(Fault.NO_LENGTH, layer), fault(Fault.NO_RANGES)),
        image=big,
    ),
    unknown(
        "a part of a layer that never ends",
        "unreadable_answer",
        fault(Fault.ENDLESS, layer),
    ),
    unknown(
        "a part of a layer packed 80 MB small",
        "unreadable_answer",
        fault(Fault.GZIP_BOMB, layer),
    ),
    unknown(
        "five thousand headers on a blob", "unreadable_answer", fault(Fault.HEADER_FLOOD, layer)
    ),
    unknown(
        "a header of a megabyte on a blob", "unreadable_answer", fault(Fault.GIANT_HEADER, layer)
    ),
    verified("a layer's byte by byte", fault(Fault.DRIP, layer)),
    # Only hashing the whole of it would tell (the `full` check): the last byte is there.
    verified("a layer's bytes are others, and as many", alter),
    verified("a layer of no byte", image=lambda seed: images.layered(seed, b"")),
)

KINDS = (
    verified("foreign layers of Docker's (10)", image=images.foreign),
    verified(
        "foreign layers of OCI (10)",
        image=lambda seed: images.foreign(seed, images.OCI_FOREIGN_LAYER),
    ),
    failed(
        "the image's own layer beside a foreign one is gone",
        "blob_missing",
        lose(layer),
        image=images.foreign,
    ),
    verified("a Helm chart", image=lambda seed: images.chart(seed, "1.0")),
    failed(
        "a Helm chart's archive is gone",
        "blob_missing",
        lose(layer),
        image=lambda seed: images.chart(seed, "1.0"),
    ),
    verified("a cache of BuildKit's", image=images.build_cache),
    failed(
        "a layer in a cache of BuildKit's is gone",
        "blob_missing",
        lose(layer),
        image=images.build_cache,
    ),
    verified("any file as an artifact", image=images.artifact),
    verified("layers by sha512", image=lambda seed: images.image(seed, algorithm="sha512")),
    failed(
        "a layer by sha512 is gone",
        "blob_missing",
        lose(layer),
        image=lambda seed: images.image(seed, algorithm="sha512"),
    ),
    verified(
        "children by sha512",
        image=lambda seed: images.index(images.image(seed), algorithm="sha512"),
    ),
    unknown("a digest in capitals", "unreadable_answer", image=capitals),
    unknown("a manifest of schema 1", "unreadable_answer", image=schema_1),
    unknown(
        "JSON nested 10,000 deep", "unreadable_answer", image=lambda seed: images.deep_json(10_000)
    ),
    verified(
        "a name twice, and the last one's layers are there",
        image=lambda seed: twice(seed, last_is_there=True),
    ),
    failed(
        "a name twice, and the last one's layers are gone",
        "blob_missing",
        both(),
        image=lambda seed: twice(seed, last_is_there=False),
    ),
    unknown("a name in odd case", "unreadable_answer", image=odd_case),
    unknown("layers and manifests in one", "unreadable_answer", image=both_kinds),
    verified("a tag of 128 characters", reference="t" * 128),
    verified("a repository's name of 255 characters", length=255),
    verified("what Harbor really copied", copied=True),
)

ACCESS = (
    verified(
        "a token that ends in the middle (22)", fault(Fault.EXPIRED_TOKEN, layer, 1), ground=BEARER
    ),
    unknown(
        "every token is refused for a layer (22)",
        "unauthorized",
        fault(Fault.EXPIRED_TOKEN, layer),
        ground=Ground("no-good-token", _LOGIN, users=USER, bearer=True),
    ),
    unknown(
        "401 for blobs alone, with tokens",
        "unauthorized",
        fault(Fault.BLOB_UNAUTHORIZED),
        ground=BEARER,
    ),
    verified("a redirect, with tokens", fault(Fault.REDIRECT), ground=BEARER),
    unknown(
        "401 for blobs alone, with a password",
        "unauthorized",
        fault(Fault.BLOB_UNAUTHORIZED),
        ground=BASIC,
    ),
    verified("a redirect, with a password", fault(Fault.REDIRECT), ground=BASIC),
    unknown(
        "the token service is down",
        "server_error",
        no_tokens,
        None,
        ground=Ground("no-token", _LOGIN, users=USER, bearer=True, control=False),
    ),
)

QUICK = {"timeout": "700ms"}
NETWORK = (
    unknown(
        "429 with Retry-After (22)",
        "rate_limited",
        fault(Fault.RATE_LIMITED),
        None,
        ground=alone("limited"),
    ),
    unknown(
        "503 with Retry-After (22)",
        "server_error",
        fault(Fault.UNAVAILABLE),
        None,
        ground=alone("unavailable"),
    ),
    verified(
        "good answers that say they were the last",
        fault(Fault.RATE_LIMIT_HEADERS),
        ground=alone("polite"),
    ),
    unknown(
        "every connection is reset", "unreachable", fault(Fault.RESET), None, ground=alone("reset")
    ),
    unknown(
        "no answer at all", "unreachable", fault(Fault.HANG), None, ground=alone("hang", **QUICK)
    ),
    unknown(
        "no answer for a blob",
        "unreachable",
        fault(Fault.HANG, layer),
        ground=alone("hang-blob", **QUICK),
    ),
    unknown(
        "a manifest byte by byte",
        "unreachable",
        fault(Fault.DRIP),
        None,
        ground=alone("drip", **QUICK),
    ),
    unknown("a manifest cut", "unreachable", fault(Fault.CUT_BODY), None, ground=alone("cut")),
    unknown(
        "a manifest reset", "unreachable", fault(Fault.ABORT_BODY), None, ground=alone("abort")
    ),
    unknown(
        "a blob reset", "unreachable", fault(Fault.ABORT_BODY, layer), ground=alone("abort-blob")
    ),
    unknown(
        "a certificate of an unknown authority (22)",
        "tls_error",
        level=None,
        ground=Ground("tls", tls=True, control=False),
    ),
    unknown(
        "a host that DNS does not know (22)",
        "unreachable",
        level=None,
        ground=Ground("dns", url="http://registry.invalid:5000", control=False),
    ),
    unknown("a redirect to where nobody listens", "unreachable", nowhere, ground=alone("nowhere")),
)

ROWS = (*MANIFESTS, *CHILDREN, *BLOBS, *KINDS, *ACCESS, *NETWORK)
