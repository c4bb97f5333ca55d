"""The section of a cluster: how to reach it, and how its own nodes are made to pull an image."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from syncwatch.config.files import ReadableFile
from syncwatch.config.kubernetes import (
    EVERY_ARCHITECTURE,
    Annotations,
    Architecture,
    Image,
    Labels,
    ObjectName,
    Toleration,
)
from syncwatch.config.scalars import Moment, Name, Word
from syncwatch.config.servers import Section

ALL = EVERY_ARCHITECTURE
"""For `architectures`: all that the cluster's nodes have."""


class ProbeSettings(Section):
    """How a cluster's own nodes are made to pull an image."""

    mode: Literal["off", "pull", "start"] = Field(
        "pull",
        description="`pull` the image and never run it, `start` it as well, or `off`.",
    )
    namespace: Name = Field("syncwatch-probe", description="Where the pods are made.")
    per_hour: int = Field(60, ge=1, le=3600, description="How many pods an hour at most.")
    at_once: int = Field(2, ge=1, le=100, description="How many pods at a time at most.")
    one_per_node: bool = Field(
        True,
        description="Never two of them on one node: a registry that hangs holds up all other "
        "pulls of a node.",
    )
    timeout: Moment = Field(
        timedelta(minutes=2), description="How long a node may take to pull one image."
    )
    images: Literal["new", "required"] = Field(
        "new",
        description="What is probed by itself: every `new` digest, or only what is `required`, "
        "by `level: pulled` of its destination.",
    )
    sample: float = Field(
        1.0, gt=0, le=1, description="Which share of the new digests; those required are all."
    )
    policies: tuple[Word, ...] = Field(
        (), description="Only new digests of these policies, by name. Default: of all."
    )
    again_after: Moment | None = Field(
        None,
        description="When what was pulled is pulled once more, within the budget. Default: never.",
    )
    size_limit: int = Field(
        10_000_000_000,
        ge=1,
        le=1_000_000_000_000_000,
        description="Larger images (bytes of all layers) are not pulled.",
    )
    pull_secrets: tuple[ObjectName, ...] = Field(
        (), description="The secrets to pull with: those of the workloads, in that namespace."
    )
    service_account: ObjectName | None = Field(
        None, description="The service account of the pods. Its token is never mounted."
    )
    architectures: tuple[Architecture, ...] = Field(
        (),
        description="A pod for each of these, as amd64; `[all]` for all that the nodes have. "
        "Default: one pod, and the scheduler chooses.",
    )
    look_at_nodes: bool = Field(
        False,
        description="Ask which nodes hold an image already, and prefer others: what a node holds "
        "proves nothing. Needs the permission to list nodes, as `architectures: [all]` does.",
    )
    node_selector: Labels = Field({}, description="Only nodes with these labels.")
    tolerations: tuple[Toleration, ...] = Field(
        (), description="Taints that the pods tolerate, as a pod writes them."
    )
    labels: Labels = Field({}, description="Further labels of the pods.")
    annotations: Annotations = Field({}, description="Further annotations of the pods.")
    priority_class: ObjectName | None = Field(None, description="The priority class of the pods.")
    run_as_user: int = Field(
        65532, ge=1, le=2_147_483_647, description="The user the container would run as."
    )
    command: tuple[Word, ...] = Field(
        (), description="With `mode: start`: what to start. Default: the image's own command."
    )
    carrier: Image | None = Field(
        None,
        description="With `mode: pull`: an image of yours that may run (as a pause image). The "
        "image under test is then only mounted, as an image volume (Kubernetes 1.35).",
    )

    @field_validator("command", "carrier")
    @classmethod
    def _of_its_mode(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = "start" if info.field_name == "command" else "pull"
        if value and info.data.get("mode", wanted) not in (wanted, "off"):
            raise ValueError(f"has a meaning with mode: {wanted} only; remove it")
        return value

    @field_validator("architectures")
    @classmethod
    def _all_or_some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if ALL in value and len(value) > 1:
            raise ValueError("`all` beside names; write [all], or the names")
        if len({*value}) < len(value):
            raise ValueError("the same architecture twice; remove one")
        return value

    @field_validator("architectures")
    @classmethod
    def _within_the_budget(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for limit in ("per_hour", "at_once"):
            if len(value) > info.data.get(limit, len(value)):
                raise ValueError(f"more than {limit}, so that no probe could begin; raise {limit}")
        return value

    @property
    def is_on(self) -> bool:
        """Whether pods are made at all."""
        return self.mode != "off"

    @property
    def asks_nodes(self) -> bool:
        """Whether the cluster's nodes are listed."""
        return self.look_at_nodes or ALL in self.architectures


class ClusterSettings(Section):
    """A Kubernetes cluster that destinations serve."""

    name: Name = Field(description="Our name for it.")
    kubeconfig: ReadableFile | None = Field(
        None, description="How to reach it. Default: the cluster that syncwatch itself runs in."
    )
    context: Word | None = Field(
        None, description="Which context of the kubeconfig. Default: its current one."
    )
    timeout: Moment = Field(
        timedelta(seconds=10), description="How long one request to it may take."
    )
    probe: ProbeSettings = Field(
        default_factory=lambda: ProbeSettings(mode="off"),
        description="Pods that make a node pull an image. Default: none.",
    )

    @field_validator("context")
    @classmethod
    def _of_a_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("kubeconfig", ...) is None:
            raise ValueError("a context without a kubeconfig; set kubeconfig beside it")
        return value
