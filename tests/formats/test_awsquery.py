"""Requests and answers: what botocore writes is read, what is written botocore reads."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import EC2QueryParser
from botocore.serialize import EC2Serializer
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guesthouse.formats.awsquery import shapes
from guesthouse.formats.awsquery.answer import PIECE_BYTES, Lasting, Same, Source, Writer, refusal
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.awsquery.request import Reader, tree

MODEL = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")
KNOWN = shapes.read((resources.files("guesthouse.doors.ec2") / "shapes" / "ec2.json").read_bytes())
READER, WRITER = Reader(KNOWN), Writer(KNOWN)
ACTIONS = sorted(KNOWN.operations)
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)).map(
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000, tzinfo=UTC)
)


@cache
def values(name: str, depth: int = 4) -> st.SearchStrategy[Any]:
    """Values of a shape, as botocore's callers give them."""
    shape = KNOWN.shapes[name]
    if shape.kind == "structure":
        members = {key: values(member.shape, depth - 1) for key, member in shape.members.items()} if depth else {}
        required = {key: members[key] for key in shape.required if key in members}
        others = {key: value for key, value in members.items() if key not in required}
        return st.fixed_dictionaries(required, optional=dict(list(others.items())[:6]))
    if shape.kind == "list":
        return st.lists(values(shape.item, depth - 1), min_size=1, max_size=2) if depth else st.just([])
    if shape.values:
        return st.sampled_from(shape.values)
    least = int(shape.least or 0)
    scalars: dict[str, st.SearchStrategy[Any]] = {
        "string": _TEXT,
        "boolean": st.booleans(),
        "integer": st.integers(least, int(shape.most or 9999)),
        "long": st.integers(least, int(shape.most or 9999)),
        "float": st.floats(0, 1, width=16),
        "double": st.floats(0, 1, width=16),
        "timestamp": _TIMES,
        "blob": st.binary(max_size=5),
    }
    return scalars[shape.kind]


@pytest.mark.parametrize("action", ACTIONS)
@settings(max_examples=6)
@given(data=st.data())
def test_what_botocore_writes_is_read(action: str, data: Any) -> None:
    shape = KNOWN.operations[action].input
    said = data.draw(values(shape))
    # A list of nothing is not on the wire, and would be missed.
    assume(_without_empty(said).keys() >= set(KNOWN.shapes[shape].required))
    body = EC2Serializer().serialize_to_request(said, MODEL.operation_model(action))["body"]
    pairs = [(name, text if isinstance(text, str) else str(text)) for name, text in body.items()]
    outer = ("Action", "Version")
    read = READER.arguments(action, [(name, text) for name, text in pairs if name not in outer])
    assert _plain(read) == _plain(_without_empty(said))


@pytest.mark.parametrize("action", ACTIONS)
@settings(max_examples=6)
@given(data=st.data())
def test_what_is_written_botocore_reads(action: str, data: Any) -> None:
    output = KNOWN.operations[action].output
    said = data.draw(values(output)) if output else {}
    document = WRITER.answer(action, said, "the-request")
    shape = MODEL.operation_model(action).output_shape
    response = {"body": document, "status_code": 200, "headers": {}}
    parsed = EC2QueryParser().parse(response, shape)
    assert parsed.pop("ResponseMetadata")["RequestId"] == "the-request"
    parsed = {name: value for name, value in parsed.items() if value != []}
    assert _plain(_without_empty(parsed)) == _plain(_without_empty(said))


def _without_empty(value: Any) -> Any:
    """Without structures and lists that have nothing in them: they are not on the wire."""
    if isinstance(value, dict):
        kept = {name: _without_empty(part) for name, part in value.items()}
        return {name: part for name, part in kept.items() if part not in ({}, [], None)}
    if isinstance(value, list):
        return [part for part in map(_without_empty, value) if part not in ({}, [], None)]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.astimezone(UTC).replace(microsecond=0) if isinstance(value, datetime) else value


