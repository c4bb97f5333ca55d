"""What Harbor is to us: the words of its API and webhooks (`wire`) and the asking (`client`).

Facts come from recordings of a running Harbor v2.16 (tests/recordings) and from its source; each
rule names the file it was read from, relative to Harbor's `src/`.
"""
