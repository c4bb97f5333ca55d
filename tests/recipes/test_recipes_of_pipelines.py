"""Shell, curl, CI and Helm: the very lines of docs/recipes, run against the real daemon."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from kitchen import HOST, RECIPES, Kitchen, documents, kitchen

from syncwatch.lab.faults import Fault

if TYPE_CHECKING:
    from pathlib import Path

TAG = "1.4.0"
SCRIPTS = sorted(path.name for path in RECIPES.glob("*.sh"))


def rendered(digest: str = "") -> str:
    """What helm renders: an image of ours, and a foreign one."""
    web = f"{HOST}/apps/web{f'@{digest}' if digest else f':{TAG}'}"
    pod = {"containers": [{"name": "web", "image": web}]}
    pod["initContainers"] = [{"name": "wait", "image": "docker.io/library/busybox:1.36"}]
    kind: dict[str, Any] = {"kind": "Deployment", "metadata": {"name": "web"}}
    return json.dumps(kind | {"spec": {"template": {"spec": pod}}})


async def pending(one: Kitchen) -> None:
    """The push is expected, and nothing of it is copied."""
    await one.watched.row(reference=TAG, state="pending")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_read_by_a_plain_shell_and_may_be_run(name: str) -> None:
    subprocess.run(["sh", "-n", str(RECIPES / name)], check=True, timeout=20)
    assert (RECIPES / name).stat().st_mode & 0o111


async def test_shell_waits_and_then_deploys_the_digest_that_arrived(tmp_path: Path) -> None:
    async with kitchen(tmp_path) as one:
        one.program("kubectl")
        digest = one.scene.push(TAG)
        await pending(one)
        deploying = asyncio.create_task(one.script("wait.sh", f"apps/web:{TAG}", "cluster1"))
        early = await one.script("wait.sh", f"apps/web:{TAG}", "cluster1", TIMEOUT="1s")
        assert (early.code, one.calls("kubectl")) == (3, [])
        one.scene.harbor.resume_queue()
        assert (await deploying).code == 0
        assert one.calls("kubectl") == [f"set image deployment/web web={HOST}/apps/web@{digest}"]


async def test_curl_alone_waits_and_prints_the_digest(tmp_path: Path) -> None:
    async with kitchen(tmp_path) as one:
        digest = one.scene.push(TAG)
        await pending(one)
        image = (f"{HOST}/apps/web:{TAG}", "cluster1")
        late = await one.script("wait-with-curl.sh", *image, "2")
        assert (late.code, late.out) == (3, "")
        assert f"{image[0]}: 409 Harbor's execution" in late.err
        waiting = asyncio.create_task(one.script("wait-with-curl.sh", *image))
        one.scene.harbor.resume_queue()
        ended = await waiting
        assert (ended.code, ended.out, ended.err) == (0, f"{digest}\n", "")


async def test_curl_alone_ends_as_syncwatch_wait_does(tmp_path: Path) -> None:
    async with kitchen(tmp_path, token="the-token") as one:
        one.watched.session.headers["Authorization"] = "Bearer the-token"
        one.scene.harbor.resume_queue()
        one.scene.push(TAG)
        await one.watched.row(reference=TAG, state="verified")
        name, token = "wait-with-curl.sh", {"SYNCWATCH_TOKEN": "the-token"}
        assert (await one.script(name, f"apps/web:{TAG}", "cluster1", **token)).code == 0
        refused = await one.script(name, f"apps/web:{TAG}", "cluster1")
        assert (refused.code, "answers 401" in refused.err) == (4, True)
        absent = await one.script(name, "apps/web:9", "cluster1", **token)
        assert (absent.code, "Harbor has no image apps/web:9" in absent.err) == (1, True)
        assert (await one.script(name, "apps/web:9")).code == 2

        one.scene.registry.fault(Fault.UNAVAILABLE)
        one.scene.push("2.0")
        closed = await one.script(name, "apps/web:2.0", "cluster1", "1", **token)
        assert (closed.code, closed.out) == (4, "")
        nobody = {"SYNCWATCH_URL": "http://127.0.0.1:1"}
        away = await one.script(name, "apps/web:1", "cluster1", "0", **nobody)
        assert (away.code, away.out) == (4, "")


async def github(one: Kitchen, sha: str) -> tuple[int, list[str]]:
    """Run the steps of the workflow as GitHub does: the code, and the names of those that ran."""
    (workflow,) = documents("github-actions.yml")
    values = {"secrets.SYNCWATCH_TOKEN": "", "github.sha": sha}
    output = one.folder / "output"

    def filled(variables: dict[str, str]) -> dict[str, str]:
        return {
            name: re.sub(r"\$\{\{ (\S+) \}\}", lambda found: values[found[1]], text)
            for name, text in variables.items()
        }

    ran = []
    for step in workflow["jobs"]["deploy"]["steps"]:
        variables = filled(workflow["env"] | step.get("env", {})) | {"SYNCWATCH_URL": one.url}
        output.write_text("")
        context = {"GITHUB_REF_NAME": TAG, "GITHUB_OUTPUT": str(output)}
        ended = await one.run("bash", "-e", "-c", step["run"], **variables, **context)
        ran.append(step["name"])
        if ended.code:
            return ended.code, ran
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            values[f"steps.{step['id']}.outputs.{name}"] = value
    return 0, ran


async def test_the_workflow_of_github_deploys_what_arrived(tmp_path: Path) -> None:
    async with kitchen(tmp_path) as one:
        one.program("skopeo")
        one.program("kubectl")
        digest = one.scene.push(TAG)
        await pending(one)
        running = asyncio.create_task(github(one, "c0ffee"))
        one.scene.harbor.resume_queue()
        code, ran = await running
        assert (code, len(ran)) == (0, 3)
        assert one.calls("kubectl") == [f"set image deployment/web web={HOST}/apps/web@{digest}"]
        assert one.calls("skopeo")[0].endswith(f"docker://harbor.example.com/apps/web:{TAG}")


async def test_the_workflow_of_github_stops_where_the_image_never_comes(tmp_path: Path) -> None:
    async with kitchen(tmp_path) as one:
        one.program("skopeo")
        one.program("kubectl")
        code, ran = await github(one, "c0ffee")
        assert (code, ran[-1]) == (1, "Wait until cluster1 can pull it")
        assert one.calls("kubectl") == []


async def gitlab(one: Kitchen) -> int:
    """Run the lines of the job as a runner of GitLab does: in one shell that stops at an error."""
    (pipeline,) = documents("gitlab-ci.yml")
    lines = "\n".join(pipeline["deploy"]["script"])
    variables = pipeline["variables"] | {"SYNCWATCH_URL": one.url, "CI_COMMIT_TAG": TAG}
    ended = await one.run("bash", "-c", f"set -eo pipefail\n{lines}", **variables)
    return ended.code


async def test_the_job_of_gitlab_waits_for_all_of_our_images_of_a_chart(tmp_path: Path) -> None:
    async with kitchen(tmp_path) as one:
        one.program("helm", f"cat <<'END'\n{rendered()}\nEND")
        one.program("kubectl")
        assert (await gitlab(one), one.calls("kubectl")) == (1, [])
        one.scene.push(TAG)
        await pending(one)
        running = asyncio.create_task(gitlab(one))
        one.scene.harbor.resume_queue()
        assert await running == 0
        assert one.calls("kubectl") == ["apply -f rendered.yaml"]
        assert one.calls("helm")[0] == f"template web ./chart --skip-tests --set tag={TAG}"


async def test_the_pipe_of_helm_applies_what_it_waited_for_and_nothing_else(tmp_path: Path) -> None:
    async with kitchen(tmp_path) as one:
        digest = one.scene.push(TAG)
        ours = json.dumps({"containers": [{"image": f"{HOST}/apps/web@{digest}"}]})
        one.program("helm", f"echo '{ours}'")
        one.program("kubectl", 'cp "$3" applied.yaml')
        await pending(one)
        running = asyncio.create_task(one.script("helm-pipe.sh", "--set", "a=b"))
        one.scene.harbor.resume_queue()
        assert (await running).code == 0
        assert json.loads((tmp_path / "applied.yaml").read_text()) == json.loads(ours)

        one.program("helm", "exit 1")
        assert ((await one.script("helm-pipe.sh")).code, len(one.calls("kubectl"))) == (1, 1)


async def test_the_post_renderer_passes_manifests_on_once_their_images_are_usable(
    tmp_path: Path,
) -> None:
    async with kitchen(tmp_path) as one:
        text = f"# as it was\ncontainers:\n- image: {HOST}/apps/web:{TAG}\n"
        script = str(RECIPES / "helm-post-renderer.sh")
        hooks = await one.run("sh", script, text="kind: ServiceAccount\n")
        assert (hooks.code, hooks.out) == (0, "kind: ServiceAccount\n")
        never = await one.run("sh", script, text=text)
        assert (never.code, never.out) == (1, "")
        one.scene.push(TAG)
        await pending(one)
        running = asyncio.create_task(one.run("sh", script, text=text))
        one.scene.harbor.resume_queue()
        ended = await running
        assert (ended.code, ended.out) == (0, text)
