"""The S3 client of this process, and what its errors mean for whoever runs the pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from components.core.errors import BadInput, Outage, Unreachable, outage_of
from components.core.s3.address import parse, s3_cache_folder

ATTEMPTS = 5
"""Requests without any progress before a download is given up; AWS_MAX_ATTEMPTS overrides it."""

CHUNK = 1 << 20

CHECKSUMS = "when_required"
"""Checksums of requests and answers, unless AWS_REQUEST_CHECKSUM_CALCULATION or
AWS_RESPONSE_CHECKSUM_VALIDATION say otherwise: many S3 servers refuse botocore's own default
(when_supported) with 400 or 501. Downloads are verified by their ETag either way."""

_SETTINGS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
    "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE",
    "AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION",
)  # fmt: skip
"""Variables read here; each also as GLIOFLOW_<name>, which comes first: in a pipeline's pod KFP's
own launcher reads the AWS ones for its pipeline root, which may lie in another store."""

_CREDENTIALS = {
    "ExpiredToken": "the credentials have expired",
    "ExpiredTokenException": "the credentials have expired",
    "TokenRefreshRequired": "the credentials have expired",
    "InvalidToken": "the session token is not valid",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "AuthorizationHeaderMalformed": "the request was signed for another region",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "AccountProblem": "the account is blocked",
    "NotSignedUp": "the account is not signed up",
}
"""S3's error code -> what it says of the credentials."""

_RENEW = (
    "renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN (the region: "
    "AWS_DEFAULT_REGION), then run again"
)
_FULL = ("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "EntityTooLarge")
_UNKNOWN_TO_STORE = ("NotImplemented", "XAmzContentChecksumMismatch")
_NO_REASON = ("400", "401", "403")


def client() -> Any:
    """This process's S3 client: connections must not be shared across a fork."""
    return _client_of(os.getpid(), tuple(_setting(name) for name in _SETTINGS))


def _setting(name: str) -> str:
    return os.environ.get(f"GLIOFLOW_{name}") or os.environ.get(name, "")


@lru_cache(maxsize=4)
def _client_of(process: int, values: tuple[str, ...]) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import PartialCredentialsError

    given = {name: value or None for name, value in zip(_SETTINGS, values, strict=True)}
    for name in _SETTINGS[:2]:
        if given[name] is None and any(values[:2]):
            raise PartialCredentialsError(provider="environment", cred_var=name)
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts()},
        connect_timeout=10,
        read_timeout=60,
        request_checksum_calculation=given["AWS_REQUEST_CHECKSUM_CALCULATION"] or CHECKSUMS,
        response_checksum_validation=given["AWS_RESPONSE_CHECKSUM_VALIDATION"] or CHECKSUMS,
    )
    session = boto3.Session(
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=given["AWS_SESSION_TOKEN"],
        region_name=given["AWS_DEFAULT_REGION"],
        profile_name=given["AWS_PROFILE"],
    )
    return session.client(
        "s3",
        config=config,
        endpoint_url=given["AWS_ENDPOINT_URL_S3"] or given["AWS_ENDPOINT_URL"],
        verify=given["AWS_CA_BUNDLE"],
    )


def attempts() -> int:
    """Requests without progress before giving up. Raises BadInput where it is no number."""
    given = _setting("AWS_MAX_ATTEMPTS")
    if given and not given.isdecimal():
        raise BadInput("AWS_MAX_ATTEMPTS", f"'{given}' is not a number", "give 1 or more")
    return int(given or ATTEMPTS)


def head(bucket: str, key: str, **more: Any) -> dict[str, Any] | None:
    """What S3 says of an object; None where there is none.

    An answer to HEAD has no body, and so no reason: a refusal is asked again by GET.
    """
    from botocore.exceptions import ClientError

    try:
        return client().head_object(Bucket=bucket, Key=key, **more)
    except ClientError as error:
        if status_of(error) == 404:
            return None
        if _code(error) in _NO_REASON:
            client().get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
        raise


