"""Argo CD, Argo Rollouts, Flagger, Kyverno and Flux: each recipe does what its controller would.

None of the controllers runs here. What each does with its object is done as its source has it
(named at each), with the object of docs/recipes and the real daemon's answers.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import jmespath
import jsonpath_ng
from kitchen import HOST, RECIPES, SERVICE, Kitchen, documents, kitchen

from syncwatch.lab.faults import Fault
from syncwatch.manifests import images

if TYPE_CHECKING:
    from pathlib import Path

TAG = "1.4.0"
IMAGE = f"{HOST}/apps/web:{TAG}"


async def pushed(one: Kitchen, tag: str = TAG) -> str:
    """The digest of a push that is expected, and of which nothing is copied."""
    digest = one.scene.push(tag)
    await one.watched.row(reference=tag, state="pending")
    return digest


async def arrived(one: Kitchen, tag: str = TAG) -> None:
    one.scene.harbor.resume_queue()
    await one.watched.row(reference=tag, state="verified")


# Argo CD: a Job with the annotation of a PreSync hook (docs/user-guide/sync-waves.md).


async def presync(one: Kitchen, **variables: str) -> int:
    """The exit code of the hook's container, run as the kubelet does."""
    (job,) = documents("argocd-presync.yml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    told = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    assert told["SYNCWATCH_URL"] == SERVICE
    told |= {"SYNCWATCH_URL": one.url} | variables
    return (await one.run(*container["command"], *container["args"], **told)).code


async def test_the_hook_of_argo_cd_ends_well_once_both_images_are_usable(tmp_path: Path) -> None:
    async with kitchen(tmp_path) as one:
        assert await presync(one) == 1
        await pushed(one)
        one.scene.push(TAG, "migrations", repository="apps/migrations")
        waiting = asyncio.create_task(presync(one))
        await arrived(one)
        assert await waiting == 0


def test_the_hook_of_argo_cd_is_a_job_that_fails_on_a_no_and_tries_again_else() -> None:
    (job,) = documents("argocd-presync.yml")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PreSync"
    # A Job cannot be changed: without its deletion the second sync would fail.
    policy = job["metadata"]["annotations"]["argocd.argoproj.io/hook-delete-policy"]
    assert policy == "BeforeHookCreation"
    # podFailurePolicy is only taken with restartPolicy Never (batch/v1 JobSpec).
    assert pod["restartPolicy"] == "Never"
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [1, 2])
    (container,) = pod["containers"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    minutes = int(re.findall(r"--timeout=(\d+)m", container["args"][-1])[0])
    assert minutes * 60 * (spec["backoffLimit"] + 1) < spec["activeDeadlineSeconds"]


# Flux: a Kustomization that waits for the Job, and one that depends on it.


def test_flux_applies_the_application_after_the_job() -> None:
    gate, application = documents("flux-gate.yml")
    assert application["spec"]["dependsOn"] == [{"name": gate["metadata"]["name"]}]
    assert gate["metadata"]["namespace"] == application["metadata"]["namespace"]
    # `wait` takes the Job's end for the health of all, `force` makes it anew when it changes.
    assert (gate["spec"]["wait"], gate["spec"]["force"]) == (True, True)


# Argo Rollouts: metricproviders/webmetric/webmetric.go (Run, parseResponse) and
# utils/evaluate/evaluate.go (EvaluateResult).


def condition(text: str, result: Any) -> bool:
    """A condition of expr-lang that has only comparisons and ||."""
    assert re.fullmatch(r"result == \d+( \|\| result == \d+)*", text)
    return any(result == int(number) for number in re.findall(r"\d+", text))


async def measure(one: Kitchen, image: str) -> str:
    """One measurement of the recipe's metric, as its phase."""
    template, _ = documents("argo-rollouts.yml")
    (metric,) = template["spec"]["metrics"]
    web = metric["provider"]["web"]
    values = {"image": image, "destination": "cluster1", "token": "the-token"}

    def filled(text: str) -> str:
        return re.sub(r"\{\{\s*args\.(\w+)\s*\}\}", lambda found: values[found[1]], text)

    url = filled(web["url"]).replace(SERVICE, one.url).replace("wait=25s", "wait=1s")
    headers = {entry["key"]: filled(entry["value"]) for entry in web["headers"]}
    async with one.watched.session.get(url, headers=headers) as answer:
        if not 200 <= answer.status < 300:
            return "Error"
        body = await answer.json()
    found = jsonpath_ng.parse(web["jsonPath"].strip("{}")).find(body)
    (result,) = [one.value for one in found]
    if condition(metric["failureCondition"], result):
        return "Failed"
    return "Successful" if condition(metric["successCondition"], result) else "Inconclusive"


async def test_the_analysis_of_argo_rollouts_goes_on_until_the_image_is_usable(
    tmp_path: Path,
) -> None:
    async with kitchen(tmp_path, token="the-token") as one:
        one.watched.session.headers["Authorization"] = "Bearer the-token"
        assert await measure(one, IMAGE) == "Failed"
        await pushed(one)
        assert await measure(one, IMAGE) == "Inconclusive"
        await arrived(one)
        assert await measure(one, IMAGE) == "Successful"

        one.scene.registry.fault(Fault.DIGEST_NOT_FOUND, "apps/bad")
        one.scene.push(TAG, "bad", repository="apps/bad")
        await one.watched.row(source_repository="apps/bad", state="failed")
        assert await measure(one, f"{HOST}/apps/bad:{TAG}") == "Failed"

        one.scene.registry.fault(Fault.FORBIDDEN, "apps/web")
        assert await measure(one, f"{IMAGE}&max_age=0s") == "Inconclusive"


def test_the_analysis_of_argo_rollouts_ends_at_its_first_success_and_before_any_pod() -> None:
    template, rollout = documents("argo-rollouts.yml")
    (metric,) = template["spec"]["metrics"]
    # Without it `count` measurements would all have to be made (analysis.go, assessMetricStatus).
    assert metric["consecutiveSuccessLimit"] == 1
    assert metric["inconclusiveLimit"] >= metric["count"]
    held = int(re.findall(r"wait=(\d+)s", metric["provider"]["web"]["url"])[0])
    assert held + 30 <= metric["provider"]["web"]["timeoutSeconds"]
    # Before the first setWeight the weight is 0 (utils/replicaset/canary.go, GetCurrentSetWeight).
    first = rollout["spec"]["strategy"]["canary"]["steps"][0]["analysis"]
    assert first["templates"] == [{"templateName": template["metadata"]["name"]}]
    given = {arg["name"]: arg["value"] for arg in first["args"]}
    (container,) = rollout["spec"]["template"]["spec"]["containers"]
    assert given == {"image": container["image"], "destination": "cluster1"}
    named = {arg["name"] for arg in template["spec"]["args"] if "valueFrom" not in arg}
    assert named == set(given)


# Flagger: pkg/controller/webhook.go (callWebhook).


async def confirmed(one: Kitchen) -> bool:
    """Whether the recipe's webhook lets the canary be scaled up."""
    (canary,) = documents("flagger.yml")
    (hook,) = canary["spec"]["analysis"]["webhooks"]
    assert hook["type"] == "confirm-rollout"
    url = hook["url"].replace(SERVICE, one.url).replace("wait=20s", "wait=1s")
    payload = {"name": "web", "namespace": "apps", "phase": "Progressing", "checksum": "5c1a"}
    async with one.watched.session.post(url, json=payload) as answer:
        await answer.read()
        return answer.status <= 202


async def test_the_canary_of_flagger_waits_until_its_image_is_usable(tmp_path: Path) -> None:
    async with kitchen(tmp_path) as one:
        assert not await confirmed(one)
        await pushed(one)
        assert not await confirmed(one)
        await arrived(one)
        assert await confirmed(one)


# Kyverno: pkg/engine/apicall (executeServiceCall, Fetch: `default` where it fails), and
# pkg/engine/handlers/validation (validateElements: context, preconditions, deny).


def substituted(text: str, context: dict[str, Any]) -> Any:
    """Variables in `{{ }}`, each an expression of JMESPath; one alone keeps its type."""
    alone = re.fullmatch(r"\{\{([^{}]+)\}\}", text)
    if alone:
        return jmespath.search(alone[1].strip(), context)
    return re.sub(
        r"\{\{([^{}]+)\}\}", lambda found: str(jmespath.search(found[1].strip(), context)), text
    )


async def asked(one: Kitchen, call: dict[str, Any], context: dict[str, Any]) -> Any:
    """What an apiCall brings into the context."""
    assert call["method"] == "GET"
    url = substituted(call["service"]["url"], context).replace(SERVICE, one.url)
    async with one.watched.session.get(url) as answer:
        if not 200 <= answer.status < 300:
            return call["default"]
        return jmespath.search(call["jmesPath"], await answer.json())


async def admitted(one: Kitchen, pod: dict[str, Any]) -> str:
    """ "" where Kyverno admits the Pod, else what it says."""
    (policy,) = documents("kyverno.yml")
    (rule,) = policy["spec"]["rules"]
    (loop,) = rule["validate"]["foreach"]
    request: dict[str, Any] = {"request": {"object": pod}}
    for element in jmespath.search(loop["list"], request):
        context = request | {"element": element}
        (before,) = loop["preconditions"]["all"]
        assert before["operator"] == "Equals"
        prefix = before["value"].removesuffix("*")
        if not str(substituted(before["key"], context)).startswith(prefix):
            continue
        (entry,) = loop["context"]
        context[entry["name"]] = await asked(one, entry["apiCall"], context)
        (deny,) = loop["deny"]["conditions"]["any"]
        assert deny["operator"] == "NotEquals"
        if substituted(deny["key"], context) != deny["value"]:
            return str(substituted(rule["validate"]["message"], context))
    return ""


async def test_kyverno_admits_a_pod_once_all_of_our_images_in_it_are_usable(tmp_path: Path) -> None:
    async with kitchen(tmp_path) as one:
        foreign = {"name": "wait", "image": "docker.io/library/busybox:1.36"}
        pod = {"spec": {"containers": [{"name": "web", "image": IMAGE}]}}
        assert "nothing is known of it" in await admitted(one, pod)
        await pushed(one)
        assert "execution" in await admitted(one, pod)
        await arrived(one)
        assert await admitted(one, pod) == ""
        assert await admitted(one, {"spec": pod["spec"] | {"initContainers": [foreign]}}) == ""
        init = {"initContainers": [{"name": "x", "image": f"{HOST}/apps/web:9"}]}
        assert await admitted(one, {"spec": pod["spec"] | init}) != ""


async def test_kyverno_admits_nothing_where_syncwatch_cannot_be_asked(tmp_path: Path) -> None:
    async with kitchen(tmp_path, token="the-token") as one_with_token:
        one_with_token.watched.session.headers.pop("Authorization", None)
        pod = {"spec": {"containers": [{"name": "web", "image": IMAGE}]}}
        assert await admitted(one_with_token, pod) == "syncwatch could not be asked"


def test_every_image_in_the_recipes_is_found_where_kubernetes_has_it() -> None:
    for name, wanted in [
        ("argocd-presync.yml", [f"{HOST}/tools/syncwatch:0.1.0"]),
        ("argo-rollouts.yml", [IMAGE]),
    ]:
        assert [one.image for one in images((RECIPES / name).read_text())] == wanted
