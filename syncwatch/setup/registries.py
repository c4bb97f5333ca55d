"""A registry endpoint in the file's words and in Harbor's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.config.addresses import parse_registry_url
from syncwatch.setup.changes import Form, Hidden, named

if TYPE_CHECKING:
    from syncwatch.harbor.writing import Record
    from syncwatch.setup.sections import RegistrySection

PATH = "/registries"
SECRET = "access_secret"  # noqa: S105 - the name of a field
DEFAULTS: Form = {"description": "", "access_id": "", "verify_certificate": True}
"""What Harbor's form has before it is filled in."""

_FLAT = {"description": "description", "url": "url", "access_id": "access_key"}
_FLAT |= {SECRET: "access_secret", "ca_certificate": "ca_certificate"}


def wanted(section: RegistrySection) -> Form:
    """What the file says of it, secret included."""
    form = named(section, "provider", "url", "description", "access_id", "verify_certificate")
    certificate, secret = section.certificate(), section.secret()
    if certificate is not None:
        form["ca_certificate"] = certificate
    if secret is not None:
        form[SECRET] = Hidden(secret)
    return form


def form_of(record: Record) -> Form:
    """What Harbor has; the secret is only whether there is one ("*****"), so it is not in it."""
    credential = record.get("credential") or {}
    return {
        "provider": record.get("type", ""),
        "url": same_url(record.get("url", "")),
        "description": record.get("description", ""),
        "access_id": credential.get("access_key", ""),
        "verify_certificate": not record.get("insecure", False),
        "ca_certificate": record.get("ca_certificate", "").strip(),
    }


def same_url(url: str) -> str:
    """Harbor trims the slash at the end (lib.ValidateHTTPURL); compared is what we would write."""
    try:
        return parse_registry_url(url)
    except ValueError:
        return url


def body_to_create(name: str, form: Form) -> Record:
    """The body of POST /registries."""
    credential = {
        "type": "basic",
        "access_key": form.get("access_id", ""),
        "access_secret": _secret(form),
    }
    body: Record = {
        "name": name,
        "type": form["provider"],
        "url": form["url"],
        "description": form.get("description", ""),
        "insecure": not form.get("verify_certificate", True),
        "credential": credential if form.get("access_id") else {},
    }
    return body | ({"ca_certificate": form["ca_certificate"]} if form.get("ca_certificate") else {})


def body_to_change(form: Form) -> Record:
    """The body of PUT /registries/{id}: flat, and only what changes (RegistryUpdate)."""
    body: Record = {_FLAT[name]: value for name, value in form.items() if name in _FLAT}
    if SECRET in form:
        body["access_secret"] = _secret(form)
    if "verify_certificate" in form:
        body["insecure"] = not form["verify_certificate"]
    return body


def body_to_test(form: Form, record: Record) -> Record:
    """The body of POST /registries/ping: all that is to be, or what Harbor has stored.

    The secret that Harbor has can be tried only by naming the record's id, which then is asked at
    its stored URL (api.md §4).
    """
    present = form_of(record) if record else {}
    if record and SECRET not in form and present["access_id"]:
        return {"id": record["id"]}
    whole = DEFAULTS | present | form
    body = body_to_create("", whole)
    credential = body.pop("credential")
    del body["name"], body["description"]
    return body | (
        {
            "credential_type": credential["type"],
            "access_key": credential["access_key"],
            "access_secret": credential["access_secret"],
        }
        if credential
        else {}
    )


def _secret(form: Form) -> str:
    hidden = form.get(SECRET)
    return hidden.value if isinstance(hidden, Hidden) else ""
