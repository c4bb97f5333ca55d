"""A real Kubernetes for tests: Debian's 1.20, one node, on loopback, gone without a trace.

`cluster` brings it up and down, `node` is its containerd and kubelet. Only for a machine that may
be thrown away: it needs root, and makes network namespaces and a bridge while it runs.
"""