@pytest.mark.parametrize(
    ("pairs", "code", "named"),
    [
        ([("Nonsense", "x")], "UnknownParameter", "Nonsense"),
        ([("Filter.1.Nonsense", "x")], "UnknownParameter", "Filter.1.Nonsense"),
        ([("MaxResults", "many")], "InvalidParameterValue", "MaxResults"),
        ([("MaxResults.1", "1")], "InvalidParameterValue", "MaxResults"),
        ([("DryRun", "perhaps")], "InvalidParameterValue", "DryRun"),
        ([("Filter", "x")], "InvalidParameterValue", "Filter"),
        ([("Filter.x.Name", "y")], "InvalidParameterValue", "x"),
        ([("Filter.-1.Name", "y")], "InvalidParameterValue", "-1"),
        ([("InstanceId.1", "i"), ("InstanceId.1", "j")], "MalformedQueryString", "InstanceId.1"),
        ([("InstanceId.1", "i"), ("InstanceId.1.x", "j")], "MalformedQueryString", "InstanceId.1.x"),
        ([("a" + ".1" * 40, "x")], "MalformedQueryString", "nested"),
    ],
)
def test_what_is_wrong_is_named(pairs: list[tuple[str, str]], code: str, named: str) -> None:
    with pytest.raises(Fault) as caught:
        READER.arguments("DescribeInstances", pairs)
    assert caught.value.code == code
    assert named in caught.value.message


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Fault, match=r"MinCount|MaxCount") as caught:
        READER.arguments("RunInstances", [("ImageId", "ami")])
    assert caught.value.code == "MissingParameter"


def test_lists_may_have_holes_and_wrappers() -> None:
    for pairs in (
        [("InstanceId.7", "b"), ("InstanceId.2", "a")],
        [("InstanceId.member.1", "a"), ("InstanceId.member.2", "b")],
    ):
        assert READER.arguments("DescribeInstances", pairs) == {"InstanceIds": ["a", "b"]}


def test_a_tree_of_names() -> None:
    assert tree([("A.1.B", "c"), ("A.1.D", "e")]) == {"A": {"1": {"B": "c", "D": "e"}}}


def test_what_xml_cannot_hold_is_left_out() -> None:
    tags = [{"Key": "a<&>\x00\ud800", "Value": "]]>"}]
    document = WRITER.answer("DescribeKeyPairs", {"KeyPairs": [{"KeyName": "k", "Tags": tags}]}, "r")
    assert b"a&lt;&amp;&gt;</key>" in document
    assert b"<value>]]&gt;</value>" in document
    assert b"</Message>" in refusal(Fault("A", "<\x01>"), "r")


def test_what_lasts_is_written_once() -> None:
    made = []

    def make(name: str) -> dict[str, Any]:
        made.append(name)
        return {"KeyName": name, "KeyType": None}

    lasting = Lasting(Source(make, ("Outer", str.upper)), "k")
    plain = WRITER.answer("DescribeKeyPairs", {"KeyPairs": [{"KeyName": "k"}]}, "r")
    for _ in range(2):
        assert WRITER.answer("DescribeKeyPairs", {"KeyPairs": [lasting]}, "r") == plain
    assert made == ["k"]
    assert dict(lasting) == {"KeyName": "k", "KeyType": None, "Outer": "K"}


def test_what_is_the_same_in_many_is_written_once() -> None:
    same = Same(Code=16, Name="running")
    said = {"InstanceStatuses": [{"InstanceState": same}, {"InstanceState": same}]}
    plain = {"InstanceStatuses": [{"InstanceState": dict(same)}] * 2}
    assert WRITER.answer("DescribeInstanceStatus", said, "r") == WRITER.answer("DescribeInstanceStatus", plain, "r")
    assert same.xml == "<code>16</code><name>running</name>"


def test_a_large_answer_comes_in_pieces() -> None:
    keys = [{"KeyName": f"{number}-ü-{'k' * 100}"} for number in range(10_000)]
    pieces = list(WRITER.pieces("DescribeKeyPairs", {"KeyPairs": keys}, "r"))
    assert b"".join(pieces) == WRITER.answer("DescribeKeyPairs", {"KeyPairs": keys}, "r")
    assert max(map(len, pieces)) < 2 * PIECE_BYTES
    assert len(pieces) > 4


def test_an_unknown_member_is_a_fault_of_ours() -> None:
    with pytest.raises(KeyError):
        WRITER.answer("DescribeKeyPairs", {"KeyPair": []}, "r")
