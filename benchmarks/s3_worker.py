"""One fetch from S3 in a fresh process, by the client that is named: run by ``s3_client.py``, prints its times as JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from gluon_lambda.archive_store import s3_transfer
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.archive_store.s3 import S3Client, make_full_client, make_s3_client


class Signed:
    """GetObject by botocore's signer and botocore's own HTTP session, without its clients."""

    def __init__(self) -> None:
        from botocore.auth import S3SigV4Auth
        from botocore.credentials import Credentials
        from botocore.httpsession import URLLib3Session

        credentials = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        self._signer = S3SigV4Auth(credentials, "s3", os.environ["AWS_DEFAULT_REGION"])
        self._session = URLLib3Session(max_pool_connections=s3_transfer.CONNECTIONS, verify=ca_bundle())

    def get_object(self, **request: Any) -> dict[str, Any]:
        """GetObject, once."""
        from botocore.awsrequest import AWSRequest
        from botocore.response import StreamingBody

        url = f"{os.environ['AWS_ENDPOINT_URL_S3']}/{request['Bucket']}/{request['Key']}"
        asked = {"Range": request.get("Range"), "If-Match": request.get("IfMatch")}
        headers = {name: value for name, value in asked.items() if value}
        signed = AWSRequest("GET", url, headers, stream_output=True)
        self._signer.add_auth(signed)
        answer = self._session.send(signed.prepare())
        length = int(answer.headers["content-length"])
        body = StreamingBody(answer.raw, length)
        span = answer.headers["content-range"]
        return {"Body": body, "ContentLength": length, "ContentRange": span, "ETag": answer.headers["etag"]}

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        """Not measured."""
        raise NotImplementedError

    def close(self) -> None:
        """End the connections."""
        self._session.close()


def session_client() -> S3Client:
    """botocore's client without boto3."""
    from botocore.session import get_session

    client: S3Client = get_session().create_client("s3", verify=ca_bundle())
    return client


def ca_bundle() -> str | bool:
    """What AWS_CA_BUNDLE says."""
    return os.environ.get("AWS_CA_BUNDLE") or True


def lean_client() -> S3Client:
    """The handler's, once it is sure that it is not boto3's."""
    client = make_s3_client()
    if type(client).__name__ != "LeanClient":
        raise RuntimeError("the environment holds more than the lean client understands")
    return client


CLIENTS: dict[str, Callable[[], S3Client]] = {
    "boto3": make_full_client,
    "botocore": session_client,
    "signer+urllib3": Signed,
    "lean": lean_client,
}


def fetch(client: str, url: str, sink: str) -> dict[str, float]:
    """Fetch an object into a file; the times in milliseconds since the beginning."""
    started = time.perf_counter()
    made = CLIENTS[client]()
    ready = time.perf_counter()
    opening = s3_transfer.open_object(parse_location(url), made)
    answered = time.perf_counter()
    descriptor = os.open(sink, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.posix_fallocate(descriptor, 0, opening.size)
    with s3_transfer.Transfer(made, opening, s3_transfer.parts_of(opening)) as transfer:
        transfer.run([s3_transfer.Place(0, opening.size, descriptor)], with_digest=False)
    done = time.perf_counter()
    os.close(descriptor)
    os.unlink(sink)
    ends = {"made": ready, "answered": answered, "whole": done}
    return {name: 1000 * (end - started) for name, end in ends.items()}


def beside_imports(client: str, url: str, sink: str, switch_seconds: float) -> dict[str, float]:
    """The same in a thread, while the main thread imports NumPy and Pillow; ``both`` is when the later one is done."""
    sys.setswitchinterval(switch_seconds)
    times: dict[str, float] = {}
    started = time.perf_counter()
    thread = threading.Thread(target=lambda: times.update(fetch(client, url, sink)))
    thread.start()
    import numpy  # noqa: F401
    import PIL.Image
    import PIL.JpegImagePlugin  # noqa: F401

    times["imports"] = 1000 * (time.perf_counter() - started)
    thread.join()
    times["both"] = 1000 * (time.perf_counter() - started)
    return times


def main(client: str, url: str, sink: str, connections: str, beside: str) -> None:
    """Fetch, alone or beside imports."""
    # What awslambdaric has loaded is no cost of the client's.
    import awslambdaric.bootstrap  # noqa: F401

    s3_transfer.CONNECTIONS = int(connections)
    times = beside_imports(client, url, sink, float(beside)) if beside != "alone" else fetch(client, url, sink)
    print(json.dumps(times))


if __name__ == "__main__":
    main(*sys.argv[1:])
