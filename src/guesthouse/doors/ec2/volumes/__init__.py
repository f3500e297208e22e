"""Disks, in EC2's words: volumes."""
