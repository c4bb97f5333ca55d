"""What a REF says, and whose name it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncwatch.errors import MalformedError
from syncwatch.reference import Hosts, Meant, Reference, meant, parse

SHA256, SHA512 = "sha256:" + "0a" * 32, "sha512:" + "0a" * 64
HARBOR, CLUSTER = "harbor.example.com", "registry.cluster1.internal:5000"


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("apps/web:1.0", "", "apps/web", "1.0", ""),
        ("apps/web", "", "apps/web", "latest", ""),
        ("web", "", "web", "latest", ""),
        ("web:5000", "", "web", "5000", ""),
        ("apps/team/web__x-1.y:V_1", "", "apps/team/web__x-1.y", "V_1", ""),
        (f"apps/web@{SHA256}", "", "apps/web", "", SHA256),
        (f"apps/web@{SHA512}", "", "apps/web", "", SHA512),
        (f"apps/web:1.0@{SHA256}", "", "apps/web", "1.0", SHA256),
        ("harbor.example.com/apps/web:1", HARBOR, "apps/web", "1", ""),
        ("Harbor.Example.COM/apps/web:1", HARBOR, "apps/web", "1", ""),
        ("registry.cluster1.internal:5000/web", CLUSTER, "web", "latest", ""),
        ("localhost/web", "localhost", "web", "latest", ""),
        ("[2001:db8::1]:5000/apps/web:1", "[2001:db8::1]:5000", "apps/web", "1", ""),
        ("10.0.0.1/apps/web:1", "10.0.0.1", "apps/web", "1", ""),
        ("registry/apps/web:1", "", "registry/apps/web", "1", ""),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(
    text: str, host: str, repository: str, tag: str, digest: str
) -> None:
    assert parse(text) == Reference(host, repository, tag, digest)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no repository is named; write [HOST/]REPOSITORY"),
        (":1.0", "no repository is named"),
        ("host.example.com/", "no repository is named"),
        ("https://harbor.example.com/apps/web", "is a URL; write"),
        ("docker://apps/web", "is a URL; write"),
        ("apps/Web:1", "'apps/Web' is no repository; it has up to 255 small letters"),
        ("apps//web", "is no repository"),
        ("/apps/web", "is no repository"),
        ("apps/web ", "is no repository"),
        ("apps/wéb", "is no repository"),
        ("a/" * 127 + "ab", "is no repository"),
        ("apps/web:", "'' is no tag"),
        ("apps/web:-x", "'-x' is no tag"),
        ("apps/web:1:2", "'1:2' is no tag"),
        ("apps/web:" + "a" * 129, "is no tag; it has up to 128"),
        ("apps/web@", "'' is no digest; write @sha256:"),
        ("apps/web@sha256:0a", "is no digest"),
        ("apps/web@" + SHA256.upper(), "is no digest"),
        ("apps/web@md5:" + "0a" * 16, "is no digest"),
        ("ho_.st:x/apps/web", "'ho_.st:x' is no host; write HOST or HOST:PORT"),
        ("user@host.example.com/apps/web", "is no digest"),
        ("apps/web:1\x00", "is no tag"),
        ("apps/web:1\n", "is no tag"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_place_and_the_cure(text: str, words: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(text)
    assert words in caught.value.message
    assert len(caught.value.message) < 250
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


@given(st.text(alphabet="aA0.:/@_-[]\n é", max_size=40) | st.text(max_size=60))
def test_any_text_is_a_reference_that_reads_the_same_again_or_is_malformed(text: str) -> None:
    try:
        found = parse(text)
    except MalformedError:
        return
    assert parse(str(found)) == found
    assert found.tag or found.digest


HOSTS = Hosts.of(
    {"main": "https://harbor.example.com", "edge": "http://edge.example.com:8080"},
    {
        1: ("https://cluster1.example.com/prefix", "registry.cluster1.internal:5000"),
        2: ("https://CLUSTER1.example.com:443", None),
        3: ("http://edge.example.com:8080", "Mirror.example.com"),
    },
)
NONE: frozenset[int] = frozenset()


@pytest.mark.parametrize(
    ("text", "harbors", "destinations"),
    [
        ("apps/web:1", None, NONE),
        ("harbor.example.com/apps/web:1", {"main"}, NONE),
        ("harbor.example.com:443/apps/web:1", {"main"}, NONE),
        ("cluster1.example.com/apps/web:1", set(), {1, 2}),
        ("cluster1.example.com:443/apps/web:1", set(), {1, 2}),
        ("registry.cluster1.internal:5000/apps/web:1", set(), {1}),
        ("mirror.example.com/apps/web:1", set(), {3}),
        ("edge.example.com:8080/apps/web:1", {"edge"}, {3}),
    ],
)
def test_a_host_says_whose_name_it_is(
    text: str, harbors: set[str] | None, destinations: set[int]
) -> None:
    found = meant(parse(text), HOSTS)
    expected = None if harbors is None else frozenset(harbors)
    assert found == Meant("apps/web", "1", "", expected, frozenset(destinations))


def test_a_project_with_a_dot_in_its_name_is_no_host_unless_somebody_has_it() -> None:
    found = meant(parse("my.project/web:1"), HOSTS)
    assert found == Meant("my.project/web", "1", "", None, NONE, stranger="my.project")


def test_a_host_with_a_port_that_nobody_has_means_nothing() -> None:
    found = meant(parse("registry.example.net:5000/web:1"), HOSTS)
    assert found.harbors == frozenset() == found.destinations
    assert found.stranger == "registry.example.net:5000"
