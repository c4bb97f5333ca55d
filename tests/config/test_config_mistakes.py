"""Every mistake in a configuration, with its exact line: place, setting, what is wrong, cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncwatch.config import load
from syncwatch.errors import ConfigError

HARBOR = """\
harbors:
  - name: main
    url: https://harbor.example.com
    webhook: {authorization: s3cret}
"""
MISTAKES = Path(__file__).parent / "mistakes"


def cases(name: str) -> list[object]:
    """The cases of one table: text of the file, lines of the answer."""
    _, *texts = (MISTAKES / name).read_text(encoding="utf-8").split("\n== ")
    return [_case(text) for text in texts]


def _case(text: str) -> object:
    title, *lines = text.splitlines(keepends=True)
    written = "".join(line for line in lines if not line.startswith(">> "))
    answer = [line[3:].rstrip("\n") for line in lines if line.startswith(">> ")]
    return pytest.param(written, answer, id=title.strip())


def problems_of(directory: Path, text: str, **environ: str) -> list[str]:
    file = directory / "bad.yml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, environ)
    return [line.removeprefix(f"{directory}/") for line in caught.value.problems]


@pytest.mark.parametrize(("text", "answer"), cases("files.txt"))
def test_a_file_that_is_no_configuration_gets_one_clear_line(
    text: str, answer: list[str], tmp_path: Path
) -> None:
    assert problems_of(tmp_path, text) == answer


@pytest.mark.parametrize(("text", "answer"), cases("harbors.txt"))
def test_every_mistake_about_a_harbor_has_its_line(
    text: str, answer: list[str], tmp_path: Path
) -> None:
    assert problems_of(tmp_path, text) == answer


@pytest.mark.parametrize(("text", "answer"), cases("settings.txt"))
def test_every_mistake_about_a_setting_has_its_line(
    text: str, answer: list[str], tmp_path: Path, certificate: Path
) -> None:
    (tmp_path / "blank").write_text("\n")
    (tmp_path / "docker.json").write_text('{"auths": {"elsewhere": {"auth": "dTpw"}}}')
    certificate.rename(tmp_path / "ca.pem")

    assert problems_of(tmp_path, HARBOR + text) == answer


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "nowhere.yml", {})

    assert caught.value.problems == [
        f"{tmp_path}/nowhere.yml: no such file; name the configuration with -c FILE"
    ]


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})

    assert caught.value.problems == [f"{tmp_path}: a directory; name the configuration file in it"]


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yml").write_bytes(b"harbors: \xe4\n")

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "latin.yml", {})

    assert caught.value.problems == [f"{tmp_path}/latin.yml: not UTF-8 text; save it as UTF-8"]


def test_control_characters_are_no_yaml(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "harbors: \x01\n") == [
        "bad.yml: not YAML: control characters or endless nesting"
    ]


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "[" * 50_000) == [
        "bad.yml: not YAML: control characters or endless nesting"
    ]


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    tens = [
        f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
        for before, name in zip("abcde", "bcdef", strict=True)
    ]

    assert problems_of(tmp_path, "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(tens)) == [
        "bad.yml: more than 100000 values; aliases multiply them"
    ]


def test_no_line_repeats_a_value(tmp_path: Path) -> None:
    destination = "level cluster harbor pull_host url pause_until ca_file insecure_skip_verify"
    values = "".join(f"    {name}: ${{V}}\n" for name in destination.split())
    top = "keep keep_deliveries listen store token_file log_level"
    text = HARBOR + "".join(f"{name}: ${{V}}\n" for name in top.split())

    problems = problems_of(tmp_path, f"{text}destinations:\n  - name: d\n{values}", V="hun ter2/")

    assert len(problems) == len(destination.split()) + len(top.split())
    assert "hun" not in "\n".join(problems)
    assert "ter2" not in "\n".join(problems)


def test_the_demand_for_proof_can_be_left_to_who_takes_deliveries(tmp_path: Path) -> None:
    file = tmp_path / "good.yml"
    file.write_text("harbors: [{name: main, url: https://h}]\n")

    assert load(file, {}, serving=False).harbors[0].webhook is None
