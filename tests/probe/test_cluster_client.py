"""The client of one cluster, over real sockets: what it asks, and what it makes of each fault."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubelets import Recording, recordings
from running import until
from servers.kubernetes_api import TOKEN, KubernetesApi, hangs, node, played

from syncwatch.errors import ClusterError
from syncwatch.model import ProbeMode
from syncwatch.probe.cluster import Cluster
from syncwatch.probe.judging import judge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

NAMESPACE = "probes"
DIGEST = "sha256:" + "a" * 64
NEVER = 10**15


@contextlib.asynccontextmanager
async def asking(
    kubeconfig: Path | None, *, timeout: float = 5.0, context: str | None = None
) -> AsyncIterator[Cluster]:
    cluster = Cluster(
        "east", kubeconfig=kubeconfig, context=context, namespace=NAMESPACE, timeout=timeout
    )
    try:
        yield cluster
    finally:
        await cluster.close()


@contextlib.asynccontextmanager
async def both(
    directory: Path, *, timeout: float = 5.0, **settings: Any
) -> AsyncIterator[tuple[KubernetesApi, Cluster]]:
    """An API, and the client that asks it."""
    async with (
        KubernetesApi(**settings).serving() as api,
        asking(api.kubeconfig(directory / "kubeconfig"), timeout=timeout) as cluster,
    ):
        yield api, cluster


def manifest(name: str, image: str = f"registry.test/apps/web@{DIGEST}") -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/name": "syncwatch-probe",
        "app.kubernetes.io/managed-by": "syncwatch",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "probe", "image": image}]},
    }


async def refused(asked: Awaitable[Any]) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        await asked
    return caught.value


class Seen:
    """What a watch told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.pods: set[str] = set()

    def __call__(self, pod: dict[str, Any], deleted: bool) -> None:
        name = pod["metadata"]["name"]
        self.told.append((name, deleted))
        (self.pods.discard if deleted else self.pods.add)(name)

    async def has(self, *names: str) -> None:
        async def there() -> bool:
            return self.pods == set(names)

        await until(there, told=f"{names} and no other")


@contextlib.asynccontextmanager
async def watching(cluster: Cluster) -> AsyncIterator[Seen]:
    """A watch that is to go on, whatever happens, until it is cancelled."""
    seen = Seen()
    task = asyncio.create_task(cluster.watch(seen))
    try:
        yield seen
        assert not task.done(), "the watch ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def asked_for(api: KubernetesApi, what: str, times: int) -> None:
    async def enough() -> bool:
        return api.asked[what] >= times

    await until(enough, told=f"{what}, {times} times")


