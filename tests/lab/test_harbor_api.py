"""What api.md says of Harbor's API and no recording shows: paging, q, roles, sessions, switches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from yarl import URL

from syncwatch.harbor import wire
from syncwatch.lab import images

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from syncwatch.lab.harbor import LabHarbor
    from syncwatch.lab.registry import LabRegistry

WEB = images.image("web")


class Api:
    """Asks a lab Harbor; the administrator's questions unless told otherwise."""

    def __init__(self, harbor: LabHarbor, session: aiohttp.ClientSession) -> None:
        self._harbor = harbor
        self._session = session
        self.headers: Any = {}
        self.body: Any = None
        self.who: tuple[str, str] | None = (harbor.username, harbor.password)

    async def __call__(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and body, parsed where it is JSON."""
        base = "" if path.startswith(("/v2", "/service", "/api")) else "/api/v2.0"
        sent = dict(headers)
        if self.who:
            sent["Authorization"] = aiohttp.encode_basic_auth(*self.who)
        url = URL(self._harbor.url + base + path, encoded=True)
        async with self._session.request(method, url, json=body, headers=sent) as answer:
            self.headers = answer.headers
            json_told = "json" in answer.headers.get("Content-Type", "")
            self.body = await (answer.json(content_type=None) if json_told else answer.text())
            return answer.status, self.body

    async def names(self, path: str, key: str = "name") -> list[Any]:
        status, rows = await self("GET", path)
        assert status == 200, rows
        return [row[key] for row in rows]

    def error(self) -> tuple[str, str]:
        only = self.body["errors"][0]
        return only["code"], only["message"]


@pytest_asyncio.fixture
async def api(harbor: LabHarbor) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Api(harbor, session)


async def test_lists_are_paged_counted_and_linked(harbor: LabHarbor, api: Api) -> None:
    for number in range(25):
        harbor.push("apps/web", f"{number:02}", images.image(f"{number}"))
    path = "/projects/apps/repositories/web/artifacts"
    assert len(await api.names(f"{path}?page=3&page_size=10", "id")) == 5
    assert api.headers["X-Total-Count"] == "25"
    assert api.headers["Link"] == f'</api/v2.0{path}?page=2&page_size=10>; rel="prev"'
    assert len(await api.names(path, "id")) == 10
    assert len(await api.names(f"{path}?page_size=0", "id")) == 25
    assert "Link" not in api.headers
    assert (await api("GET", f"{path}?page_size=101"))[0] == 422
    assert (await api("GET", f"{path}?page=x"))[0] == 422


async def test_lists_are_sorted_by_known_keys_only(harbor: LabHarbor, api: Api) -> None:
    for number in range(3):
        harbor.push("apps/web", f"{number}", images.image(f"{number}"))
    path = "/projects/apps/repositories/web/artifacts"
    assert await api.names(f"{path}?sort=id", "id") == [1, 2, 3]
    assert await api.names(f"{path}?sort=-id", "id") == [3, 2, 1]
    assert await api.names(f"{path}?sort=nonsense", "id") == [3, 2, 1]


async def test_artifacts_are_found_by_q(harbor: LabHarbor, api: Api) -> None:
    harbor.push("apps/web", "1.0", images.platforms("two platforms"))
    harbor.push("apps/web", "", images.image("nameless"))
    harbor.push("apps/web", "1.0-rc1", WEB)
    path = "/projects/apps/repositories/web/artifacts?page_size=0"
    digest = WEB.digest
    assert len(await api.names(path, "id")) == 3
    assert len(await api.names(f"{path}&q=base=*", "id")) == 5
    assert len(await api.names(f"{path}&q=tags=*", "id")) == 2
    assert len(await api.names(f"{path}&q=tags=nil", "id")) == 1
    assert await api.names(f"{path}&q=tags=~rc", "digest") == [digest]
    assert await api.names(f"{path}&q=tags=1.0-rc1", "digest") == [digest]
    assert await api.names(f"{path}&q=digest={digest}", "digest") == [digest]
    assert len(await api.names(f"{path}&q=nonsense=1", "id")) == 3
    assert len(await api.names(f"{path}&q=push_time=[2020-01-01T00:00:00~]", "id")) == 3
    assert await api.names(f"{path}&q=push_time=[~2020-01-01T00:00:00]", "id") == []
    assert (await api("GET", f"{path}&q=push_time=[1~2~3]"))[0] == 400
    assert (await api("GET", f"{path}&q=tags=[a~b]"))[0] == 400
    assert (await api("GET", f"{path}&q=base=x"))[0] == 400


async def test_labels_show_when_asked_for_and_filter_by_id(harbor: LabHarbor, api: Api) -> None:
    harbor.push("apps/web", "1.0", WEB)
    assert (await api("POST", "/labels", {"name": "prod", "scope": "g"}))[0] == 201
    path = "/projects/apps/repositories/web/artifacts"
    assert (await api("POST", f"{path}/1.0/labels", {"id": 1}))[0] == 200
    assert await api.names(path, "labels") == [None]
    assert (await api.names(f"{path}?with_label=true&q=labels=(1)", "labels"))[0][0]["id"] == 1
    assert await api.names(f"{path}?q=labels=(1%202)", "id") == []
    assert await api.names("/labels?scope=g") == ["prod"]


async def test_a_slash_in_a_repository_is_encoded_twice(harbor: LabHarbor, api: Api) -> None:
    harbor.push("apps/team/web", "1.0", WEB)
    assert (await api("GET", "/projects/apps/repositories/team%252Fweb/artifacts/1.0"))[0] == 200
    assert (await api("GET", "/projects/apps/repositories/team%2Fweb/artifacts/1.0"))[0] == 404


async def test_a_project_of_digits_needs_the_header(harbor: LabHarbor, api: Api) -> None:
    harbor.create_project("123")
    assert (await api("GET", "/projects/123"))[0] == 404
    status, found = await api("GET", "/projects/123", **{"X-Is-Resource-Name": "true"})
    assert (status, found["name"]) == (200, "123")
    assert (await api("GET", f"/projects/{found['project_id']}"))[0] == 200


async def test_projects_are_made_found_and_deleted_when_empty(api: Api) -> None:
    made = {"project_name": "apps", "metadata": {"public": "true"}}
    assert (await api("POST", "/projects", made))[0] == 201
    assert api.headers["Location"] == "/api/v2.0/projects/2"
    assert (await api("POST", "/projects", made))[0] == 409
    assert (await api("HEAD", "/projects?project_name=apps"))[0] == 200
    assert (await api("HEAD", "/projects?project_name=nope"))[0] == 404
    assert (await api("DELETE", "/projects/apps"))[0] == 200
    assert (await api("GET", "/projects/apps"))[0] == 404


async def test_a_session_cookie_makes_writing_ask_for_csrf(harbor: LabHarbor) -> None:
    # aiohttp's jar keeps no cookies of bare IP addresses unless told to, as careless clients do.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        api = Api(harbor, session)
        assert (await api("POST", "/projects", {"project_name": "first"}))[0] == 201
        assert (await api("GET", "/projects"))[0] == 200
        assert (await api("POST", "/projects", {"project_name": "second"}))[0] == 403
        assert api.error() == ("FORBIDDEN", "CSRF token not found in request")


async def test_a_robot_may_what_it_was_granted_and_no_more(harbor: LabHarbor, api: Api) -> None:
    harbor.push("apps/web", "1.0", WEB)
    api.who = harbor.create_robot("reader")
    artifact = "/projects/apps/repositories/web/artifacts/1.0"
    assert (await api("GET", artifact))[0] == 200
    assert (await api("DELETE", artifact))[0] == 403
    assert (await api("POST", "/projects", {"project_name": "x"}))[0] == 403
    assert (await api("POST", "/replication/executions", {"policy_id": 1}))[0] == 403
    assert api.error() == ("FORBIDDEN", "robot$reader")
    # What does not exist is no different from what it may not see.
    assert (await api("GET", "/projects/nope/repositories/web/artifacts/1.0"))[0] == 403
    assert (await api("HEAD", "/v2/nope/web/manifests/1.0"))[0] == 401
    assert (await api("HEAD", "/v2/apps/web/manifests/1.0"))[0] == 200


async def test_a_robot_of_one_project_sees_that_and_public_ones(
    harbor: LabHarbor, api: Api
) -> None:
    for project in ("apps", "tools"):
        harbor.push(f"{project}/web", "1.0", WEB)
    access = [{"resource": "repository", "action": "list"}]
    only = {"kind": "project", "namespace": "apps", "access": access}
    api.who = harbor.create_robot("apps", [only])
    assert await api.names("/projects") == ["apps", "library"]
    assert await api.names("/repositories") == ["apps/web"]
    assert (await api("GET", "/projects/tools/repositories"))[0] == 403


async def test_unknown_permissions_are_refused_since_2_10(harbor: LabHarbor, api: Api) -> None:
    access = [{"resource": "replication", "action": "update"}]
    body = {"name": "x", "permissions": [{"kind": "system", "namespace": "/", "access": access}]}
    assert (await api("POST", "/robots", body))[0] == 400
    harbor.version = "v2.9.1-abcdef12"
    assert (await api("POST", "/robots", body))[0] == 201


async def test_wrong_credentials_see_less_and_fail_where_some_are_needed(
    harbor: LabHarbor, api: Api
) -> None:
    harbor.create_project("apps")
    api.who = ("admin", "wrong")
    assert await api.names("/projects") == ["library"]
    assert (await api("GET", "/users/current/permissions"))[0] == 401
    assert "harbor_version" not in (await api("GET", "/systeminfo"))[1]
    assert (await api("GET", "/projects/apps/webhook/policies"))[0] == 401
    assert (await api("GET", "/projects/library/repositories"))[0] == 200


async def test_v2_refuses_in_harbors_way(harbor: LabHarbor, api: Api) -> None:
    harbor.push("apps/web", "1.0", WEB)
    harbor.push("library/web", "1.0", WEB)
    api.who = None
    assert (await api("GET", "/v2/"))[0] == 401
    realm = f'Bearer realm="{harbor.url}/service/token",service="harbor-registry"'
    assert api.headers["Www-Authenticate"] == realm
    # Even of a public project, unless a token is brought, which nobody gets too.
    assert (await api("HEAD", "/v2/library/web/manifests/1.0"))[0] == 401
    scope = "repository:library/web:pull"
    assert api.headers["Www-Authenticate"] == f'{realm},scope="{scope}"'
    _, told = await api("GET", f"/service/token?service=harbor-registry&scope={scope}")
    bearer = {"Authorization": f"Bearer {told['token']}"}
    assert (await api("HEAD", "/v2/library/web/manifests/1.0", **bearer))[0] == 200
    assert (await api("HEAD", "/v2/apps/web/manifests/1.0", **bearer))[0] == 401
    assert api.headers["Www-Authenticate"] == 'Basic realm="harbor"'
    assert (await api("GET", "/service/token?service=harbor-registry"))[0] == 401


async def test_a_get_counts_as_a_pull_unless_harbor_itself_asks(
    harbor: LabHarbor, api: Api
) -> None:
    harbor.push("apps/web", "1.0", WEB)
    path = "/v2/apps/web/manifests/1.0"
    await api("HEAD", path)
    await api("GET", path, **{"User-Agent": "harbor-registry-client"})
    await api("GET", path, **{"If-None-Match": f'"{WEB.digest}"'})
    assert await api.names("/repositories", "pull_count") == [0]
    await api("GET", path, **{"User-Agent": "containerd"})
    assert await api.names("/repositories", "pull_count") == [1]


async def test_tags_come_and_go_by_the_api(harbor: LabHarbor, api: Api) -> None:
    harbor.push("apps/web", "1.0", WEB)
    path = "/projects/apps/repositories/web/artifacts/1.0/tags"
    assert (await api("POST", path, {"name": "stable"}))[0] == 201
    assert (await api("POST", path, {"name": "stable"}))[0] == 409
    assert await api.names(f"{path}?sort=name") == ["1.0", "stable"]
    assert (await api("DELETE", f"{path}/stable"))[0] == 200
    assert (await api("DELETE", f"{path}/stable"))[0] == 404
    assert (await api("DELETE", "/v2/apps/web/manifests/1.0"))[0] == 400
    assert (await api("DELETE", "/projects/apps/repositories/web/artifacts/1.0"))[0] == 200
    assert (await api("GET", "/v2/apps/web/manifests/1.0"))[0] == 404


async def test_deleting_a_subject_deletes_what_is_attached(harbor: LabHarbor, api: Api) -> None:
    harbor.push("apps/web", "1.0", WEB)
    harbor.push("apps/web", images.signature_tag(WEB), images.signature(WEB))
    path = "/projects/apps/repositories/web/artifacts"
    assert await api.names(f"{path}/1.0/accessories", "type") == ["signature.cosign"]
    assert len(await api.names(f"{path}?q=base=*", "id")) == 1
    await api("DELETE", f"{path}/1.0")
    assert harbor.artifacts.in_repository(harbor.world.repositories[1]) == []


async def test_endpoints_are_pinged_when_made_and_when_changed(
    harbor: LabHarbor, api: Api, registry: LabRegistry
) -> None:
    credential = {"type": "basic", "access_key": "u", "access_secret": "p"}
    body = {"name": "c1", "type": "docker-registry", "url": registry.url, "credential": credential}
    registry.users = {"u": "p"}
    assert (await api("POST", "/registries", body))[0] == 201
    assert (await api("POST", "/registries/ping", {"id": 1}))[0] == 200
    assert (await api("POST", "/registries/ping", {"id": 1, "access_secret": "x"}))[0] == 400
    assert (await api("PUT", "/registries/1", {"access_secret": "x"}))[0] == 400
    assert (await api("PUT", "/registries/1", {"name": "one", "insecure": True}))[0] == 200
    assert await api.names("/registries?name=on") == ["one"]
    await registry.stop()
    assert (await api("POST", "/registries", {**body, "name": "c2"}))[0] == 400
    assert api.error() == ("BAD_REQUEST", "the registry is unhealthy")
    policy = harbor.create_policy("p", "one")
    assert (await api("DELETE", "/registries/1"))[0] == 412
    assert (await api("DELETE", f"/replication/policies/{policy}"))[0] == 200
    assert (await api("DELETE", "/registries/1"))[0] == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"dest_registry": {"id": 0}}, 400),
        ({"src_registry": {"id": 1}}, 400),
        ({"dest_registry": {"id": 9}}, 404),
        ({"trigger": {"type": "sometimes"}}, 400),
        ({"trigger": {"type": "scheduled", "trigger_settings": {"cron": "* * * * * *"}}}, 400),
        ({"trigger": {"type": "scheduled", "trigger_settings": {"cron": "0 * * * * *"}}}, 400),
        ({"trigger": {"type": "scheduled", "trigger_settings": {"cron": "0 5 * * * *"}}}, 201),
        ({"filters": [{"type": "resource", "value": ""}]}, 400),
        ({"filters": [{"type": "label", "value": "prod"}]}, 400),
        ({"filters": [{"type": "name", "value": "a/**", "decoration": "excludes"}]}, 400),
        ({"filters": [{"type": "name", "value": "a/["}]}, 201),
        ({"trigger": {"type": "event_based"}, "single_active_replication": True}, 500),
    ],
)
async def test_policies_are_refused_as_harbor_refuses_them(
    harbor: LabHarbor, api: Api, registry: LabRegistry, change: dict[str, Any], status: int
) -> None:
    harbor.create_registry("c1", registry.url)
    body = {"name": "p", "dest_registry": {"id": 1}, "trigger": {"type": "manual"}, **change}
    assert (await api("POST", "/replication/policies", body))[0] == status


async def test_only_deletion_is_read_never_replicate_deletion(
    harbor: LabHarbor, api: Api, registry: LabRegistry
) -> None:
    harbor.create_registry("c1", registry.url)
    body = {"name": "p", "dest_registry": {"id": 1}, "replicate_deletion": True, "enabled": True}
    await api("POST", "/replication/policies", body)
    assert "deletion" not in (await api("GET", "/replication/policies/1"))[1]
    await api("PUT", "/replication/policies/1", {**body, "deletion": True})
    assert (await api("GET", "/replication/policies/1"))[1]["replicate_deletion"] is True
    assert (await api("POST", "/replication/policies", body))[0] == 409


async def test_webhook_policies_are_kept_per_project(harbor: LabHarbor, api: Api) -> None:
    harbor.create_project("apps")
    target = {"type": "http", "address": "http://127.0.0.1:1/hook", "auth_header": "Bearer x"}
    body = {"name": "w", "targets": [target], "event_types": ["PUSH_ARTIFACT"], "enabled": True}
    path = "/projects/apps/webhook/policies"
    assert (await api("POST", path, body))[0] == 201
    assert (await api("POST", path, body))[0] == 409
    assert (await api("POST", path, {**body, "name": "x", "targets": []}))[0] == 400
    assert (await api("POST", path, {**body, "name": "x", "event_types": ["NONE"]}))[0] == 400
    assert (await api("PUT", f"{path}/1", {**body, "enabled": False}))[0] == 200
    shown = (await api("GET", f"{path}/1"))[1]
    assert (shown["enabled"], shown["targets"][0]["auth_header"]) == (False, "Bearer x")
    assert (await api("GET", "/projects/library/webhook/policies/1"))[0] == 404
    assert (await api("GET", "/projects/nope/webhook/policies"))[0] == 404
    assert (await api("DELETE", f"{path}/1"))[0] == 200


async def test_older_versions_offer_less(harbor: LabHarbor, api: Api) -> None:
    harbor.push("apps/web", "1.0", WEB)
    assert (await api("GET", "/projects/apps/artifacts"))[0] == 200
    assert (await api("GET", "/auditlog-exts"))[0] == 200
    harbor.version = "v2.10.3-abcdef12"
    assert (await api("GET", "/projects/apps/artifacts"))[0] == 404
    assert (await api("GET", "/auditlog-exts"))[0] == 404
    shown = (await api("GET", "/projects/apps/repositories/web/artifacts/1.0"))[1]
    assert "artifact_type" not in shown
    before = (await api("GET", "/projects/apps/repositories/web"))[1]["update_time"]
    harbor.tag("apps/web", "1.0", "stable")
    assert (await api("GET", "/projects/apps/repositories/web"))[1]["update_time"] == before


async def test_anybody_may_ask_for_version_health_and_ping(api: Api) -> None:
    api.who = None
    assert await api("GET", "/api/version") == (200, {"version": "v2.0"})
    assert await api("GET", "/ping") == (200, "Pong")
    assert (await api("GET", "/health"))[1]["status"] == "healthy"
    assert (await api("GET", "/nonsense"))[0] == 404


async def test_it_can_be_slow_broken_or_behind_a_proxy_page(harbor: LabHarbor, api: Api) -> None:
    harbor.switches.broken = True
    assert (await api("GET", "/projects"))[0] == 500
    assert api.error() == ("UNKNOWN", "internal server error")
    harbor.switches.broken = False
    harbor.switches.html = True
    assert (await api("GET", "/projects"))[0] == 200
    assert api.headers["Content-Type"].startswith("text/html")
    harbor.switches.html = False
    harbor.switches.read_only = True
    assert (await api("POST", "/projects", {"project_name": "x"}))[0] == 403
    assert (await api("GET", "/systeminfo"))[1]["read_only"] is True


async def test_its_clock_may_be_wrong(harbor: LabHarbor, api: Api) -> None:
    harbor.switches.clock_skew = -86400 * 400
    told = (await api("GET", "/systeminfo"))[1]["current_time"]
    harbor.push("apps/web", "1.0", WEB)
    pushed = (await api("GET", "/projects/apps/repositories/web/artifacts/1.0"))[1]["push_time"]
    assert told[:10] == pushed[:10]
    harbor.switches.clock_skew = 0
    assert (await api("GET", "/systeminfo"))[1]["current_time"][:10] > told[:10]


async def test_it_goes_down_and_comes_back_on_the_same_port(harbor: LabHarbor, api: Api) -> None:
    where = harbor.url
    await harbor.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await api("GET", "/ping")
    await harbor.start()
    assert harbor.url == where
    assert (await api("GET", "/ping"))[0] == 200


async def test_the_daemons_own_client_of_wire_formats_reads_it(
    harbor: LabHarbor, registry: LabRegistry, api: Api
) -> None:
    harbor.create_registry("c1", registry.url)
    harbor.create_policy("p", "c1", pattern="apps/**", trigger="scheduled", cron="0 0 3 * * *")
    _, rows = await api("GET", "/replication/policies")
    assert rows[0]["trigger"]["trigger_settings"] == {"cron": "0 0 3 * * *"}
    (policy,) = wire.read_list(wire.Policy, msgspec.json.encode(rows))
    assert policy.id == 1
