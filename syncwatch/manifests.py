"""Pure: the images that Kubernetes manifests name."""
