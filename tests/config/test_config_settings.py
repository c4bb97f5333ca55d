"""What a good configuration says, however it is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from syncwatch.config import (
    Address,
    DestinationSettings,
    HarborSettings,
    Login,
    ProbeSettings,
    Settings,
    WebhookSettings,
    format_duration,
    load,
    parse_duration,
)

HARBOR = """\
harbors:
  - name: main
    url: https://harbor.example.com
    webhook: {authorization: s3cret}
"""
DOCS = Path(__file__).parents[2] / "docs"


def loaded(directory: Path, text: str = "", **environ: str) -> Settings:
    file = directory / "good.yml"
    file.write_text(HARBOR + text, encoding="utf-8")
    return load(file, environ)


def built(**more: Any) -> Settings:
    harbor = HarborSettings(
        name="main",
        url="https://harbor.example.com",
        webhook=WebhookSettings(allow_unauthenticated=True),
    )
    return Settings(harbors=(harbor,), **more)


def test_the_example_in_the_docs_is_good(tmp_path: Path, certificate: Path) -> None:
    for name in ("harbor", "webhook", "cluster1", "token", "store", "receiver"):
        (tmp_path / name).write_text("hunter2\n")
    (tmp_path / "edge.json").write_text('{"auths": {"edge.example.com:5000": {"auth": "dTpw"}}}')
    (tmp_path / "cluster1.kubeconfig").write_text("{}")
    certificate.rename(tmp_path / "cluster1.pem")
    text = (DOCS / "example.yml").read_text().replace("/run/secrets", str(tmp_path))
    (tmp_path / "example.yml").write_text(text)

    settings = load(tmp_path / "example.yml", {})

    assert settings.harbor("main").username == "robot$syncwatch"
    assert settings.cluster("cluster1").probe.mode == "off"
    assert settings.notifications is not None
    assert settings.notifications.secret is not None
    assert settings.notifications.secret.value() == "hunter2"
    assert settings.destination("main", "edge").deadline == timedelta(minutes=90)
    assert settings.destination("main", "edge").pause_until == datetime(2026, 12, 1, 6, tzinfo=UTC)
    assert settings.store_url() == "postgresql://syncwatch:hunter2@db.example.com/syncwatch"
    assert "hunter2" not in repr(settings)


def test_everything_but_a_harbor_has_a_default(tmp_path: Path) -> None:
    settings = loaded(tmp_path)

    assert settings.listen == Address("127.0.0.1", 8081)
    assert settings.webhook_listen == Address("0.0.0.0", 8080)
    assert settings.store_url() == "sqlite:///syncwatch.db"
    assert settings.keep == timedelta(days=30)
    assert settings.api_token is None
    assert settings.harbors[0].credential is None
    assert settings.destination("main", "anything").deadline == timedelta(minutes=10)


def test_words_that_yaml_takes_for_something_else_stay_words(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "token: 0123\n"
        "clusters: [{name: on, probe: {mode: off}}, {name: 12e3}]\n"
        "destinations: [{name: no, cluster: on}, {name: 1:30, insecure_skip_verify: yes}]\n"
        "ignore: [{reference: 2026-01-01}, {reference: 1.10}]\n",
    )

    assert settings.api_token is not None
    assert settings.api_token.value() == "0123"
    assert [cluster.name for cluster in settings.clusters] == ["on", "12e3"]
    assert [destination.name for destination in settings.destinations] == ["no", "1:30"]
    assert settings.destinations[1].insecure_skip_verify
    assert [rule.reference for rule in settings.ignore] == ["2026-01-01", "1.10"]


def test_the_environment_fills_values_in(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "keep: ${DAYS}d\ntoken: a$${b}$c${TOKEN}$$\nstore: ${STORE}\n",
        DAYS="7",
        TOKEN="${DAYS}",
        STORE="sqlite:////var/lib/syncwatch.db",
    )

    assert settings.keep == timedelta(days=7)
    assert settings.api_token is not None
    assert settings.api_token.value() == "a${b}$c${DAYS}$"
    assert settings.store.path == Path("/var/lib/syncwatch.db")


def test_lists_may_be_empty_or_commented_out(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "destinations:\n#  - name: d\nclusters: []\nignore:\n")

    assert (settings.destinations, settings.clusters, settings.ignore) == ((), (), ())


def test_anchors_and_merges_repeat_settings(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "destinations:\n"
        "  - &slow {name: a, deadline: 1h, grace: 1m}\n"
        "  - {<<: *slow, name: b, grace: 2m}\n"
        "  - {<<: [*slow], name: c}\n",
    )

    grace = [(one.name, one.deadline.seconds, one.grace.seconds) for one in settings.destinations]
    assert grace == [("a", 3600, 60), ("b", 3600, 120), ("c", 3600, 60)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604_800),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1d2h3m4s5ms", 93_784.005),
        ("0s", 0),
        ("90m", 5400),
    ],
)
def test_durations_are_read_and_written(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_duration(format_duration(parse_duration(text))) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "5", "5 m", "1m1h", "5m\n", "٣s", "9" * 30 + "s", "1S"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a duration|at most 3650d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "address", "again"),
    [
        ("127.0.0.1:8081", Address("127.0.0.1", 8081), "127.0.0.1:8081"),
        ("localhost:0", Address("localhost", 0), "localhost:0"),
        ("'[::1]:8081'", Address("::1", 8081), "[::1]:8081"),
    ],
)
def test_listen_addresses_are_host_and_port(
    text: str, address: Address, again: str, tmp_path: Path
) -> None:
    settings = loaded(tmp_path, f"listen: {text}\n")

    assert settings.listen == address
    assert str(settings.listen) == again


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("https://Harbor.Example.com/", "https://harbor.example.com"),
        ("HTTPS://h:443", "https://h"),
        ("http://h:80/", "http://h"),
        ("https://h:8443", "https://h:8443"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_urls_of_a_harbor_are_normalised(written: str, normalised: str) -> None:
    assert HarborSettings(name="main", url=written).url == normalised


def test_a_url_of_a_registry_keeps_its_path() -> None:
    settings = DestinationSettings(name="d", url="https://R.example.com:443/Mirror/")

    assert settings.url == "https://r.example.com/Mirror"


def test_relative_files_begin_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")

    settings = loaded(tmp_path, "token_file: token\n")

    assert settings.token_file == tmp_path / "token"


def test_a_destination_goes_before_the_defaults_for_all(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "destinations:\n"
        '  - {name: "*", deadline: 1h, grace: 1m, token_realms: [auth.example.com]}\n'
        "  - {name: d, deadline: 2h}\n",
    )

    named, other = settings.destination("main", "d"), settings.destination("main", "e")

    assert (named.name, named.deadline, named.grace) == (
        "d",
        timedelta(hours=2),
        timedelta(minutes=1),
    )
    assert (other.name, other.deadline, other.grace) == (
        "e",
        timedelta(hours=1),
        timedelta(minutes=1),
    )
    assert named.token_realms == other.token_realms == ("auth.example.com",)
    assert named.concurrency == 8


def test_an_entry_with_its_harbor_wins_and_takes_nothing_from_the_other(tmp_path: Path) -> None:
    settings = load_two(tmp_path)

    first, second = settings.destination("main", "d"), settings.destination("other", "d")

    assert (first.url, first.credential, first.grace) == (
        "https://first.example.com",
        None,
        timedelta(seconds=30),
    )
    assert second.url == "https://second.example.com"
    assert second.credential is not None
    assert second.credential.login() == Login("u", "p")


def load_two(directory: Path) -> Settings:
    file = directory / "two.yml"
    file.write_text(
        HARBOR
        + "  - {name: other, url: https://other, webhook: {allow_unauthenticated: true}}\n"
        + "destinations:\n"
        + "  - {name: d, url: https://second.example.com, username: u, password: p, grace: 5m}\n"
        + "  - {name: d, harbor: main, url: https://first.example.com}\n"
    )
    return load(file, {})


@pytest.mark.parametrize("own", ["ca_file: ca.pem", "insecure_skip_verify: true"])
def test_how_a_destination_is_verified_replaces_the_default(
    own: str, tmp_path: Path, certificate: Path
) -> None:
    certificate.rename(tmp_path / "ca.pem")
    general = {"ca_file: ca.pem", "insecure_skip_verify: true"} - {own}

    settings = loaded(
        tmp_path, f'destinations: [{{name: "*", {general.pop()}}}, {{name: d, {own}}}]\n'
    )

    merged = settings.destination("main", "d")
    assert bool(merged.ca_file) != merged.insecure_skip_verify
    assert merged.insecure_skip_verify == own.startswith("insecure")


def test_a_destination_is_one_value_for_ever(tmp_path: Path) -> None:
    settings = loaded(tmp_path)

    assert settings.destination("main", "d") is settings.destination("main", "d")


def test_settings_built_in_code_obey_the_same_rules() -> None:
    with pytest.raises(ValidationError, match="no such cluster in clusters"):
        built(destinations=(DestinationSettings(name="d", cluster="nowhere"),))
    with pytest.raises(ValidationError, match="nothing proves that deliveries are Harbor's"):
        Settings(harbors=(HarborSettings(name="main", url="https://h"),))


@pytest.mark.parametrize(
    ("toleration", "words"),
    [
        ({"key": 5}, "a toleration's key that is no text; put it in quotes"),
        ({"key": "a", "operator": 5}, "a toleration's operator that is no text"),
        ({"key": "a", "value": True}, "a toleration's value that is no text"),
        ({"key": "a", "effect": 5}, "a toleration's effect that is no text"),
        (
            {"key": "a", "effect": "NoExecute", "tolerationSeconds": True},
            "tolerationSeconds that is no whole number; write one",
        ),
    ],
)
def test_a_toleration_built_in_code_has_texts_too(toleration: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ProbeSettings(tolerations=(toleration,))


def test_a_toleration_has_its_seconds_as_a_number(tmp_path: Path) -> None:
    """The API server refuses a text there, and of a file every value is one."""
    settings = loaded(
        tmp_path,
        "clusters:\n- name: c\n  probe:\n    tolerations:\n"
        "    - {key: 5, effect: NoExecute, tolerationSeconds: 300}\n"
        '    - {key: a, effect: NoExecute, tolerationSeconds: "3"}\n',
    )

    assert settings.cluster("c").probe.tolerations == (
        {"key": "5", "effect": "NoExecute", "tolerationSeconds": 300},
        {"key": "a", "effect": "NoExecute", "tolerationSeconds": 3},
    )


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        built().keep = timedelta(days=1)  # type: ignore[misc]


def test_a_changed_copy_forgets_what_came_from_the_old_values() -> None:
    settings = built(token="old")
    assert settings.api_token is not None

    changed = settings.model_copy(update={"token": SecretStr("new")})

    assert changed.api_token is not None
    assert changed.api_token.values() == ("new",)
    assert settings.api_token.values() == ("old",)


def test_equal_files_give_equal_settings(tmp_path: Path) -> None:
    before, after = loaded(tmp_path, "token: a\n"), loaded(tmp_path, "token: a\n")
    before.destination("main", "d")

    assert before == after
    assert before != loaded(tmp_path, "token: b\n")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("sqlite:///syncwatch.db", "sqlite:///syncwatch.db"),
        ("postgresql://u:hunter2@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u:hunter2:x@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d?password=hunter2", "postgresql://u@h/d?***"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
    ],
)
def test_the_store_is_shown_without_its_password(written: str, shown: str) -> None:
    settings = built(store=written)

    assert str(settings.store) == shown
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()
    assert settings.store_url() == written


def test_a_password_for_the_store_may_hold_any_character(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@s/s:w?d\n")

    settings = loaded(tmp_path, "store: postgresql://u@h/d\nstore_password_file: password\n")

    assert settings.store_url() == "postgresql://u:p%40s%2Fs%3Aw%3Fd@h/d"


def test_no_secret_is_in_any_text_of_the_settings(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "token: hunter2\n"
        "destinations: [{name: d, url: https://d, username: u, password: hunter2}]\n",
    )
    destination = settings.destination("main", "d")

    for shown in (settings, destination, destination.credential, settings.api_token):
        assert "hunter2" not in f"{shown!r} {shown!s}"
    assert "hunter2" not in settings.model_dump_json()
