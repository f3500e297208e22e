"""What a VPC has by itself and nobody can change here: its DHCP options, and a network ACL that lets all through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guesthouse.doors.ec2.networks import kept
from guesthouse.doors.ec2.rows import owner
from guesthouse.engine.stock import Stock
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.network import NetworkMode

_LAST_RULE = 32767


def dhcp_options(stock: Stock) -> Iterable[dict[str, Any]]:
    """Machines ask the name server of their own network."""
    return [
        {
            "DhcpOptionsId": ec2_id("dopt", stock.project.id),
            "OwnerId": owner(stock),
            "DhcpConfigurations": [{"Key": "domain-name-servers", "Values": [{"Value": "AmazonProvidedDNS"}]}],
            "Tags": [],
        }
    ]


def acls(stock: Stock) -> Iterable[dict[str, Any]]:
    """Of each VPC the one that all its subnets have."""
    return [
        {
            "NetworkAclId": ec2_id("acl", network.id),
            "VpcId": ec2_id("vpc", network.id),
            "OwnerId": owner(stock),
            "IsDefault": True,
            "Associations": [
                {
                    "NetworkAclAssociationId": kept.joint_id("aclassoc", network.id, subnet.id),
                    "NetworkAclId": ec2_id("acl", network.id),
                    "SubnetId": ec2_id("subnet", subnet.id),
                }
                for subnet in stock.subnets.values()
                if subnet.network == network.id
            ],
            "Entries": [_entry(egress, number) for egress in (True, False) for number in (100, _LAST_RULE)],
            "Tags": [],
        }
        for network in stock.networks.values()
        if network.mode is NetworkMode.PRIVATE
    ]


def _entry(egress: bool, number: int) -> dict[str, Any]:
    action = "deny" if number == _LAST_RULE else "allow"
    return {"CidrBlock": "0.0.0.0/0", "Egress": egress, "Protocol": "-1", "RuleAction": action, "RuleNumber": number}


def account_attributes(stock: Stock) -> Iterable[dict[str, Any]]:
    """What is so of the account."""
    default = next((id for id in stock.networks if kept.document(stock, id, kept.VPC).get("default")), "")
    quota = stock.project.quota
    values = {
        "supported-platforms": "VPC",
        "default-vpc": ec2_id("vpc", default) or "none",
        "max-instances": quota.machines,
        "vpc-max-security-groups-per-interface": 16,
        "max-elastic-ips": quota.addresses,
        "vpc-max-elastic-ips": quota.addresses,
    }
    return [
        {"AttributeName": name, "AttributeValues": [{"AttributeValue": str(value)}]}
        for name, value in values.items()
        if value is not None
    ]
