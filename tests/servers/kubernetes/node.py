"""The node: containerd and kubelet, and what ran, was pulled and is held there."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from syncwatch.lab.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAUSE = "localhost/pause:1"
NAMESPACE = "k8s.io"
"""Where kubelets keep what is theirs in containerd."""

CONTAINERD = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{folder}/c.sock"
[ttrpc]
  address = "{folder}/t.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/registries"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""

CNI = {
    "cniVersion": "0.4.0",
    "name": "tests",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "",
            "isGateway": True,
            "ipMasq": False,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.199.0.0/16"}]]},
        }
    ],
}

KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
makeIPTablesUtilChains: false
resolvConf: ""
clusterDNS: ["198.51.100.53"]
evictionHard: {"nodefs.available": "1%", "imagefs.available": "1%"}
nodeStatusUpdateFrequency: 2s
nodeStatusReportFrequency: 2s
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
"""


OWN = ("/run/netns", "/run/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers")
"""Folders that containerd, its plugins and the kubelet insist on: the node has its own of each."""

HIDE = 'for one in {folders}; do mkdir -p $one && mount -t tmpfs node $one; done; exec "$@"'


@dataclass
class Processes:
    """Programs that were started, each in a group of its own, with what they said in a file."""

    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str, **environment: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as said:
            self.running[name] = subprocess.Popen(
                command,
                stdout=said,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    def said(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def stop(self, name: str) -> None:
        process = self.running.pop(name, None)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


@dataclass
class Node:
    """One node, `node-1`. `folder` is short: the paths of its sockets have to fit."""

    programs: Path
    folder: Path
    processes: Processes
    kubeconfig: Path
    bridge: str
    name: str = "node-1"

    def start(self, port: int) -> None:
        """Bring up containerd, then the kubelet."""
        config = CONTAINERD.format(folder=self.folder, pause=PAUSE)
        (self.folder / "config.toml").write_text(config)
        (self.folder / "cni").mkdir()
        network = json.loads(json.dumps(CNI))
        network["plugins"][0]["bridge"] = self.bridge
        (self.folder / "cni/10-tests.conflist").write_text(json.dumps(network))
        # containerd's shims start runc by name.
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        # Mounts of its own go with its last process, however that ends.
        apart = ("unshare", "--mount", "--propagation", "private", "sh", "-euc")
        hide = HIDE.format(folders=" ".join(OWN))
        config_file = str(self.folder / "config.toml")
        self.processes.start(
            "containerd", *apart, hide, "sh", "containerd", "-c", config_file, PATH=path
        )
        self._wait_for("containerd", lambda: self.ctr("version"))
        self.import_pause()
        self.processes.start("events", *self._ctr("events"))
        (self.folder / "kubelet.yaml").write_text(KUBELET)
        self.processes.start(
            "kubelet",
            *("nsenter", f"--mount=/proc/{self.processes.running['containerd'].pid}/ns/mnt"),
            str(self.programs / "kubelet"),
            f"--config={self.folder / 'kubelet.yaml'}",
            f"--kubeconfig={self.kubeconfig}",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.folder}/c.sock",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/certificates",
            f"--hostname-override={self.name}",
            f"--port={port}",
            "--healthz-port=0",
            "--read-only-port=0",
            "--v=1",
            PATH=path,
        )

    def stop(self) -> None:
        """End all that ran there; with its last process go its mounts, and here the bridge."""
        self.processes.stop("kubelet")
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            for one in self.ctr("tasks", "ls", "-q").split():
                self._try("tasks", "kill", "-s", "SIGKILL", "-a", one)
            for one in self.ctr("containers", "ls", "-q").split():
                self._try("tasks", "delete", "-f", one)
                self._try("containers", "rm", one)
        self.processes.stop("events")
        self._end_shims()
        self.processes.stop("containerd")
        subprocess.run(
            ["ip", "link", "delete", self.bridge], check=False, capture_output=True, timeout=10
        )

    def _end_shims(self) -> None:
        """Whatever containerd did not end any more, with what runs below it."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                if "containerd-shim" in line and str(self.folder) in line:
                    below = (entry / "task" / entry.name / "children").read_text().split()
                    for one in (*below, entry.name):
                        os.kill(int(one), signal.SIGKILL)

    def ctr(self, *command: str) -> str:
        """What containerd's own client says."""
        done = subprocess.run(self._ctr(*command), check=True, capture_output=True, timeout=30)
        return done.stdout.decode()

    def _ctr(self, *command: str) -> Sequence[str]:
        return ("ctr", "--address", f"{self.folder}/c.sock", "-n", NAMESPACE, *command)

    def _try(self, *command: str) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.ctr(*command)

    def _wait_for(self, name: str, done: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while True:
            try:
                done()
            except (subprocess.SubprocessError, OSError):
                assert time.monotonic() < end, self.processes.said(name)
                time.sleep(0.1)
            else:
                return

    def import_pause(self) -> None:
        """The program that holds a pod's namespaces, as an image that nobody has to serve."""
        path = self.folder / "pause.tar"
        path.write_bytes(_archive(PAUSE, (self.programs / "pause").read_bytes()))
        self.ctr("images", "import", str(path))

    def images(self) -> list[str]:
        """The names of all images that the node holds, beside that of the pause."""
        return [
            one
            for one in self.ctr("images", "ls", "-q").split()
            if "pause" not in one and not one.startswith("sha256:")
        ]

    def by_tls(self, host: str) -> None:
        """From now on a registry on loopback is spoken to by HTTPS, as all others are."""
        folder = self.folder / "registries" / host
        folder.mkdir(parents=True)
        (folder / "hosts.toml").write_text(f'[host."https://{host}"]\n')

    def running(self, program: str) -> list[int]:
        """The processes here of a program, by its path in its image."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    here = str((entry / "exe").readlink()) == program
                    # Its root is made of layers that lie in the folder of its node.
                    if here and str(self.folder) in (entry / "mounts").read_text():
                        found.append(int(entry.name))
        return found

    def forget_images(self) -> None:
        """Hold nothing: the next pull is a real one again."""
        for one in self.ctr("images", "ls", "-q").split():
            # What it was imported as goes last, and comes back at once.
            if one != PAUSE:
                self._try("images", "rm", "--sync", one)

    def started(self) -> list[str]:
        """The images of which a process was ever started here, beside the pause."""
        images: dict[str, str] = {}
        found = []
        for line in (self.folder / "events.log").read_text(errors="replace").splitlines():
            begin = line.find("{")
            if begin < 0:
                continue
            with contextlib.suppress(ValueError):
                told = json.loads(line[begin:])
                if "/containers/create" in line:
                    images[told.get("id", "")] = told.get("image", "")
                if "/tasks/start" in line:
                    found.append(images.get(told.get("container_id", ""), "?"))
        return [one for one in found if one != PAUSE]

    def remove(self) -> None:
        """The folder goes as well."""
        shutil.rmtree(self.folder, ignore_errors=True)


def program_image(
    program: bytes,
    words: str = "",
    *,
    command: Sequence[str] = ("/app",),
    name: str = "app",
    architecture: str = "amd64",
    user: str = "",
) -> tuple[bytes, bytes]:
    """(layer, configuration) of an image with one program, `/app`, and these words in a file."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as files:
        for path, body in {name: program, "words": words.encode()}.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(body), 0o755
            files.addfile(info, io.BytesIO(body))
    raw = tar.getvalue()
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {
            **({"Entrypoint": list(command)} if command else {}),
            **({"User": user} if user else {}),
        },
        "rootfs": {"type": "layers", "diff_ids": [digest_of(raw)]},
    }
    return gzip.compress(raw, 1, mtime=0), json.dumps(config).encode()


X86_64, AARCH64 = 62, 183
"""Machines, as an ELF header names them."""


def deaf_program(machine: int = X86_64) -> bytes:
    """A program that waits for ever. As the first of its container it ends by SIGKILL alone:
    the kernel gives such a one no signal that it has no handler for (pid_namespaces(7))."""
    code = bytes.fromhex("b8220000000f05ebf7")  # mov eax, 34 (pause); syscall; jmp to the begin
    start, size = 0x400000, 64 + 56 + len(code)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, start + 120, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 4096) + code


def _archive(name: str, program: bytes) -> bytes:
    """An OCI layout as a tar, as `ctr images import` takes it."""
    layer, config = program_image(program)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(OCI_CONFIG, config),
            "layers": [_descriptor(OCI_LAYER, layer)],
        }
    ).encode()
    top = {**_descriptor(OCI_MANIFEST, manifest), "annotations": {"io.containerd.image.name": name}}
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [top]}).encode(),
        **{
            "blobs/" + digest_of(blob).replace(":", "/"): blob for blob in (layer, config, manifest)
        },
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, body in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return packed.getvalue()


def _descriptor(media_type: str, body: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(body), "size": len(body)}
