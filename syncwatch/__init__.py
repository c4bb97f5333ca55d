"""syncwatch knows whether an image pushed to Harbor is usable in your cluster.

The way of one piece of data, which no directory listing shows:

    intake    a webhook's bytes become a durable delivery, nothing else
    plan      deliveries and the feed become expectations, by Harbor's own rules
    follow    Harbor's executions and tasks become facts
    verify    the destination's own answers become observations, and with the facts a verdict
    probe     a kubelet pulls what was verified
    report    metrics, API, gate and page read what the store knows

The stages do not call each other; they meet in the store.
"""

__version__ = "0.1.0"
