"""Images, in EC2's words: those with a system are AMIs, those that are data are snapshots of volumes."""
