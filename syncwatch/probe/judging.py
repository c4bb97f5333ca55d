"""Pure: what a kubelet said of pulling an image, from (pod, events, now)."""
