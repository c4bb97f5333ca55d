"""Rows 01 to 12: what a registry has, lacks or spoils, and whom it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from real_bench import A, Bench, C, Case, M, N, P, row, said
from real_cluster import named
from servers import free_port
from servers.docker_registry import PASSWORD, USER

from syncwatch.lab import images
from syncwatch.lab.registry import Fault, LabRegistry

if TYPE_CHECKING:
    from real_cluster import Told


@row("01-02-good-image", P, often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    return Case(named(one.host, "app", await one.push("app", "1", bench.program("good"))))


@row("02b-program-is-not-in-the-image", P, start=said("not_started"), words="no such file")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("lost", "/nowhere")
    return Case(named(one.host, "app", await one.push("app", "1", image)))


@row("02c-nothing-in-the-image", P, start=said("not_started"), words="no command", often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = images.layered(f"nothing, {bench.mode}")
    return Case(named(one.host, "app", await one.push("app", "1", image)))


async def _held(bench: Bench) -> tuple[LabRegistry, images.Image, str]:
    one = await bench.lab()
    image = bench.program("held")
    reference = named(one.host, "app", one.push("app", "1", image))
    first = await bench.pull(reference)
    assert first.judged.result is P, first.judged
    one.requests.clear()
    return one, image, reference


@row("03a-on-the-node-already", said("held"), words="Successfully pulled", often=True)
async def _(bench: Bench) -> Case:
    one, _, reference = await _held(bench)

    def after(_: Told) -> None:
        assert {each.method for each in one.requests} == {"HEAD"}

    return Case(reference, {"held": True}, after)


@row("03g-on-the-node-and-its-bytes-gone", said("held"), words="Successfully pulled")
async def _(bench: Bench) -> Case:
    one, image, reference = await _held(bench)
    for blob in image.blobs:
        one.lose_blob(images.digest_of(blob))
    return Case(reference, {"held": True})


@row("03h-on-the-node-and-its-manifest-gone", M, words="not found")
async def _(bench: Bench) -> Case:
    one, image, reference = await _held(bench)
    one.lose_manifest("app", image.digest)
    return Case(reference, {"held": True})


@row("03i-bytes-on-the-node-from-another-registry", said("held"), words="Successfully pulled")
async def _(bench: Bench) -> Case:
    _, image, _ = await _held(bench)
    other = await bench.docker()
    digest = await other.push("app", "1", image)
    for blob in image.blobs:
        other.lose_blob(images.digest_of(blob))
    return Case(named(other.host, "app", digest), {"held": True})


@row("04b-repository-missing", M, words="not found")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    digest = await one.push("app", "1", images.image("elsewhere"))
    return Case(named(one.host, "other", digest))


@row("04c-bearer-right-secret-manifest-missing", M, words="not found")
async def _(bench: Bench) -> Case:
    one = await bench.bearer()
    await one.push("app", "1", images.image("there"))
    secrets = await bench.secret(one.host, PASSWORD)
    return Case(named(one.host, "app", "sha256:" + "0" * 64), {"pull_secrets": secrets})


@row("05-digest-missing", M, words="not found", often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    await one.push("app", "1", images.image("there"))
    return Case(named(one.host, "app", "sha256:" + "0" * 64))


@row("06-layer-missing", M, words="from remote: not found", often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("layer lost")
    digest = await one.push("app", "1", image)
    one.lose_blob(image.layer_digests[0])

    def after(told: Told) -> None:
        assert image.layer_digests[0] in told.judged.message

    return Case(named(one.host, "app", digest), after=after)


@row("06b-configuration-missing", M, words="from remote: not found")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("configuration lost")
    digest = await one.push("app", "1", image)
    one.lose_blob(image.config_digest)
    return Case(named(one.host, "app", digest))


def _changed(body: bytes) -> bytes:
    """As many bytes, and one of them another."""
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


@row("07-layer-of-other-bytes", C, words="unexpected commit digest", often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("altered")
    digest = await one.push("app", "1", image)
    one.alter_blob(image.layer_digests[0], _changed(image.blobs[1]))
    return Case(named(one.host, "app", digest))


@row("07b-layer-cut-short", said("cut_off"), words="unexpected EOF")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("cut short")
    digest = await one.push("app", "1", image)
    one.alter_blob(image.layer_digests[0], image.blobs[1][: len(image.blobs[1]) // 2])
    return Case(named(one.host, "app", digest))


@row("07c-configuration-of-other-bytes", C, words="unexpected commit digest")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("configuration altered")
    digest = await one.push("app", "1", image)
    one.alter_blob(image.config_digest, image.blobs[0].replace(b"linux", b"minix"))
    return Case(named(one.host, "app", digest))


@row("07d-manifest-of-other-bytes", C, words="unexpected commit digest")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = bench.program("manifest altered")
    digest = await one.push("app", "1", image)
    one.alter_blob(digest, image.manifest.replace(b'"layers"', b'"lawers"'))
    return Case(named(one.host, "app", digest))


@row("07e-layer-is-no-archive", C, words="invalid tar header")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    image = images.layered("no archive", bytes(range(256)) * 8)
    return Case(named(one.host, "app", await one.push("app", "1", image)))


@row("07f-diff-id-is-wrong", C, words="wrong diff id")
async def _(bench: Bench) -> Case:
    one = await bench.docker()
    # The digest of the packed layer in the place of that of the archive.
    image = images.layered("wrong diff id", images.image("some").blobs[1])
    return Case(named(one.host, "app", await one.push("app", "1", image)))


@row("08-no-secret", A, words="401 Unauthorized", often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker(htpasswd=True)
    return Case(named(one.host, "app", await one.push("app", "1", bench.program("no secret"))))


@row("08b-bearer-no-secret", A, words="pull access denied")
async def _(bench: Bench) -> Case:
    one = await bench.bearer()
    return Case(named(one.host, "app", await one.push("app", "1", bench.program("bearer, none"))))


@row("09-wrong-secret", A, words="401 Unauthorized", often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker(htpasswd=True)
    digest = await one.push("app", "1", bench.program("wrong secret"))
    secrets = await bench.secret(one.host, "something else")
    return Case(named(one.host, "app", digest), {"pull_secrets": secrets})


@row("09b-bearer-wrong-secret-no-token", A, words="failed to fetch oauth token")
async def _(bench: Bench) -> Case:
    one = await bench.lab(users={USER: PASSWORD}, bearer=True)
    digest = one.push("app", "1", bench.program("bearer, wrong"))
    secrets = await bench.secret(one.host, "something else")
    return Case(named(one.host, "app", digest), {"pull_secrets": secrets})


@row("09c-bearer-wrong-secret-useless-token", A, words="pull access denied")
async def _(bench: Bench) -> Case:
    one = await bench.bearer()
    digest = await one.push("app", "1", bench.program("bearer, useless"))
    secrets = await bench.secret(one.host, "something else")
    return Case(named(one.host, "app", digest), {"pull_secrets": secrets})


@row("10-right-secret", P, often=True)
async def _(bench: Bench) -> Case:
    one = await bench.docker(htpasswd=True)
    digest = await one.push("app", "1", bench.program("right secret"))
    secrets = await bench.secret(one.host, PASSWORD)
    return Case(named(one.host, "app", digest), {"pull_secrets": secrets})


@row("10b-secret-of-another-host", A, words="401 Unauthorized")
async def _(bench: Bench) -> Case:
    one = await bench.docker(htpasswd=True)
    digest = await one.push("app", "1", bench.program("another host"))
    secrets = await bench.secret(one.host, PASSWORD, of="registry.test:5000")
    return Case(named(one.host, "app", digest), {"pull_secrets": secrets})


@row("10c-secret-does-not-exist", A, words="401 Unauthorized")
async def _(bench: Bench) -> Case:
    one = await bench.docker(htpasswd=True)
    digest = await one.push("app", "1", bench.program("absent secret"))
    return Case(named(one.host, "app", digest), {"pull_secrets": ("nowhere",)})


@row("10d-bearer-right-secret", P)
async def _(bench: Bench) -> Case:
    one = await bench.bearer()
    digest = await one.push("app", "1", bench.program("bearer, right"))
    secrets = await bench.secret(one.host, PASSWORD)
    return Case(named(one.host, "app", digest), {"pull_secrets": secrets})


@row("11-registry-down", N, words="connection refused")
async def _(bench: Bench) -> Case:
    return Case(named(f"127.0.0.1:{free_port()}", "app", "sha256:" + "1" * 64))


@row("12-registry-hangs", said("hung"), words="said nothing more", often=True)
async def _(bench: Bench) -> Case:
    one = await bench.lab()
    digest = one.push("app", "1", bench.program("hangs"))
    one.fault(Fault.HANG)
    return Case(named(one.host, "app", digest), {"within": 1})


@row("12b-behind-a-pull-that-hangs", said("hung"), words="said nothing more")
async def _(bench: Bench) -> Case:
    hanging, one = await bench.lab(), await bench.docker()
    hanging.fault(Fault.HANG)
    before = await bench.pull(named(hanging.host, "app", "sha256:" + "2" * 64), within=1)
    assert before.said == said("hung")
    digest = await one.push("app", "1", bench.program("behind a hang"))
    return Case(named(one.host, "app", digest), {"within": 1})


@row("12d-registry-hangs-before-a-layer", said("hung"), words="said nothing more")
async def _(bench: Bench) -> Case:
    one = await bench.lab()
    image = bench.program("layer hangs")
    digest = one.push("app", "1", image)
    one.fault(Fault.HANG, reference=image.layer_digests[0])
    return Case(named(one.host, "app", digest), {"within": 1})
