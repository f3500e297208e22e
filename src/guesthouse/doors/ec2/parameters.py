"""Public parameters of Systems Manager: what clients ask to find the newest AMI of a family.

Rules
-----
1. A request is JSON, its operation in the header ``X-Amz-Target``; so are its refusals. Who asks is known as with EC2.
2. Parameters are those that stand for images (`images.find`). They are read, and nothing else.
3. An argument that an operation does not take is refused by its name.

Source: AWS Systems Manager API Reference, "GetParameter", "GetParameters", "GetParametersByPath"; the protocol
``json`` 1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from guesthouse.catalog.places import REGION
from guesthouse.doors.ec2.images import find, view
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.resources import Image

TARGET, MEDIA_TYPE = "x-amz-target", "application/x-amz-json-1.1"
NOUNS = ("images",)
_SERVICE = "AmazonSSM."
_FAMILIES = "/aws/service/guesthouse/images"
_MAX_NAMES = 10


class Operation(NamedTuple):
    """What it answers, and the arguments that it takes, with the types of those that must be there."""

    answer: Callable[[Stock, Mapping[str, Any]], Mapping[str, Any]]
    needs: Mapping[str, Any]
    takes: tuple[str, ...] = ()


def answer(target: str, body: bytes, stock: Stock) -> bytes:
    """The document that a request is answered with; raises `Fault`."""
    operation = OPERATIONS.get(target.removeprefix(_SERVICE)) if target.startswith(_SERVICE) else None
    if operation is None:
        raise Fault("UnknownOperationException", f"The operation {target[:100]} is not supported here; see docs/ec2.md")
    return msgspec.json.encode(operation.answer(stock, _arguments(operation, body)))


def refusal(fault: Fault) -> bytes:
    """A refusal as clients of this protocol read it."""
    return msgspec.json.encode({"__type": fault.code, "message": fault.message})


def _arguments(operation: Operation, body: bytes) -> Mapping[str, Any]:
    try:
        said = msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except msgspec.DecodeError:
        raise Fault("SerializationException", "The body of the request is no JSON object") from None
    for name in said:
        if name not in operation.needs and name not in operation.takes:
            raise Fault("ValidationException", f"The parameter {name[:100]} is not supported here; see docs/ec2.md")
    for name, kind in operation.needs.items():
        try:
            msgspec.convert(said.get(name), kind)
        except msgspec.ValidationError:
            raise Fault("ValidationException", f"The parameter {name} is missing, or of another type") from None
    return said


def _one(stock: Stock, said: Mapping[str, Any]) -> Mapping[str, Any]:
    image = find.of_parameter(stock, said["Name"])
    if image is None:
        raise Fault("ParameterNotFound", f"Parameter {said['Name'][:200]} not found.")
    return {"Parameter": _parameter(said["Name"], image)}


def _several(stock: Stock, said: Mapping[str, Any]) -> Mapping[str, Any]:
    names = list(dict.fromkeys(said["Names"]))
    if not 1 <= len(names) <= _MAX_NAMES:
        raise Fault("ValidationException", f"{len(names)} names: from 1 to {_MAX_NAMES}")
    found = {name: image for name in names if (image := find.of_parameter(stock, name)) is not None}
    return {
        "Parameters": [_parameter(name, image) for name, image in found.items()],
        "InvalidParameters": [name for name in names if name not in found],
    }


def _below(stock: Stock, said: Mapping[str, Any]) -> Mapping[str, Any]:
    """The house's own names of families. They lie in one folder."""
    if said["Path"].rstrip("/") != _FAMILIES:
        return {"Parameters": []}
    families = sorted({image.family or image.name for image in view.amis(stock).values()})
    found = ((name, find.of_parameter(stock, name)) for name in (f"{_FAMILIES}/{family}" for family in families))
    return {"Parameters": [_parameter(name, image) for name, image in found if image is not None]}


def _parameter(name: str, image: Image) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "String",
        "Value": ec2_id("ami", image.id),
        "Version": 1,
        "LastModifiedDate": image.created_at,
        "ARN": f"arn:aws:ssm:{REGION}::parameter{name}",
        "DataType": "aws:ec2:image",
    }


OPERATIONS = {
    "GetParameter": Operation(_one, {"Name": str}, ("WithDecryption",)),
    "GetParameters": Operation(_several, {"Names": list[str]}, ("WithDecryption",)),
    "GetParametersByPath": Operation(_below, {"Path": str}, ("Recursive", "WithDecryption")),
}
