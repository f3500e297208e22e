"""Networks as namespaces of this box.

Rules
-----
1. A network is a network namespace with a name. In it are its bridges, the TAPs of its machines, its rules, its name
   server; one link leads to the host. Two networks may have the same addresses, for they never meet.
2. Whatever is there is looked at before anything is changed, and only what differs is changed: to apply a network again
   disturbs nobody. What was cut off half-way is finished by the next `apply`, or gone after `remove`.
3. Rules are there before links are: no machine is ever on a network that does not guard it.
4. All outlives the daemon. What a daemon must know of what an earlier one made lies in the network's folder.
5. On the host itself are, for each network, one link and its routes; for the house, one table; and that it forwards.
   Every name begins with ``gh`` and the house's tag, so that nothing of others is ever touched.
"""
