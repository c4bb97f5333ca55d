"""The rows of what kubelets say, each with the registry and the image that bring it about.

Numbers are those of the recordings; 01 to 12 are in `real_rows_served`, the others here. Rows that
a pod of ours cannot meet are not in the table: it asks by digest and `Always`, so no tag moves (03c
to 03f), no image is taken unasked (03b, 10e, 26); and it names a user by number, so that none has
to be read from the image (19c, 19d are started).
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import real_rows_served  # noqa: F401 - puts its rows into the table
import trustme
from real_bench import ROWS, A, Bench, Case, M, N, P, W, row, said
from real_cluster import PROGRAM, named
from servers.kubernetes.node import AARCH64, deaf_program

from syncwatch.lab import images
from syncwatch.lab.registry import Fault
from syncwatch.model import ProbeMode

if TYPE_CHECKING:
    from real_cluster import Told


__all__ = ["ROWS"]


@row("13-index-without-this-platform", W, words="no match for platform", often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    digest = await one.push("app", "1", images.platforms("elsewhere", "arm64", "s390x"))
    return Case(named(one.host, "app", digest))


@row(
    "13b-single-manifest-of-another-platform",
    P,
    start=W,
    words="exec format error",
)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("of arm64", body=deaf_program(AARCH64), architecture="arm64")
    return Case(named(one.host, "app", await one.push("app", "1", image)))


def _index(bench: Bench, words: str) -> tuple[images.Image, images.Image, images.Image]:
    own = bench.program(words)
    other = bench.program(words, architecture="arm64")
    return images.index(own, other, images.attestation(own)), own, other


@row("14-index-with-this-platform", P, often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    whole, _, _ = _index(bench, "here")
    return Case(named(one.host, "app", await one.push("app", "1", whole)))


@row("14b-index-child-missing", M, words="not found")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    whole, own, _ = _index(bench, "child lost")
    digest = await one.push("app", "1", whole)
    one.lose_blob(own.digest)
    return Case(named(one.host, "app", digest))


@row("14c-index-child-of-another-platform-missing", P)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    whole, _, other = _index(bench, "other child lost")
    digest = await one.push("app", "1", whole)
    one.lose_blob(other.digest)
    return Case(named(one.host, "app", digest))


@row("15-helm-chart", said("not_an_image"), words="mismatched image rootfs", often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    return Case(named(one.host, "chart", await one.push("chart", "1", images.chart("app", "1.0"))))


def _bare(image: images.Image) -> images.Image:
    """The same without the command that is to be started."""
    config = image.blobs[0].replace(b"Entrypoint", b"NoSuchWord")
    body = image.manifest.replace(image.config_digest.encode(), images.digest_of(config).encode())
    return images.Image(image.media_type, body, (config, image.blobs[1]))


@row("16-no-command-in-the-image", P, start=said("not_started"), words="no command specified")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = _bare(bench.program("no command"))

    def after(told: Told) -> None:
        if bench.mode is ProbeMode.START:
            (container,) = told.pod["status"]["containerStatuses"]
            assert container["imageID"] == ""

    return Case(named(one.host, "app", await one.push("app", "1", image)), after=after)


@row("16b-no-command-in-the-image-and-one-of-ours", P)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = _bare(bench.program("command of ours"))
    command = {"command": (PROGRAM,)} if bench.mode is ProbeMode.START else {}
    return Case(named(one.host, "app", await one.push("app", "1", image)), command)


async def _slow(bench: Bench, words: str, seconds: float) -> str:
    one = await bench.lab()
    one.slow_seconds = seconds
    image = bench.program(words)
    digest = one.push("app", "1", image)
    one.fault(Fault.SLOW, reference=image.layer_digests[0])
    return named(one.host, "app", digest)


@row("17-deadline-of-the-pod-passes-while-pulling", P)
async def _(bench: Bench) -> Case:
    return Case(await _slow(bench, "slow", 3), {"spec": {"activeDeadlineSeconds": 1}})


@row("17b-behind-a-slow-pull", P)
async def _(bench: Bench) -> Case:
    slow, one = await _slow(bench, "slow before", 2), await bench.docker()
    before = await bench.pull(slow, within=0.5)
    assert before.judged.result is not P
    digest = await one.push("app", "1", bench.program("behind a slow one"))
    return Case(named(one.host, "app", digest))


@row("18-no-node-fits", said("unschedulable"), words="didn't match")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    digest = await one.push("app", "1", bench.program("unscheduled"))
    return Case(
        named(one.host, "app", digest), {"within": 1, "node_selector": {"nobody": "has-this"}}
    )


@row("19c-image-of-root", P)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("of root", user="0")
    return Case(named(one.host, "app", await one.push("app", "1", image)))


@row("19d-image-of-a-user-by-name", P)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("of somebody", user="somebody")
    return Case(named(one.host, "app", await one.push("app", "1", image)))


@row("20-tls-of-an-unknown-authority", N, words="x509:")
async def _(bench: Bench) -> Case:
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(own)
    one = await bench.lab(tls=own)
    bench.cluster.node.by_tls(one.host)
    return Case(named(one.host, "app", one.push("app", "1", bench.program("behind tls"))))


def _answers(number: str, fault: Fault, words: str, judged: Any) -> None:
    """A row of a status in the place of the manifest."""

    @row(f"21-{number}-for-the-manifest", judged, words=words)
    async def _(bench: Bench) -> Case:
        one = await bench.lab()
        digest = one.push("app", "1", bench.program(number))
        one.fault(fault, reference=digest)
        return Case(named(one.host, "app", digest))


_answers("403", Fault.FORBIDDEN, "403 Forbidden", A)
_answers("404", Fault.DIGEST_NOT_FOUND, "not found", M)
_answers("412", Fault.POLICY_BLOCKED, "412 Precondition Failed", said("policy"))
_answers("429", Fault.RATE_LIMITED, "429 Too Many Requests", said("rate_limited"))
_answers("500", Fault.SERVER_ERROR, "500 Internal Server Error", said("server_error"))
_answers("502", Fault.BAD_GATEWAY, "502 Bad Gateway", said("server_error"))
_answers("503", Fault.UNAVAILABLE, "503 Service Unavailable", said("server_error"))


def _spoils(name: str, fault: Fault, words: str, judged: Any) -> None:
    """A row of a layer that is not given."""

    @row(name, judged, words=words)
    async def _(bench: Bench) -> Case:
        one = await bench.lab()
        image = bench.program(name)
        digest = one.push("app", "1", image)
        one.fault(fault, reference=image.layer_digests[0])
        return Case(named(one.host, "app", digest))


_spoils("22-403-for-a-layer", Fault.FORBIDDEN, "403 Forbidden", A)
_spoils("22-404-for-a-layer", Fault.BLOB_NOT_FOUND, "from remote: not found", M)
_spoils("22-429-for-a-layer", Fault.RATE_LIMITED, "429 Too Many Requests", said("rate_limited"))
_spoils("22-500-for-a-layer", Fault.SERVER_ERROR, "500 Internal", said("server_error"))
_spoils("22-401-for-a-layer", Fault.UNAUTHORIZED, "401 Unauthorized", A)
_spoils("22-502-for-a-layer", Fault.BAD_GATEWAY, "502 Bad Gateway", said("server_error"))
_spoils("22b-404-of-the-storage-behind", Fault.STORAGE_NOT_FOUND, "from remote: not found", M)
_spoils("22b-503-of-the-storage-behind", Fault.STORAGE_DOWN, "503", said("server_error"))
_spoils("22c-layers-in-a-storage-behind", Fault.REDIRECT, "", P)
_spoils("23-connection-closed-in-a-layer", Fault.CUT_BODY, "unexpected EOF", said("cut_off"))
_spoils("23b-connection-reset-in-a-layer", Fault.ABORT_BODY, "reset by peer", said("cut_off"))


@row(
    "24-html-for-everything",
    said("strange_answer"),
    words='failed commit on ref "unknown-',
)
async def _(bench: Bench) -> Case:
    one = await bench.lab()
    digest = one.push("app", "1", bench.program("html"))
    one.fault(Fault.HTML)
    return Case(named(one.host, "app", digest))


_spoils("24b-html-for-a-layer", Fault.BLOB_HTML, "unexpected EOF", said("cut_off"))


@row("25-name-is-no-reference", said("invalid_name"), words="couldn't parse image reference")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    digest = await one.push("app", "1", images.image("there"))
    return Case(named(one.host, "Not/A/Name", digest))
