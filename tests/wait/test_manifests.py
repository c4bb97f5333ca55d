"""Which images manifests name, where, and what is said of text that names none."""

from __future__ import annotations

import json

import pytest

from syncwatch.errors import MalformedError
from syncwatch.manifests import DEEPEST, LONGEST, images

HOST = "registry.cluster1.internal:5000"
DIGEST = "sha256:" + "ab" * 32

RENDERED = f"""\
---
# Source: web/templates/web.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      initContainers:
        - name: migrate
          image: "{HOST}/apps/web:1.4.0"
      containers:
        - name: web
          image: "{HOST}/apps/web:1.4.0"
        - name: proxy
          image: {HOST}/infra/proxy@{DIGEST}
      volumes:
        - name: models
          image:
            reference: {HOST}/models/small:7
            pullPolicy: IfNotPresent
        - name: plain
          emptyDir: {{}}
---
apiVersion: v1
kind: List
items:
  - apiVersion: batch/v1
    kind: CronJob
    metadata: {{name: nightly}}
    spec:
      jobTemplate:
        spec:
          template:
            spec:
              containers: [{{name: job, image: "{HOST}/apps/job:2"}}]
  - apiVersion: v1
    kind: Pod
    metadata: {{generateName: debug-}}
    spec:
      containers: [{{name: main, image: busybox}}]
      ephemeralContainers: [{{name: shell, image: "docker.io/library/busybox:1.36"}}]
"""


def named(text: str) -> list[str]:
    return [one.image for one in images(text)]


def refused(text: str) -> str:
    with pytest.raises(MalformedError) as refusal:
        images(text)
    return str(refusal.value)


def test_every_image_is_named_once_in_the_order_of_the_text() -> None:
    assert named(RENDERED) == [
        f"{HOST}/apps/web:1.4.0",
        f"{HOST}/infra/proxy@{DIGEST}",
        f"{HOST}/models/small:7",
        f"{HOST}/apps/job:2",
        "busybox",
        "docker.io/library/busybox:1.36",
    ]


def test_each_image_says_everywhere_it_was_found() -> None:
    places = {one.image: [str(place) for place in one.places] for one in images(RENDERED)}
    assert places[f"{HOST}/apps/web:1.4.0"] == [
        "document 1, Deployment/web, container migrate",
        "document 1, Deployment/web, container web",
    ]
    assert places[f"{HOST}/models/small:7"] == ["document 1, Deployment/web, volume models"]
    assert places[f"{HOST}/apps/job:2"] == ["document 2, CronJob/nightly, container job"]
    assert places["busybox"] == ["document 2, Pod/debug-, container main"]


def test_a_pod_template_counts_wherever_a_custom_resource_has_it() -> None:
    custom = {
        "kind": "Rollout",
        "metadata": {"name": "web"},
        "spec": {"workers": [{"podSpec": {"containers": [{"name": "a", "image": "apps/a:1"}]}}]},
    }
    (one,) = images(json.dumps(custom))
    assert (one.image, str(one.places[0])) == ("apps/a:1", "document 1, Rollout/web, container a")


def test_the_schema_of_a_custom_resource_names_no_image() -> None:
    schema = {"properties": {"containers": {"type": "array", "items": {"image": "string"}}}}
    assert "names an image" in refused(json.dumps({"kind": "CustomResourceDefinition"} | schema))


def test_containers_that_an_operator_fills_in_have_no_image_and_are_passed_over() -> None:
    text = "containers:\n- name: config-reloader\n- {name: empty, image: ''}\n- {image: apps/a}\n"
    assert named(text) == ["apps/a"]


def test_anchors_aliases_and_merge_keys_are_followed() -> None:
    text = """\
base: &base {image: apps/base:1, name: base}
spec: &spec
  containers:
    - <<: *base
      name: web
    - <<: [{name: x}, *base]
      image: apps/own:1
kind: Pod
again: *spec
"""
    assert named(text) == ["apps/base:1", "apps/own:1"]


def test_an_image_that_yaml_takes_for_a_number_is_text() -> None:
    assert named("containers:\n- image: 1.10\n") == ["1.10"]


def test_aliases_that_multiply_cost_nothing() -> None:
    lines = ["a0: &a0 {containers: [{image: apps/a}]}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 100)]
    assert named("\n".join(lines)) == ["apps/a"]
    assert named("a: &a [*a, {containers: [{image: apps/a}]}]") == ["apps/a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty (did the command before the pipe fail?)"),
        (" \n---\n", "no container and no volume in it names an image"),
        ("kind: Namespace\nmetadata: {name: x}\n", "names an image"),
        ("a: [1\nb: 2\n", "line 2: not YAML (look for a quote, colon or space before there)"),
        ("a:\n\t- b\n", "line 2: not YAML"),
        ("a: \0", "control characters"),
        ("a: *web", "no anchor &web"),
        ("x" * (LONGEST + 1), "longer than 32 MiB"),
    ],
)
def test_text_that_cannot_be_used_is_told_in_one_sentence(text: str, words: str) -> None:
    assert words in refused(text)


@pytest.mark.parametrize("value", ["'{{ .Values.image }}'", "{{ .Values.image }}", "'a:{{ $t }}'"])
def test_a_template_that_was_not_rendered_is_named_with_its_place(value: str) -> None:
    text = f"kind: Pod\nmetadata: {{name: web}}\nspec:\n  containers:\n  - image: {value}\n"
    assert refused(text).startswith("document 1, Pod/web, container: the image is a template")


def test_a_chart_as_it_lies_in_its_folder_is_to_be_rendered_first() -> None:
    text = "metadata:\n  {{- with .Values.labels }}\n  labels: {{ . }}\n  {{- end }}\n"
    assert "helm template" in refused(text)


@pytest.mark.parametrize("one", ["[", "{a: ", "- "])
def test_nesting_without_end_is_refused_and_does_not_end_the_process(one: str) -> None:
    assert f"more than {DEEPEST} deep" in refused(one * 200_000)
