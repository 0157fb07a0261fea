"""What AWS's variables say of S3, for the lean client: only what it can be sure of.

Names, order and meaning are botocore's (botocore/configprovider.py, botocore/credentials.py: EnvProvider). Wherever a setting could
change how a request is made and is not understood here, the answer is None, and boto3's own client does the work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

# Retries of the AWS SDKs' standard mode; one attempt more than its default, since a failed INIT costs more than a wait.
ATTEMPTS = 4

# botocore would read a configuration, a proxy or a policy out of these.
NOT_UNDERSTOOD = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_DATA_PATH",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_DEFAULTS_MODE",
    "AWS_AUTH_SCHEME_PREFERENCE",
    "AWS_SIGV4A_SIGNING_REGION_SET",
    "AWS_CSM_ENABLED",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
)

# Regions and host suffixes of the partitions (botocore/data/partitions.json); the isolated ones are left to botocore.
SUFFIXES = (
    (re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d+|us-gov-[a-z]+-\d+"), "amazonaws.com"),
    (re.compile(r"cn-[a-z]+-\d+"), "amazonaws.com.cn"),
)

# A bucket that can be part of a host name under S3's wildcard certificate; any other one stands in the path.
HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# What botocore takes for a bucket's name; it says what is wrong with others.
BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
# Directory buckets want a session, Outposts and Object Lambda endpoints of their own.
SPECIAL_BUCKET = re.compile(r".*(--x-s3|--op-s3|--ol-s3|--xa-s3)|arn:.*")


class Credentials(NamedTuple):
    """What botocore's signer wants of credentials."""

    access_key: str
    secret_key: str
    token: str | None


class S3Settings(NamedTuple):
    """How S3 is reached.

    Attributes:
        credentials: The function's role's.
        region: What is signed for.
        endpoint: ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL``; ``""`` for AWS's own.
        host: AWS's own endpoint of the region.
        ca_bundle: ``AWS_CA_BUNDLE`` or ``REQUESTS_CA_BUNDLE``; ``""`` for the usual certificates.
        attempts: How often a request is tried.
    """

    credentials: Credentials
    region: str
    endpoint: str
    host: str
    ca_bundle: str
    attempts: int


class Address(NamedTuple):
    """Where a bucket's objects are asked for.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Name or number, as the Host header has it.
        port: TCP's.
        prefix: What precedes the key in the path; ends with ``/``.
    """

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """Host and port, the port only where the scheme does not imply it."""
        implied = self.port == (443 if self.scheme == "https" else 80)
        return self.host if implied else f"{self.host}:{self.port}"


def region_of(environ: Mapping[str, str]) -> str:
    """The region; botocore reads only the first of the two, Lambda sets both."""
    return environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION") or ""


def read_settings(environ: Mapping[str, str]) -> S3Settings | None:
    """What the environment says; None where the lean client cannot be sure to do as botocore does."""
    attempts = environ.get("AWS_MAX_ATTEMPTS") or str(ATTEMPTS)
    region, host = region_of(environ), regional_host(environ)
    credentials = read_credentials(environ)
    is_plain = not any(environ.get(name) for name in NOT_UNDERSTOOD) and environ.get("AWS_RETRY_MODE", "") in (
        "",
        "standard",
    )
    if not (is_plain and credentials and region and attempts.isdigit() and int(attempts)) or has_config_file():
        return None
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    if not (is_usable(endpoint) if endpoint else host):
        return None
    ca_bundle = environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE") or ""
    return S3Settings(credentials, region, endpoint, host, ca_bundle, int(attempts))


def read_credentials(environ: Mapping[str, str]) -> Credentials | None:
    """The credentials that Lambda sets; without them botocore's chain has to be asked (profiles, containers, SnapStart)."""
    access, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    return Credentials(access, secret, environ.get("AWS_SESSION_TOKEN") or None) if access and secret else None


def has_config_file() -> bool:
    """Whether this user has settings of botocore's in a file. Lambda has none."""
    return os.path.exists(os.path.expanduser("~/.aws/config"))


def regional_host(environ: Mapping[str, str]) -> str:
    """S3's host in the region, ``""`` where it is not known."""
    region = region_of(environ)
    suffix = next((suffix for pattern, suffix in SUFFIXES if pattern.fullmatch(region)), "")
    fips = "-fips" if is_true(environ, "AWS_USE_FIPS_ENDPOINT") else ""
    dualstack = ".dualstack" if is_true(environ, "AWS_USE_DUALSTACK_ENDPOINT") else ""
    if not suffix or (fips and suffix.endswith(".cn")):
        return ""
    return f"s3{fips}{dualstack}.{region}.{suffix}"


def is_true(environ: Mapping[str, str], name: str) -> bool:
    """Whether botocore would take a variable as a yes (botocore.utils.ensure_boolean)."""
    return environ.get(name, "").lower() == "true"


def is_usable(endpoint: str) -> bool:
    """Whether a custom endpoint is no more than scheme, host, port and path."""
    try:
        url = urlsplit(endpoint)
        return (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and url.port != 0
            and not ("@" in url.netloc or "[" in url.netloc or url.query or url.fragment)
        )
    except ValueError:  # urlsplit's, for a port that is no number
        return False


def address_of(bucket: str, settings: S3Settings) -> Address | None:
    """Where a bucket is asked: at a custom endpoint in the path, at AWS's own in the host name where that can be.

    None for buckets of a kind that only botocore knows how to ask.
    """
    if SPECIAL_BUCKET.fullmatch(bucket) or not BUCKET.fullmatch(bucket):
        return None
    if settings.endpoint:
        url = urlsplit(settings.endpoint)
        port = url.port or (443 if url.scheme == "https" else 80)
        return Address(url.scheme, url.hostname or "", port, f"{url.path.rstrip('/')}/{quote(bucket)}/")
    if HOST_LABEL.fullmatch(bucket):
        return Address("https", f"{bucket}.{settings.host}", 443, "/")
    return Address("https", settings.host, 443, f"/{quote(bucket)}/")