class TestPods:
    async def test_a_pod_is_made_found_and_deleted(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            made = await cluster.create(manifest("one"))
            found = await cluster.get("one")
            assert found is not None
            assert made["metadata"]["uid"] == found["metadata"]["uid"]
            assert made["metadata"]["namespace"] == NAMESPACE

            await cluster.delete("one", made["metadata"]["uid"], 0)
            assert api.pods == {}
            assert await cluster.get("one") is None

    async def test_a_pod_that_is_there_already_is_taken_for_ours(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            first = await cluster.create(manifest("one"))
            again = await cluster.create(manifest("one"))

            assert again["metadata"]["uid"] == first["metadata"]["uid"]
            assert len(api.made) == 1

    async def test_deleting_one_that_is_gone_is_no_error(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (_, cluster):
            await cluster.delete("one", "", 0)
            await cluster.delete("one", "some-uid", 5)

    async def test_another_pod_of_that_name_is_not_deleted(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            await cluster.create(manifest("one"))
            await cluster.delete("one", "of-another-life", 0)

            assert set(api.pods) == {"one"}

    async def test_with_grace_it_goes_later(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            made = await cluster.create(manifest("one"))
            await cluster.delete("one", made["metadata"]["uid"], 5)
            going = await cluster.get("one")
            assert going is not None
            assert "deletionTimestamp" in going["metadata"]

            async def gone() -> bool:
                return not api.pods

            await until(gone)

    async def test_only_ours_are_listed_page_by_page(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.page = 2
            names = [f"pod-{number}" for number in range(5)]
            for name in names:
                await cluster.create(manifest(name))
            api.pods["other"] = {"metadata": {"name": "other", "labels": {"app": "other"}}}

            listed = await cluster.pods()
            assert [one["metadata"]["name"] for one in listed] == names
            assert api.asked["list pods"] == 3

    async def test_a_list_that_expires_half_way_begins_anew(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.page, api.faults.list_expires = 2, 1
            for number in range(5):
                await cluster.create(manifest(f"pod-{number}"))

            assert len(await cluster.pods()) == 5

    async def test_a_list_that_always_expires_is_given_up(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.page, api.faults.list_expires = 1, 1000
            for number in range(2):
                await cluster.create(manifest(f"pod-{number}"))

            assert (await refused(cluster.pods())).kind == "server"

    async def test_events_are_those_of_one_life_of_a_pod(self, tmp_path: Path) -> None:
        async with both(tmp_path, script=hangs) as (api, cluster):
            first = (await cluster.create(manifest("one")))["metadata"]["uid"]

            async def pulling() -> bool:
                return len(api.events) == 1

            await until(pulling)
            await cluster.delete("one", first, 0)
            second = (await cluster.create(manifest("one")))["metadata"]["uid"]

            assert [one["reason"] for one in await cluster.events(first)] == ["Pulling"]
            events = await cluster.events(second)
            assert all(one["involvedObject"]["uid"] == second for one in events)

    async def test_nodes_are_read(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            held = f"registry.test/apps/web@{DIGEST}"
            api.nodes = [node("a", "amd64", [held]), node("b", "arm64"), node("c")]
            api.nodes[1]["spec"]["unschedulable"] = True
            api.nodes[2]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]
            first, second, third = await cluster.nodes()

            assert (first.name, first.os, first.architecture) == ("a", "linux", "amd64")
            assert (first.ready, first.schedulable, first.images) == (True, True, (held,))
            assert (second.architecture, second.ready, second.schedulable) == ("arm64", True, False)
            assert third.ready is False


FORBIDDEN = (
    'pods is forbidden: User "system:serviceaccount:syncwatch:syncwatch" cannot create resource '
    '"pods" in API group "" in the namespace "probes"'
)
QUOTA = (
    'pods "one" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, '
    "limited: pods=2"
)
SECURITY = 'pods "one" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
DENIED = 'admission webhook "policy.example.com" denied the request: no unsigned images'
NO_WEBHOOK = (
    'Internal error occurred: failed calling webhook "policy.example.com": '
    "context deadline exceeded"
)


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "words", "kind"),
        [
            pytest.param(401, "Unauthorized", "unauthorized", id="unauthorized"),
            pytest.param(403, FORBIDDEN, "forbidden", id="a-permission-lacks"),
            pytest.param(403, QUOTA, "refused", id="quota"),
            pytest.param(403, SECURITY, "refused", id="pod-security"),
            pytest.param(400, DENIED, "refused", id="a-webhook-denies"),
            pytest.param(500, NO_WEBHOOK, "refused", id="a-webhook-is-away"),
            pytest.param(422, 'Pod "one" is invalid: spec', "refused", id="invalid"),
            pytest.param(404, 'namespaces "probes" not found', "misconfigured", id="no-namespace"),
            pytest.param(429, "Too many requests", "throttled", id="throttled"),
            pytest.param(500, "etcdserver: request timed out", "server", id="etcd"),
            pytest.param(503, "", "server", id="nothing-said"),
        ],
    )
    async def test_a_refusal_is_told_by_its_kind_and_in_the_apis_words(
        self, tmp_path: Path, code: int, words: str, kind: str
    ) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.refuse("create pods", code, words)
            error = await refused(cluster.create(manifest("one")))

        assert error.kind == kind
        assert words in error.message
        assert "east" in error.message
        assert TOKEN not in str(error)

    async def test_without_the_right_to_list_nodes_that_is_said(self, tmp_path: Path) -> None:
        words = 'nodes is forbidden: User "u" cannot list resource "nodes" in API group ""'
        async with both(tmp_path) as (api, cluster):
            api.faults.refuse("list nodes", 403, words)
            error = await refused(cluster.nodes())

        assert error.kind == "forbidden"
        assert 'cannot list resource "nodes"' in error.message

    async def test_who_may_not_even_read_lacks_a_permission_whoever_says_so(
        self, tmp_path: Path
    ) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.refuse("list pods", 403, "blocked by the proxy")
            assert (await refused(cluster.pods())).kind == "forbidden"

    async def test_a_gone_that_is_of_no_list_is_an_error_as_any_other(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.refuse("create pods", 410, "gone")
            assert (await refused(cluster.create(manifest("one")))).kind == "server"

    async def test_a_short_retry_after_is_obeyed(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.refuse("list pods", 429, "Too many", times=1, Retry_After="1")
            began = time.monotonic()

            assert await cluster.pods() == []
            assert time.monotonic() - began >= 1
            assert api.asked["list pods"] == 2

    async def test_a_long_retry_after_is_told_and_not_waited_for(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.refuse("list pods", 429, "Too many", Retry_After="60")
            error = await refused(cluster.pods())

            assert (error.kind, error.retry_after) == ("throttled", 60)
            assert api.asked["list pods"] == 1

    async def test_while_a_long_retry_after_lasts_nothing_is_asked(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.refuse("list pods", 429, "Too many", times=1, Retry_After="60")
            await refused(cluster.pods())
            error = await refused(cluster.create(manifest("one")))

            assert error.kind == "throttled"
            assert (error.retry_after or 0) > 50
            assert api.asked["create pods"] == 0

    async def test_throttled_twice_it_is_told(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.refuse("list pods", 429, "Too many", Retry_After="0.1")

            assert (await refused(cluster.pods())).kind == "throttled"
            assert api.asked["list pods"] == 2

    async def test_what_is_no_json_is_told(self, tmp_path: Path) -> None:
        async with odd_api(tmp_path, b"<html>hello</html>") as cluster:
            error = await refused(cluster.pods())

        assert error.kind == "server"
        assert "no JSON" in error.message

    async def test_an_answer_without_an_end_is_not_kept(self, tmp_path: Path) -> None:
        async with odd_api(tmp_path, b" " * 1024 * 1024, times=64) as cluster:
            error = await refused(cluster.pods())

        assert error.kind == "server"
        assert "more than" in error.message


@contextlib.asynccontextmanager
async def odd_api(directory: Path, body: bytes, *, times: int = 1) -> AsyncIterator[Cluster]:
    """What answers everything with 200 and these bytes, so many times over."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(times):
                await response.write(body)
        return response

    async with serving(answer) as url:
        api = KubernetesApi()
        api.url = url
        async with asking(api.kubeconfig(directory / "kubeconfig")) as cluster:
            yield cluster


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


class TestAway:
    async def test_a_refused_connection_is_unreachable_until_it_is_there_again(
        self, tmp_path: Path
    ) -> None:
        async with both(tmp_path) as (api, cluster):
            await cluster.pods()
            await api.down()
            error = await refused(cluster.pods())
            assert error.kind == "unreachable"
            assert "east" in error.message

            await api.up()
            assert await cluster.pods() == []

    async def test_a_slow_answer_is_waited_for_no_longer_than_the_timeout(
        self, tmp_path: Path
    ) -> None:
        async with both(tmp_path, timeout=0.5) as (api, cluster):
            await cluster.pods()
            api.faults.slow = 30
            began = time.monotonic()
            error = await refused(cluster.create(manifest("one")))

            assert error.kind == "unreachable"
            assert time.monotonic() - began < 5

    async def test_an_unknown_authority_is_unreachable_and_a_known_one_is_not(
        self, tmp_path: Path
    ) -> None:
        authority = trustme.CA()
        async with KubernetesApi(tls=authority).serving() as api:
            async with asking(api.kubeconfig(tmp_path / "stranger", ca=trustme.CA())) as cluster:
                error = await refused(cluster.pods())
                assert error.kind == "unreachable"
                assert "Certificate" in error.message
            async with asking(api.kubeconfig(tmp_path / "known", ca=authority)) as cluster:
                assert await cluster.pods() == []


class TestCredentials:
    async def test_an_expired_token_is_read_anew_and_the_call_repeated(
        self, tmp_path: Path
    ) -> None:
        async with both(tmp_path) as (api, cluster):
            await cluster.pods()
            kubeconfig = tmp_path / "kubeconfig"
            at = kubeconfig.stat()
            api.token = "newer"
            api.kubeconfig(kubeconfig)
            # As a file that was replaced within one tick of the clock.
            os.utime(kubeconfig, ns=(at.st_atime_ns, at.st_mtime_ns))

            assert await cluster.pods() == []
            assert api.asked["list pods"] == 3

    async def test_a_changed_kubeconfig_is_read_before_anybody_complains(
        self, tmp_path: Path
    ) -> None:
        async with both(tmp_path) as (api, cluster):
            await cluster.pods()
            api.token = "newer"
            api.kubeconfig(tmp_path / "kubeconfig")
            os.utime(tmp_path / "kubeconfig", (1, 1))

            assert await cluster.pods() == []
            assert api.asked["list pods"] == 2

    async def test_a_token_that_stays_wrong_is_unauthorized_after_one_more_try(
        self, tmp_path: Path
    ) -> None:
        async with both(tmp_path) as (api, cluster):
            api.token = "newer"
            error = await refused(cluster.pods())

            assert error.kind == "unauthorized"
            assert api.asked["list pods"] == 2
            assert TOKEN not in str(error)

    async def test_many_that_find_it_expired_at_once_all_get_their_answer(
        self, tmp_path: Path
    ) -> None:
        async with both(tmp_path) as (api, cluster):
            await cluster.pods()
            kubeconfig = tmp_path / "kubeconfig"
            at = kubeconfig.stat()
            api.token = "newer"
            api.faults.slow = 0.1
            api.kubeconfig(kubeconfig)
            os.utime(kubeconfig, ns=(at.st_atime_ns, at.st_mtime_ns))

            answers = await asyncio.gather(
                *(cluster.events(f"uid-{number}") for number in range(20)), return_exceptions=True
            )
            assert answers == [[]] * 20

    async def test_a_file_that_is_not_there_is_misconfigured(self, tmp_path: Path) -> None:
        async with asking(tmp_path / "nothing") as cluster:
            error = await refused(cluster.pods())

        assert error.kind == "misconfigured"
        assert str(tmp_path / "nothing") in error.message
        assert error.cure

    async def test_a_file_that_is_none_is_misconfigured_and_not_quoted(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "kubeconfig").write_text(f"token: {TOKEN}\n\tnot: [yaml")
        async with asking(tmp_path / "kubeconfig") as cluster:
            error = await refused(cluster.pods())

        assert error.kind == "misconfigured"
        assert TOKEN not in str(error)

    async def test_a_context_that_is_not_there_is_misconfigured(self, tmp_path: Path) -> None:
        api = KubernetesApi()
        api.url = "http://127.0.0.1:1"
        kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")
        async with asking(kubeconfig, context="west") as cluster:
            error = await refused(cluster.pods())

        assert error.kind == "misconfigured"
        assert "context west" in error.message

    async def test_a_file_that_is_mended_is_used(self, tmp_path: Path) -> None:
        async with (
            KubernetesApi().serving() as api,
            asking(tmp_path / "kubeconfig") as cluster,
        ):
            await refused(cluster.pods())
            api.kubeconfig(tmp_path / "kubeconfig")

            assert await cluster.pods() == []

    @pytest.mark.skipif(
        "KUBERNETES_SERVICE_HOST" in os.environ, reason="this is a pod in a cluster"
    )
    async def test_within_no_cluster_a_kubeconfig_is_asked_for(self) -> None:
        async with asking(None) as cluster:
            error = await refused(cluster.pods())

        assert error.kind == "misconfigured"
        assert "kubeconfig" in error.cure

    async def test_a_program_for_tokens_that_hangs_is_not_waited_for(self, tmp_path: Path) -> None:
        api, ended = KubernetesApi(), tmp_path / "ended"
        api.url = "http://127.0.0.1:1"
        version = "client.authentication.k8s.io/v1"
        args = ["-c", f"sleep 2; touch {ended}"]
        program = {"apiVersion": version, "command": "sh", "args": args}
        kubeconfig = api.kubeconfig(tmp_path / "kubeconfig", program=program)
        async with asking(kubeconfig, timeout=0.3) as cluster:
            error = await refused(cluster.pods())
            waited_for_its_end = ended.exists()

            async def over() -> bool:
                return ended.exists()

            await until(over)
        assert not waited_for_its_end
        assert error.kind == "misconfigured"


class TestWatch:
    async def test_it_tells_what_is_there_what_comes_and_what_goes(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (_, cluster):
            first = await cluster.create(manifest("one"))
            async with watching(cluster) as seen:
                await seen.has("one")
                await cluster.create(manifest("two"))
                await seen.has("one", "two")
                await cluster.delete("one", first["metadata"]["uid"], 0)
                await seen.has("two")
                assert ("one", True) in seen.told

    async def test_it_tells_of_each_change(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster), watching(cluster) as seen:
            await asked_for(api, "watch pods", 1)
            await cluster.create(manifest("one"))

            async def changed() -> bool:
                return seen.told.count(("one", False)) >= 3

            await until(changed)

    async def test_an_expired_version_costs_a_list_and_no_change(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.watch_expires = 2
            async with watching(cluster) as seen:
                await asked_for(api, "watch pods", 3)
                await cluster.create(manifest("one"))
                await seen.has("one")
                assert api.asked["list pods"] == 3

    async def test_a_watch_cut_off_in_a_line_misses_nothing(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster), watching(cluster) as seen:
            await asked_for(api, "watch pods", 1)
            api.faults.watch_breaks = 1
            await cluster.create(manifest("one"))
            await seen.has("one")
            assert api.faults.watch_breaks == 0

    async def test_a_pod_that_went_while_nobody_watched_is_told_as_gone(
        self, tmp_path: Path
    ) -> None:
        async with both(tmp_path) as (api, cluster):
            await cluster.create(manifest("one"))
            await cluster.create(manifest("two"))
            async with watching(cluster) as seen:
                await seen.has("one", "two")
                api.faults.refuse("list pods", 503, "starting")
                await api.down()
                # Not through the API: its history would tell.
                del api.pods["one"]
                await api.up()
                await asked_for(api, "list pods", 2)
                assert seen.pods == {"one", "two"}
                api.faults.status.clear()
                await seen.has("two")

    @pytest.mark.parametrize("code", [401, 403, 404, 429, 500])
    async def test_it_outlives_a_refusal(self, tmp_path: Path, code: int) -> None:
        async with both(tmp_path) as (api, cluster):
            api.faults.refuse("watch pods", code, "not now", times=2)
            async with watching(cluster) as seen:
                await asked_for(api, "watch pods", 3)
                await cluster.create(manifest("one"))
                await seen.has("one")

    async def test_it_outlives_a_credential_that_ends(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster), watching(cluster) as seen:
            await asked_for(api, "watch pods", 1)
            api.token = "newer"
            await api.down()
            await api.up()
            await asked_for(api, "list pods", 3)
            api.kubeconfig(tmp_path / "kubeconfig")
            await cluster.create(manifest("one"))
            await seen.has("one")

    async def test_it_takes_its_time_where_watches_end_at_once(self, tmp_path: Path) -> None:
        asked = 0

        async def answer(request: web.Request) -> web.StreamResponse:
            nonlocal asked
            asked += 1
            if "watch" in request.query:
                return web.Response()
            body = {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": []}
            return web.json_response(body)

        async with serving(answer) as url:
            api = KubernetesApi()
            api.url = url
            async with (
                asking(api.kubeconfig(tmp_path / "kubeconfig")) as cluster,
                watching(cluster),
            ):
                began = time.monotonic()

                async def for_a_while() -> bool:
                    return time.monotonic() - began > 2

                await until(for_a_while)
                assert asked < 20

    async def test_it_ends_when_it_is_told_to(self, tmp_path: Path) -> None:
        async with both(tmp_path) as (api, cluster):
            task = asyncio.create_task(cluster.watch(Seen()))
            await asked_for(api, "watch pods", 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


KINDS = (
    "01-good-digest-impossible-command",
    "05-digest-missing",
    "07-layer-corrupt-same-size",
    "11-registry-down",
    "13-index-without-this-platform",
)


@pytest.mark.parametrize(
    "recording", [one for one in recordings() if one.name in KINDS], ids=lambda one: one.id
)
async def test_what_a_recorded_kubelet_said_comes_through_the_client(
    tmp_path: Path, recording: Recording
) -> None:
    image = f"registry.test/apps/web@{recording.digest}"
    async with both(tmp_path, script=played(recording)) as (_, cluster):
        uid = (await cluster.create(manifest("one", image)))["metadata"]["uid"]

        async def judged() -> Any:
            pod, events = await cluster.get("one"), await cluster.events(uid)
            return judge(
                pod or {},
                events,
                0,
                image=image,
                digest=recording.digest,
                mode=ProbeMode.PULL,
                deadline_at=NEVER,
            )

        said = await until(judged)
        assert said.result is recording.verdict
