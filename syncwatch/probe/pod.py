"""Pure: the pod that makes a kubelet pull an image."""
