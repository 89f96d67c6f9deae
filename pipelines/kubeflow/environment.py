"""The environment that a cluster's secret and its certificates give the steps."""

from __future__ import annotations

from collections.abc import Iterable

PREFIXES = ("AWS_", "MLFLOW_", "SSL_", "REQUESTS_", "OPENLINEAGE_", "GLIOFLOW_")
"""Beginnings of the names of keys that a secret may hand to the steps."""

SECRET_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
    "AWS_MAX_ATTEMPTS",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "OPENLINEAGE_URL",
    "OPENLINEAGE_API_KEY",
    "OPENLINEAGE_NAMESPACE",
    "GLIOFLOW_WEBHOOK_URL",
    "GLIOFLOW_SIGNING_KEY",
    "GLIOFLOW_SIGNING_CERTIFICATE",
)
"""Keys of a cluster's secret that every step is given; each is optional. KFP maps keys one by one,
so others are named in the profile (`cluster.secret_keys`)."""

CA_FOLDER = "/etc/glioflow/ca"
CA_FILE = f"{CA_FOLDER}/ca.crt"
CA_VARIABLES = ("GLIOFLOW_AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables by which boto3, requests (MLflow) and OpenSSL are told a file of certificates."""


def secret_environment(more: Iterable[str] = ()) -> dict[str, str]:
    """Key of the secret -> variable of the step.

    AWS_ keys become GLIOFLOW_AWS_ variables: KFP's launcher runs in the same container, and would
    look for its own pipeline root at the address and with the keys that are meant for the cohorts.
    """
    keys = dict.fromkeys((*SECRET_KEYS, *more))
    return {key: f"GLIOFLOW_{key}" if key.startswith("AWS_") else key for key in keys}
