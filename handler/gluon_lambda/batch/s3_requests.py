"""What batches ask of S3, as the lean client sends it and as it answers, in boto3's form: Amazon S3 API Reference, the operations' own pages.

Bodies are signed with their SHA-256, and carry the CRC-32 that boto3 would send, too: S3 refuses what was damaged on the way, and buckets with
Object Lock want one.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gluon_lambda.archive_store.s3_lean import Answer, Call, answer_of, get_call, query_of
from gluon_lambda.batch.s3_xml import completion, deletions, deletions_answer, listing, text_of

_CHECKSUM = "x-amz-checksum-crc32"
_METADATA = "x-amz-meta-"
_XML = {"Content-Type": "application/xml"}
# Of an answer's headers, those that are no part of every one.
_SAID = {"x-amz-version-id": "VersionId", "content-type": "ContentType", "content-encoding": "ContentEncoding"}

Request = Mapping[str, Any]


class Operation(NamedTuple):
    """One of S3's operations.

    Attributes:
        call: Makes the HTTP request of boto3's parameters.
        read: Makes boto3's answer, as far as it is used, of what came.
    """

    call: Callable[[Request], Call]
    read: Callable[[Answer], dict[str, Any]]


def described(answer: Answer) -> dict[str, Any]:
    """GetObject's and HeadObject's answer, with what was stored beside the content."""
    headers = answer.head.headers
    said = {name: headers[header] for header, name in _SAID.items() if header in headers}
    metadata = {name.removeprefix(_METADATA): value for name, value in headers.items() if name.startswith(_METADATA)}
    return {**answer_of(answer), **said, "Metadata": metadata}


def _nothing(_: Answer) -> dict[str, Any]:
    return {}


def _head(request: Request) -> Call:
    return get_call(request)._replace(operation="HeadObject", method="HEAD", streams=False)


def _put(request: Request) -> Call:
    described = {"Content-Type": request["ContentType"], **_metadata(request)}
    headers = {**described, "If-None-Match": request["IfNoneMatch"], **_checksum(request["Body"])}
    return Call("PutObject", "PUT", request["Key"], headers=headers, body=request["Body"])


def _create(request: Request) -> Call:
    headers = {"Content-Type": request["ContentType"], **_metadata(request), "x-amz-checksum-algorithm": "CRC32"}
    return Call("CreateMultipartUpload", "POST", request["Key"], "?uploads=", headers)


def _upload(request: Request) -> Call:
    query = query_of(partNumber=str(request["PartNumber"]), uploadId=request["UploadId"])
    return Call("UploadPart", "PUT", request["Key"], query, _checksum(request["Body"]), request["Body"])


def _uploaded(answer: Answer) -> dict[str, Any]:
    headers = answer.head.headers
    return {"ETag": headers.get("etag", ""), **({"ChecksumCRC32": headers[_CHECKSUM]} if _CHECKSUM in headers else {})}


def _complete(request: Request) -> Call:
    body = completion(request["MultipartUpload"]["Parts"])
    headers = {**_XML, "If-None-Match": request["IfNoneMatch"]}
    return Call(
        "CompleteMultipartUpload", "POST", request["Key"], query_of(uploadId=request["UploadId"]), headers, body
    )


def _abort(request: Request) -> Call:
    return Call("AbortMultipartUpload", "DELETE", request["Key"], query_of(uploadId=request["UploadId"]))


def _list(request: Request) -> Call:
    parameters = {"list-type": "2", "prefix": request["Prefix"], "encoding-type": "url"}
    query = query_of(**parameters, **{"continuation-token": request.get("ContinuationToken", "")})
    return Call("ListObjectsV2", "GET", "", query)


def _delete_all(request: Request) -> Call:
    body = deletions([entry["Key"] for entry in request["Delete"]["Objects"]])
    return Call("DeleteObjects", "POST", "", "?delete=", {**_XML, **_checksum(body)}, body)


def _delete(request: Request) -> Call:
    return Call("DeleteObject", "DELETE", request["Key"])


def _metadata(request: Request) -> dict[str, str]:
    return {f"{_METADATA}{name}": value for name, value in request["Metadata"].items()}


def _checksum(body: bytes | bytearray | memoryview) -> dict[str, str]:
    sum_ = binascii.b2a_base64(zlib.crc32(body).to_bytes(4, "big"), newline=False).decode("ascii")
    return {"x-amz-sdk-checksum-algorithm": "CRC32", _CHECKSUM: sum_}


# By the names of boto3's methods.
OPERATIONS: Mapping[str, Operation] = {
    "get_object": Operation(get_call, described),
    "head_object": Operation(_head, described),
    "put_object": Operation(_put, _nothing),
    "create_multipart_upload": Operation(_create, lambda answer: {"UploadId": text_of(answer.text, "UploadId")}),
    "upload_part": Operation(_upload, _uploaded),
    "complete_multipart_upload": Operation(_complete, _nothing),
    "abort_multipart_upload": Operation(_abort, _nothing),
    "list_objects_v2": Operation(_list, lambda answer: listing(answer.text)),
    "delete_objects": Operation(_delete_all, lambda answer: deletions_answer(answer.text)),
    "delete_object": Operation(_delete, _nothing),
}
