"""From EC2's ids to the house's: by what a project has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import begins_ec2
from guesthouse.model.errors import Invalid

Thing = TypeVar("Thing")

# By the prefix of an id: the word of EC2's errors, and what people call it.
WORDS = {
    "i": ("InvalidInstanceID", "instance"),
    "ami": ("InvalidAMIID", "image"),
    "vol": ("InvalidVolume", "volume"),
    "snap": ("InvalidSnapshot", "snapshot"),
    "key": ("InvalidKeyPair", "key pair"),
    "vpc": ("InvalidVpcID", "vpc"),
    "subnet": ("InvalidSubnetID", "subnet"),
    "sg": ("InvalidGroup", "security group"),
    "sgr": ("InvalidSecurityGroupRuleId", "security group rule"),
    "eni": ("InvalidNetworkInterfaceID", "network interface"),
    "eipalloc": ("InvalidAllocationID", "allocation"),
    "eipassoc": ("InvalidAssociationID", "association"),
    "rtb": ("InvalidRouteTableID", "route table"),
    "igw": ("InvalidInternetGatewayID", "internet gateway"),
    "nat": ("InvalidNatGatewayID", "NAT gateway"),
    "dopt": ("InvalidDhcpOptionID", "DHCP options"),
    "acl": ("InvalidNetworkAclID", "network ACL"),
    "lt": ("InvalidLaunchTemplateId", "launch template"),
    "pg": ("InvalidPlacementGroup", "placement group"),
    "sir": ("InvalidSpotInstanceRequestID", "spot instance request"),
}
_MALFORMED = {"InvalidVolume": "InvalidParameterValue", "InvalidSnapshot": "InvalidParameterValue"}


def one(things: Mapping[str, Thing], prefix: str, id: str) -> Thing:
    """The thing with this EC2 id; raises `Fault` where it is malformed, or there is none."""
    return several(things, prefix, [id])[0]


def several(things: Mapping[str, Thing], prefix: str, ids: Iterable[str]) -> list[Thing]:
    """The things with these EC2 ids, in that order; raises `Fault` with all that there are none of."""
    found: list[Thing] = []
    missing: list[str] = []
    for id in ids:
        begin = _begin(prefix, id)
        thing = next((thing for key, thing in things.items() if key.startswith(begin)), None)
        if thing is None:
            missing.append(id)
        else:
            found.append(thing)
    if missing:
        raise not_there(prefix, missing)
    return found


def not_there(prefix: str, ids: Iterable[str]) -> Fault:
    """Why there is nothing with these ids."""
    word, what = WORDS[prefix]
    named = list(ids)
    plural = len(named) > 1
    text = f"The {what} ID{'s' if plural else ''} '{', '.join(named)}' do{'' if plural else 'es'} not exist"
    return Fault(f"{word}.NotFound", text)


def _begin(prefix: str, id: str) -> str:
    word = WORDS[prefix][0]
    try:
        if not id.startswith(f"{prefix}-"):
            raise Invalid(f"{id!r} is not an id of this kind")
        return begins_ec2(id, "id")
    except Invalid:
        code = _MALFORMED.get(word, f"{word}.Malformed")
        raise Fault(code, f'Invalid id: "{id[:100]}" (expecting "{prefix}-...")') from None


def only(value: Any, name: str) -> Any:
    """A value that must be there; raises `Fault`."""
    if value is None:
        raise Fault("MissingParameter", f"The request must contain the parameter {name}")
    return value
