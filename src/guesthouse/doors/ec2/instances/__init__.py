"""Instances: machines in EC2's words."""
