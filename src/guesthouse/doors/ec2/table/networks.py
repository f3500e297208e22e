"""Rows of VPCs, and of what is in them but security groups."""

from __future__ import annotations

from guesthouse.doors.ec2.listing import Listing, Named
from guesthouse.doors.ec2.networks import addresses, gateways, interfaces, kept, nat, routes, settings, subnets, vpcs
from guesthouse.doors.ec2.networks.turn import in_turn
from guesthouse.doors.ec2.rows import Row, see

_VPCS = Listing(
    member="Vpcs", nouns=kept.NOUNS, items=vpcs.vpcs,
    named=(Named("VpcIds", "VpcId", "InvalidVpcID.NotFound", "vpc ID"),),
    aliases={"cidr": "CidrBlock"},
)  # fmt: skip
_SUBNETS = Listing(
    member="Subnets", nouns=kept.NOUNS, items=subnets.subnets,
    named=(Named("SubnetIds", "SubnetId", "InvalidSubnetID.NotFound", "subnet ID"),),
)  # fmt: skip
_TABLES = Listing(
    member="RouteTables", nouns=kept.NOUNS, items=routes.tables,
    named=(Named("RouteTableIds", "RouteTableId", "InvalidRouteTableID.NotFound", "routeTable ID"),),
)  # fmt: skip
_INTERNET_GATEWAYS = Listing(
    member="InternetGateways", nouns=kept.NOUNS, items=gateways.gateways,
    named=(Named("InternetGatewayIds", "InternetGatewayId", "InvalidInternetGatewayID.NotFound",
                 "internetGateway ID"),),
)  # fmt: skip
_NAT_GATEWAYS = Listing(
    member="NatGateways", nouns=kept.NOUNS, items=nat.nats,
    named=(Named("NatGatewayIds", "NatGatewayId", "NatGatewayNotFound", "NAT gateway"),),
)  # fmt: skip
_INTERFACES = Listing(
    member="NetworkInterfaces", nouns=kept.NOUNS, items=interfaces.interfaces,
    named=(Named("NetworkInterfaceIds", "NetworkInterfaceId", "InvalidNetworkInterfaceID.NotFound",
                 "network interface ID"),),
)  # fmt: skip
_ADDRESSES = Listing(
    member="Addresses", nouns=kept.NOUNS, items=addresses.addresses,
    named=(
        Named("AllocationIds", "AllocationId", "InvalidAllocationID.NotFound", "allocation ID"),
        Named("PublicIps", "PublicIp", "InvalidAddress.NotFound", "address"),
    ),
)  # fmt: skip
_DHCP_OPTIONS = Listing(
    member="DhcpOptions", nouns=(), items=settings.dhcp_options,
    named=(Named("DhcpOptionsIds", "DhcpOptionsId", "InvalidDhcpOptionID.NotFound", "dhcpOption ID"),),
    aliases={"key": "DhcpConfigurations.Key", "value": "DhcpConfigurations.Values.Value"},
)  # fmt: skip
_ACLS = Listing(
    member="NetworkAcls", nouns=("networks", "subnets"), items=settings.acls,
    named=(Named("NetworkAclIds", "NetworkAclId", "InvalidNetworkAclID.NotFound", "networkAcl ID"),),
    aliases={"entry.cidr": "Entries.CidrBlock", "entry.ipv6-cidr": "Entries.Ipv6CidrBlock"},
)  # fmt: skip
_ATTRIBUTES = Listing(
    member="AccountAttributes", nouns=("networks", "door_records"), items=settings.account_attributes,
    named=(Named("AttributeNames", "AttributeName", "InvalidParameterValue", "attribute"),),
)  # fmt: skip

