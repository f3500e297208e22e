"""The metadata service: what a machine is told of itself, at 169.254.169.254 and fd00:ec2::254.

Rules
-----
1. Who asks is known by where: the network on whose socket it came in, and the source address. Where the kernel gave the
   connection a mark (SO_MARK), that is the number of the NIC's port, and must be.
2. What is told stands in tables (`ec2`, `gce`, `azure`): a row is a path and a function of `Asked`. Listings, JSON,
   docs/metadata.md and the tests are made of the same rows.
3. Dialects are pure: they take the request, what is known of the machine, and the time, and give an answer.
4. Guests are hostile: a machine has so many connections and requests a second, and what it asks for beyond that waits
   behind its own, never before another's.
"""
