"""The last proof: a pod in the destination's own cluster makes a kubelet pull the image."""
