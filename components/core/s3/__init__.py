"""Objects in S3: brought to disk, cached by ETag, verified, retried, resumed; read and written.

Endpoint, region and credentials come from the standard AWS environment (AWS_ENDPOINT_URL,
AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_PROFILE ...), as boto3 reads it.
"""

from components.core.s3.address import (
    SCHEME,
    is_remote,
    parent_of,
    s3_cache_folder,
)
from components.core.s3.cache import local_copy, remote_version
from components.core.s3.objects import (
    fetch_object,
    read_object,
    sha256_object,
    upload_object,
    write_object,
)

__all__ = [
    "SCHEME",
    "fetch_object",
    "is_remote",
    "local_copy",
    "parent_of",
    "read_object",
    "remote_version",
    "s3_cache_folder",
    "sha256_object",
    "upload_object",
    "write_object",
]
