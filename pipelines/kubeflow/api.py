"""The KFP API from outside: logging in, and telling its answers from those of a login page."""

from __future__ import annotations

import json
import logging
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import BadInput

if TYPE_CHECKING:
    import kfp

log = logging.getLogger(__name__)

OLDEST = (2, 14)
"""KFP whose backend has `dsl.Collected` and hands `PipelineTaskFinalStatus` to exit handlers
(kubeflow/pipelines#11725, #11953)."""

TIMEOUT_S = 10
LOG_IN = (
    "log in: --token or --token-file (a bearer token, for example of `kubectl create token` or "
    "`gcloud auth print-identity-token`), or --cookie (copied from a browser that is logged in)"
)

_HEALTH = "/apis/v2beta1/healthz"
_NOT_LOGGED_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_NOT_AN_API = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


@dataclass(frozen=True)
class Login:
    """How to pass the front of a KFP API; everything is optional.

    Attributes:
        token: bearer token.
        cookie: "name=value" of a session, as a browser sends it.
        ca: file of the certificates (PEM) that signed the front's own.
        namespace: Kubeflow profile to work in, where there are several (multi-user).
    """

    token: str = ""
    cookie: str = ""
    ca: str = ""
    namespace: str = ""

    @staticmethod
    def of(
        token: str = "",
        token_file: Path | None = None,
        cookie: str = "",
        ca: Path | None = None,
        namespace: str = "",
    ) -> Login:
        """From the options of a command line. Raises BadInput naming the option."""
        if token and token_file:
            raise BadInput("--token", "given beside --token-file", "give one of them")
        if token_file:
            token = _read("--token-file", token_file)
        if not token.isprintable():
            raise BadInput("--token", "holds what no header may", "give the token alone")
        if cookie and ("=" not in cookie or not cookie.isprintable()):
            raise BadInput("--cookie", "not NAME=VALUE", "copy it from the browser's requests")
        if ca:
            _read("--ca", ca)
        return Login(token.strip(), cookie, str(ca or ""), namespace)

    def headers(self) -> dict[str, str]:
        """Headers of a request."""
        found = {"Accept": "application/json"}
        if self.token:
            found["Authorization"] = f"Bearer {self.token}"
        if self.cookie:
            found["Cookie"] = self.cookie
        return found


def _read(option: str, file: Path) -> str:
    try:
        content = file.read_text().strip()
    except (OSError, ValueError) as error:
        raise BadInput(f"{option} {file}", f"cannot be read ({error})", "check it") from None
    if not content:
        raise BadInput(f"{option} {file}", "is empty", "write the content into it")
    return content


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        """Never followed: what redirects is a login, and its page would pass for an answer."""


def connect_to_kubeflow(host: str, login: Login | None = None) -> kfp.Client:
    """Client of a KFP API.

    Raises:
        BadInput: nothing answers there, what answers is no KFP API, too old or wants a login, or
            the API serves several namespaces and none is given.
    """
    login = login or Login()
    # Asked first by hand: the client itself would retry for half a minute, with tracebacks, and
    # takes a login page for an answer.
    health = _health(host, login)
    _check_version(host, str(health.get("tag_name", "")))
    if health.get("multi_user") and not login.namespace:
        raise BadInput(
            f"--host {host}", "serves several namespaces", "add --namespace YOUR_KUBEFLOW_PROFILE"
        )
    import kfp

    with api_error(host):
        return kfp.Client(
            host=host.rstrip("/"),
            namespace=login.namespace or "kubeflow",
            existing_token=login.token or None,
            cookies=login.cookie or None,
            ssl_ca_cert=login.ca or None,
        )


def _check_version(host: str, tag: str) -> None:
    """Refuse a KFP that cannot run the pipeline, where it tells its version."""
    needed = ".".join(map(str, OLDEST))
    told = re.match(r"v?(\d+)\.(\d+)", tag)
    if told is None:
        log.warning("%s does not tell KFP's version; %s or newer is needed", host, needed)
    elif (int(told[1]), int(told[2])) < OLDEST:
        raise BadInput(f"--host {host}", f"is KFP {tag}, {needed} is needed", "upgrade KFP")


def _health(host: str, login: Login) -> dict[str, Any]:
    where = f"--host {host}"
    try:
        context = ssl.create_default_context(cafile=login.ca or None)
        opener = urllib.request.build_opener(
            _NoRedirect, urllib.request.HTTPSHandler(context=context)
        )
        request = urllib.request.Request(  # noqa: S310
            f"{host.rstrip('/')}{_HEALTH}", headers=login.headers()
        )
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            content = answer.read(1 << 16)
    except urllib.error.HTTPError as error:
        raise _refusal(where, error.code, error.headers.get("Location", "")) from None
    except (OSError, ValueError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise BadInput(where, "its certificate is not trusted", "give --ca FILE") from None
        raise BadInput(
            where, f"no KFP API answers there ({error})", "check address and port"
        ) from None
    try:
        health = json.loads(content)
    except ValueError:
        health = None
    if not isinstance(health, dict):
        said = "a web page" if b"<" in content[:200] else "something else than JSON"
        raise BadInput(where, f"answers with {said}, not as a KFP API", f"{LOG_IN}, or mend it")
    return health


def _refusal(where: str, status: int, location: str = "") -> BadInput:
    if 300 <= status < 400:
        to = f" to {location.partition('?')[0]}" if location else ""
        return BadInput(where, f"redirects{to}, as to a login ({status})", LOG_IN)
    if status in _NOT_LOGGED_IN:
        return BadInput(where, f"refuses who asks ({status})", LOG_IN)
    if status in _NOT_AN_API:
        return BadInput(
            where, f"no KFP API is there ({status})", "check the path, often HOST/pipeline"
        )
    return BadInput(where, f"the KFP API answers {status}", "try again, or see its log")


@contextmanager
def api_error(host: str) -> Iterator[None]:
    """Turn the KFP client's errors into one line. Raises BadInput."""
    import urllib3
    from kfp_server_api import ApiException

    where = f"--host {host}"
    try:
        yield
    except ApiException as error:
        status = int(error.status or 0)
        if status in (*_NOT_LOGGED_IN, *_NOT_AN_API) or 300 <= status < 400 or not status:
            raise _refusal(where, status) from None
        raise BadInput(where, f"answers {status}: {_said(error)}", "mend what it names") from None
    except urllib3.exceptions.HTTPError as error:
        raise BadInput(where, f"went away ({error})", "try again") from None


def _said(error: Any) -> str:
    """The message inside an API's error, on one line."""
    try:
        body = json.loads(error.body)
        text = str(body.get("message") or body.get("error") or body)
    except (ValueError, TypeError, AttributeError):
        text = str(error.reason or "no reason")
    return " ".join(text.split())[:300]


def proven(host: str, what: str, given: object, found: object) -> str:
    """The id that the API gave, when it is one and is found again under it.

    Raises:
        BadInput: no id, or another one: a page or a proxy answered in the API's place.
    """
    if not isinstance(given, str) or not given or given != found:
        raise BadInput(
            f"--host {host}", f"gave no {what} that can be found again", f"nothing ran; {LOG_IN}"
        )
    return given
