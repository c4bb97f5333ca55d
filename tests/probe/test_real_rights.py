"""On a real Kubernetes: the Role that deploy/ gives is enough for a whole probe, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import TYPE_CHECKING, Any

import pytest
from real_cluster import (
    MARKS,
    NAMESPACE,
    nothing_left,
    path_of,
    program,
    registry,
    rights,
    watching,
)
from running import until
from servers.kubernetes.cluster import NOBODY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from servers.kubernetes.cluster import Kubernetes

pytestmark = MARKS

REVIEWS = "/apis/authorization.k8s.io/v1"
NODES = ("list", "nodes")


def role(file: str) -> dict[str, Any]:
    """The Role or ClusterRole of a file."""
    (found,) = [one for one in rights(file) if one["kind"] in ("Role", "ClusterRole")]
    return found


def given(document: dict[str, Any]) -> set[tuple[str, str]]:
    """The verbs and resources of a Role; nothing else may be in its rules."""
    found = set()
    for rule in document["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        assert rule["apiGroups"] == [""]
        found |= {(verb, what) for verb in rule["verbs"] for what in rule["resources"]}
    return found


EVERY = sorted(given(role("role.yaml")) | given(role("nodes.yaml")))


async def may(cluster: Kubernetes, verb: str, what: str, **where: str) -> bool:
    """Whether the user `syncwatch` may, as the API server itself says."""
    resource, _, sub = what.partition("/")
    resource, _, group = resource.partition(".")
    asked = {"verb": verb, "resource": resource, "subresource": sub, "group": group, **where}
    status, told = await asyncio.to_thread(
        cluster.request,
        "POST",
        f"{REVIEWS}/selfsubjectaccessreviews",
        {"spec": {"resourceAttributes": asked}},
        token=NOBODY,
    )
    assert status == 201, told
    return bool(told["status"]["allowed"])


@contextlib.asynccontextmanager
async def only(
    cluster: Kubernetes, file: str, left: Iterable[tuple[str, str]]
) -> AsyncIterator[None]:
    """While this lasts the rights of a file are only these."""
    whole = role(file)
    cut = copy.deepcopy(whole)
    cut["rules"] = [
        {"apiGroups": [""], "resources": [what], "verbs": [verb]} for verb, what in left
    ]
    try:
        await put(cluster, cut)
        yield
    finally:
        await put(cluster, whole)


async def put(cluster: Kubernetes, document: dict[str, Any]) -> None:
    """Have a Role say this, and wait until the API server goes by it."""
    path = f"{path_of(document)}/{document['metadata']['name']}"
    status, told = await asyncio.to_thread(cluster.request, "PUT", path, document)
    assert status == 200, told
    wanted = given(document)

    async def heard() -> bool:
        for verb, what in EVERY:
            is_nodes = what == "nodes"
            if is_nodes == (document["kind"] == "ClusterRole"):
                where = {} if is_nodes else {"namespace": NAMESPACE}
                if await may(cluster, verb, what, **where) != ((verb, what) in wanted):
                    return False
        return True

    await until(heard, 15, "the API server's hearing of the rights")


async def asked_since(cluster: Kubernetes, seen: int) -> set[tuple[str, str, bool]]:
    """(verb, resource, whether it was refused) of all that syncwatch asked since."""
    told = (await asyncio.to_thread(cluster.asked))[seen:]
    return {
        (one.verb, one.what, one.code == 403)
        for one in told
        if not one.what.startswith("selfsubject")
    }


async def test_the_role_is_what_a_whole_probe_asks_for_and_nothing_else(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with only(cluster, "nodes.yaml", ()), registry(tmp_path, cluster) as one:
        seen = len(await asyncio.to_thread(cluster.asked))
        async with watching(tmp_path, cluster, one) as (harbor, watched):
            digest = harbor.push("apps/web", "1.0", program(cluster, "with exactly the role"))
            row = await watched.row(reference="1.0", state="verified", within=60)
            assert (row["digest"], row["level"]) == (digest, "pulled")
            await nothing_left(cluster)

        # The API server records a watch when it ends.
        wanted = {(verb, what, False) for verb, what in given(role("role.yaml"))}

        async def all_asked() -> bool:
            return len(await asked_since(cluster, seen)) >= len(wanted)

        await until(all_asked, 15, "the use of each right")
        assert await asked_since(cluster, seen) == wanted


async def test_nodes_are_listed_only_with_all_architectures(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    async with registry(tmp_path, cluster) as one:
        seen = len(await asyncio.to_thread(cluster.asked))
        async with watching(tmp_path, cluster, one, architectures=["all"]) as (harbor, watched):
            harbor.push("apps/web", "1.0", program(cluster, "with all architectures"))
            await watched.row(reference="1.0", state="verified", within=60)
            await nothing_left(cluster)
        assert (*NODES, False) in await asked_since(cluster, seen)


@pytest.mark.parametrize(("verb", "what"), EVERY, ids=["-".join(one) for one in EVERY])
async def test_without_this_right_no_probe_ends_and_a_finding_names_it(
    cluster: Kubernetes, tmp_path: Path, verb: str, what: str
) -> None:
    file = "nodes.yaml" if (verb, what) == NODES else "role.yaml"
    how = {"architectures": ["all"]} if (verb, what) == NODES else {}
    rest = given(role(file)) - {(verb, what)}
    words = f'cannot {verb} resource "{what}"'
    async with contextlib.AsyncExitStack() as ending:
        one = await ending.enter_async_context(registry(tmp_path, cluster))
        async with only(cluster, file, rest):
            seen = len(await asyncio.to_thread(cluster.asked))
            story = watching(tmp_path, cluster, one, **how)
            harbor, watched = await ending.enter_async_context(story)
            harbor.push("apps/web", "1.0", program(cluster, f"without {verb} {what}"))

            async def found() -> str:
                told = [x for x in await watched.findings() if x["finding"] == "cluster_forbidden"]
                return "".join(each["message"] for each in told if words in each["message"])

            await until(found, 30, words)
            (row,) = await watched.expectations()
            assert row["state"] != "failed", "it is no fault of the image"
            await breaks(cluster, verb, what, row["pulled_at"])
            refused = {each[:2] for each in await asked_since(cluster, seen) if each[2]}
            assert refused == {(verb, what)}

        # With the right again it goes on by itself, and nothing is left. What no pod was made for
        # is tried again a minute later.
        if (verb, what) not in (("create", "pods"), NODES):
            await watched.row(reference="1.0", state="verified", within=90)
        await nothing_left(cluster, within=90)


async def breaks(cluster: Kubernetes, verb: str, what: str, pulled_at: str | None) -> None:
    """What is not as it should be without a right."""
    pods = await asyncio.to_thread(cluster.pods, NAMESPACE)
    if (verb, what) == ("delete", "pods"):
        assert pods, "the pod is left"
    elif (verb, what) in (("create", "pods"), ("list", "pods"), ("watch", "pods"), NODES):
        assert pods == []
        assert pulled_at is None
    elif (verb, what) == ("list", "events"):
        assert pods
        assert pulled_at is None
    else:
        # It is pulled, and that its pod is gone cannot be known.
        assert (verb, what) == ("get", "pods")


FORBIDDEN = [
    *(("get", one) for one in ("secrets", "configmaps", "pods/log", "events", "services")),
    *(
        ("list", one)
        for one in ("secrets", "configmaps", "serviceaccounts", "roles.rbac.authorization.k8s.io")
    ),
    *(("create", one) for one in ("pods/exec", "pods/attach", "pods/portforward", "pods/eviction")),
    *(
        ("create", one)
        for one in ("secrets", "events", "serviceaccounts/token", "deployments.apps")
    ),
    *(("create", "rolebindings.rbac.authorization.k8s.io"), ("watch", "events")),
    *((one, "pods") for one in ("update", "patch", "deletecollection")),
    *(("update", "pods/status"), ("patch", "pods/ephemeralcontainers")),
]


@pytest.mark.parametrize(("verb", "what"), FORBIDDEN, ids=["-".join(one) for one in FORBIDDEN])
async def test_in_the_namespace_of_probes_it_may_not(
    cluster: Kubernetes, verb: str, what: str
) -> None:
    assert not await may(cluster, verb, what, namespace=NAMESPACE)


@pytest.mark.parametrize("namespace", ["", "default", "kube-system"])
async def test_elsewhere_it_may_nothing(cluster: Kubernetes, namespace: str) -> None:
    where = {"namespace": namespace} if namespace else {}
    for verb, what in given(role("role.yaml")) | {("get", "secrets"), ("create", "pods/exec")}:
        assert not await may(cluster, verb, what, **where), (verb, what)
    inside = f"/namespaces/{namespace}" if namespace else ""
    for what in ("pods", "secrets"):
        path = f"/api/v1{inside}/{what}"
        status, _ = await asyncio.to_thread(cluster.request, "GET", path, token=NOBODY)
        assert status == 403, path


async def test_the_api_server_tells_of_no_other_rights(cluster: Kubernetes) -> None:
    async with only(cluster, "nodes.yaml", ()):
        _, told = await asyncio.to_thread(
            cluster.request,
            "POST",
            f"{REVIEWS}/selfsubjectrulesreviews",
            {"spec": {"namespace": NAMESPACE}},
            token=NOBODY,
        )
        rules = [
            one
            for one in told["status"]["resourceRules"]
            # What every user may: ask what he may.
            if one["apiGroups"] != ["authorization.k8s.io"]
        ]
        assert not told["status"]["incomplete"]
        assert given({"rules": rules}) == given(role("role.yaml"))