def status_of(error: Any) -> int:
    """HTTP status of a ClientError; 0 where it has none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def s3_error(address: str, folder: Path | None = None) -> Iterator[None]:
    """Turn boto's errors into ours; `folder` is where the copy goes, by default the cache.

    Raises:
        BadInput: no such object, or no valid bucket name.
        Outage: refused, away, misconfigured, or the disk is full: it concerns every object.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        yield
    except ClientError as error:
        raise _answered(address, error) from None
    except ParamValidationError:
        raise BadInput(address, "not a bucket or key that S3 takes", "check them") from None
    except BotoCoreError as error:
        raise _not_asked(address, error) from None
    except ValueError as error:
        raise Outage("AWS_ENDPOINT_URL", str(error), "write https://HOST:PORT") from None
    except OSError as error:
        known = outage_of(error, address)
        raise Outage(
            address,
            f"cannot be written to {folder or s3_cache_folder()} ({error.strerror})",
            f"{known.remedy if known else 'make room'} (GLIOFLOW_CACHE moves the cache); the "
            "download goes on where it stopped",
        ) from None


def _answered(address: str, error: Any) -> BadInput:
    """S3's answer as an error of ours."""
    status, code = status_of(error), _code(error)
    if code in _CREDENTIALS:
        return Outage(address, f"S3 refuses: {_CREDENTIALS[code]} ({code})", _RENEW)
    if status == 507 or code in _FULL:
        return Outage(
            address, f"the store is full ({code or status})", "make room, or raise its quota"
        )
    if status in (401, 403):
        return _refused(address, status, code)
    if status == 404:
        return Unreachable(address, "no such object in S3", "check bucket and key")
    if status == 407:
        return Outage(
            address, "the proxy wants a login (407)", "put user and password in HTTPS_PROXY"
        )
    if status in (301, 307, 308) or code in ("PermanentRedirect", "IllegalLocationConstraint"):
        return Outage(address, f"the bucket lies elsewhere ({status})", "set AWS_DEFAULT_REGION")
    if status == 501 or code in _UNKNOWN_TO_STORE:
        return Outage(
            address,
            f"the store does not know what it was sent ({status} {code})",
            "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required and "
            "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required",
        )
    return Outage(address, f"S3 answers {status}", "run again later")


def _refused(address: str, status: int, code: str) -> Outage:
    """A refusal in words: S3 says 403 for a missing key, too, to those who may not list."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = parse(address)
    try:
        client().list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    except (ClientError, BotoCoreError):
        return Outage(
            address,
            f"access refused by S3 ({status} {code}), or no such object: without s3:ListBucket "
            "both look the same",
            "allow s3:GetObject and s3:ListBucket to these credentials, and check the key",
        )
    return Outage(
        address,
        f"access refused by S3 ({status} {code}); the bucket may be listed",
        "allow s3:GetObject (to write: s3:PutObject) to these credentials",
    )


def _not_asked(address: str, error: Any) -> Outage:
    """What stopped a request before S3 answered it."""
    from botocore import exceptions as known

    no_login = (
        known.NoCredentialsError,
        known.PartialCredentialsError,
        known.CredentialRetrievalError,
        known.MetadataRetrievalError,
        known.TokenRetrievalError,
        known.SSOError,
        known.ProfileNotFound,
    )
    if isinstance(error, no_login):
        return Outage(
            address,
            f"no AWS credentials ({error})",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    if isinstance(error, known.SSLError):
        return Outage(
            address,
            f"S3's certificate is not trusted ({error})",
            "set AWS_CA_BUNDLE to the file of the authority that signed it",
        )
    if isinstance(error, known.ProxyConnectionError):
        return Outage(address, f"the proxy refuses ({error})", "check HTTPS_PROXY and its login")
    return Outage(
        address, f"S3 cannot be reached ({error})", "check AWS_ENDPOINT_URL and the network"
    )