VPCS = (
    Row("CreateVpc", "Make a VPC", in_turn(vpcs.create), takes="CidrBlock AmazonProvidedIpv6CidrBlock",
        tags=(kept.VPC,), harmless={"InstanceTenancy": "default"}),
    Row("AssociateVpcCidrBlock", "Give a VPC its IPv6 block, and all that is in it addresses of that",
        in_turn(vpcs.associate), takes="VpcId AmazonProvidedIpv6CidrBlock"),
    Row("DisassociateVpcCidrBlock", "Take a VPC's IPv6 block", in_turn(vpcs.disassociate), takes="AssociationId"),
    Row("CreateDefaultVpc", "Make the default VPC, with a subnet and an internet gateway",
        in_turn(vpcs.create_default)),
    see("DescribeVpcs", "List VPCs: networks whose addresses the house gives", _VPCS),
    Row("DeleteVpc", "Delete a VPC in which nothing is", in_turn(vpcs.delete), takes="VpcId"),
    Row("DescribeVpcAttribute", "Tell what is so of a VPC", vpcs.attribute, takes="VpcId Attribute"),
    Row("ModifyVpcAttribute", "Say what is so of a VPC", vpcs.modify_attribute,
        takes="VpcId EnableDnsSupport EnableDnsHostnames EnableNetworkAddressUsageMetrics"),
    Row("CreateSubnet", "Make a subnet", in_turn(subnets.create),
        takes="VpcId CidrBlock Ipv6CidrBlock AvailabilityZone AvailabilityZoneId", tags=(kept.SUBNET,)),
    see("DescribeSubnets", "List subnets", _SUBNETS),
    Row("ModifySubnetAttribute", "Say who gets a public address", in_turn(subnets.modify),
        takes="SubnetId MapPublicIpOnLaunch"),
    Row("DeleteSubnet", "Delete a subnet on which nothing is", in_turn(subnets.delete), takes="SubnetId"),
    see("DescribeDhcpOptions", "Tell what machines learn by DHCP", _DHCP_OPTIONS),
    see("DescribeNetworkAcls", "Tell that network ACLs let all through", _ACLS),
    see("DescribeAccountAttributes", "Tell what is so of the account", _ATTRIBUTES),
)  # fmt: skip
ROUTES = (
    Row("CreateRouteTable", "Make a route table", in_turn(routes.create), takes="VpcId", tags=(kept.TABLE,)),
    see("DescribeRouteTables", "List route tables", _TABLES),
    Row("DeleteRouteTable", "Delete a route table that no subnet is in", in_turn(routes.delete),
        takes="RouteTableId"),
    Row("AssociateRouteTable", "Put a subnet into a route table", in_turn(routes.associate),
        takes="RouteTableId SubnetId"),
    Row("DisassociateRouteTable", "Put a subnet into the main route table again", in_turn(routes.disassociate),
        takes="AssociationId"),
    Row("ReplaceRouteTableAssociation", "Put a subnet into another route table, or have another be the main one",
        in_turn(routes.replace_association), takes="AssociationId RouteTableId"),
    Row("CreateRoute", "Have an internet or NAT gateway lead to the outside", in_turn(routes.create_route),
        takes="RouteTableId DestinationCidrBlock GatewayId NatGatewayId"),
    Row("ReplaceRoute", "Have another gateway lead to the outside", in_turn(routes.replace_route),
        takes="RouteTableId DestinationCidrBlock GatewayId NatGatewayId"),
    Row("DeleteRoute", "Have no gateway lead to the outside", in_turn(routes.delete_route),
        takes="RouteTableId DestinationCidrBlock"),
    Row("CreateInternetGateway", "Make an internet gateway", in_turn(gateways.create),
        tags=(kept.INTERNET_GATEWAY,)),
    see("DescribeInternetGateways", "List internet gateways", _INTERNET_GATEWAYS),
    Row("AttachInternetGateway", "Attach an internet gateway to a VPC", in_turn(gateways.attach),
        takes="InternetGatewayId VpcId"),
    Row("DetachInternetGateway", "Take an internet gateway from a VPC", in_turn(gateways.detach),
        takes="InternetGatewayId VpcId"),
    Row("DeleteInternetGateway", "Delete an internet gateway", in_turn(gateways.delete), takes="InternetGatewayId"),
    Row("CreateNatGateway", "Make a NAT gateway: who is routed there goes out by its address", in_turn(nat.create),
        takes="SubnetId AllocationId PrivateIpAddress", harmless={"ConnectivityType": "public"},
        tags=(kept.NAT_GATEWAY,)),
    see("DescribeNatGateways", "List NAT gateways, and those deleted within the last hour", _NAT_GATEWAYS),
    Row("DeleteNatGateway", "Delete a NAT gateway", in_turn(nat.delete), takes="NatGatewayId"),
)  # fmt: skip
INTERFACES = (
    Row("CreateNetworkInterface", "Make a network interface", interfaces.create,
        takes="SubnetId PrivateIpAddress Groups Description", harmless={"InterfaceType": "interface"},
        tags=(kept.INTERFACE,)),
    see("DescribeNetworkInterfaces", "List network interfaces", _INTERFACES),
    Row("DescribeNetworkInterfaceAttribute", "Tell something of a network interface", interfaces.attribute,
        takes="NetworkInterfaceId Attribute"),
    Row("ModifyNetworkInterfaceAttribute", "Change a network interface", interfaces.modify_attribute,
        takes="NetworkInterfaceId Groups SourceDestCheck Description Attachment"),
    Row("AttachNetworkInterface", "Give an instance a network interface more", interfaces.attach,
        takes="NetworkInterfaceId InstanceId DeviceIndex", harmless={"NetworkCardIndex": 0}),
    Row("DetachNetworkInterface", "Take a network interface from an instance", interfaces.detach,
        takes="AttachmentId", harmless={"Force": False}),
    Row("DeleteNetworkInterface", "Delete a network interface that no instance has", interfaces.delete,
        takes="NetworkInterfaceId"),
    Row("AllocateAddress", "Take an elastic address", addresses.allocate, takes="Address",
        harmless={"Domain": "vpc", "PublicIpv4Pool": "amazon"}, tags=(addresses.KIND,)),
    see("DescribeAddresses", "List elastic addresses", _ADDRESSES),
    Row("AssociateAddress", "Have an elastic address lead to an instance", in_turn(addresses.associate),
        takes="AllocationId PublicIp InstanceId NetworkInterfaceId PrivateIpAddress AllowReassociation"),
    Row("DisassociateAddress", "Have an elastic address lead nowhere", in_turn(addresses.disassociate),
        takes="AssociationId PublicIp"),
    Row("ReleaseAddress", "Give an elastic address back", in_turn(addresses.release), takes="AllocationId PublicIp"),
)  # fmt: skip
