"""Rows of security groups."""

from __future__ import annotations

from guesthouse.doors.ec2.filters import Alias, nothing
from guesthouse.doors.ec2.listing import Listing, Named
from guesthouse.doors.ec2.networks import groups, kept, permissions
from guesthouse.doors.ec2.networks.turn import in_turn
from guesthouse.doors.ec2.rows import Row, see
from guesthouse.model.network import Direction

# Where filters of permissions look, below the one list or the other; groups are told by their ids alone.
_PERMISSIONS = {
    "cidr": "IpRanges.CidrIp",
    "from-port": "FromPort",
    "group-id": "UserIdGroupPairs.GroupId",
    "ipv6-cidr": "Ipv6Ranges.CidrIpv6",
    "prefix-list-id": "PrefixListIds.PrefixListId",
    "protocol": "IpProtocol",
    "to-port": "ToPort",
    "user-id": "UserIdGroupPairs.UserId",
}
_SIDES = {"ip-permission": "IpPermissions", "egress.ip-permission": "IpPermissionsEgress"}
_ALIASES: dict[str, Alias] = {
    f"{side}.{name}": f"{member}.{way}" for side, member in _SIDES.items() for name, way in _PERMISSIONS.items()
}

_GROUPS = Listing(
    member="SecurityGroups", nouns=kept.NOUNS, items=groups.groups,
    named=(
        Named("GroupIds", "GroupId", "InvalidGroup.NotFound", "security group"),
        Named("GroupNames", "GroupName", "InvalidGroup.NotFound", "security group"),
    ),
    aliases={**_ALIASES, **{f"{side}.group-name": nothing for side in _SIDES}},
)  # fmt: skip
_RULES = Listing(
    member="SecurityGroupRules", nouns=kept.NOUNS, items=permissions.rules,
    named=(Named("SecurityGroupRuleIds", "SecurityGroupRuleId", "InvalidSecurityGroupRuleId.NotFound",
                 "security group rule ID"),),
)  # fmt: skip
_FOR_VPC = Listing(
    member="SecurityGroupForVpcs", nouns=kept.NOUNS, items=groups.for_vpcs, chooses=groups.of_vpc,
    known_by=("GroupId",),
)  # fmt: skip
_RULE = (
    "GroupId GroupName "
    + " ".join(f"IpPermissions.{name}" for name in ("IpProtocol", "FromPort", "ToPort", "IpRanges", "Ipv6Ranges"))
    + " "
    + " ".join(f"IpPermissions.UserIdGroupPairs.{name}" for name in ("GroupId", "GroupName", "UserId", "Description"))
)
_PLAIN = "IpProtocol FromPort ToPort CidrIp"

ROWS = (
    Row("CreateSecurityGroup", "Make a security group", in_turn(groups.create),
        takes="GroupName Description VpcId", tags=(kept.GROUP,)),
    see("DescribeSecurityGroups", "List security groups with their rules", _GROUPS),
    see("GetSecurityGroupsForVpc", "List the security groups that can be used in a VPC", _FOR_VPC, takes="VpcId"),
    Row("DeleteSecurityGroup", "Delete a security group that nothing is in", in_turn(groups.delete),
        takes="GroupId GroupName"),
    Row("AuthorizeSecurityGroupIngress", "Let more in", in_turn(groups.authorize(Direction.IN)),
        takes=f"{_RULE} {_PLAIN} SourceSecurityGroupName", tags=(kept.RULE,)),
    Row("AuthorizeSecurityGroupEgress", "Let more out", in_turn(groups.authorize(Direction.OUT)),
        takes=f"{_RULE} {_PLAIN}", tags=(kept.RULE,)),
    Row("RevokeSecurityGroupIngress", "Let less in", in_turn(groups.revoke(Direction.IN)),
        takes=f"{_RULE} {_PLAIN} SourceSecurityGroupName SecurityGroupRuleIds"),
    Row("RevokeSecurityGroupEgress", "Let less out", in_turn(groups.revoke(Direction.OUT)),
        takes=f"{_RULE} {_PLAIN} SecurityGroupRuleIds"),
    see("DescribeSecurityGroupRules", "List rules of security groups, one by one", _RULES),
    Row("ModifySecurityGroupRules", "Have rules say something else", in_turn(groups.modify_rules),
        takes="GroupId SecurityGroupRules.SecurityGroupRuleId "
        + " ".join(f"SecurityGroupRules.SecurityGroupRule.{name}" for name in (
            "IpProtocol", "FromPort", "ToPort", "CidrIpv4", "CidrIpv6", "ReferencedGroupId", "Description"))),
    Row("UpdateSecurityGroupRuleDescriptionsIngress", "Describe rules of what is let in",
        in_turn(groups.describe_rules(Direction.IN)), takes=f"{_RULE} SecurityGroupRuleDescriptions"),
    Row("UpdateSecurityGroupRuleDescriptionsEgress", "Describe rules of what is let out",
        in_turn(groups.describe_rules(Direction.OUT)), takes=f"{_RULE} SecurityGroupRuleDescriptions"),
)  # fmt: skip
