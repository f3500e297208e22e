"""Machines as QEMU processes and files of this box.

Rules
-----
1. QEMU outlives the daemon. What the next daemon needs to know lies in the machine's folder before QEMU runs.
2. A QEMU lives, or is being started, exactly as long as `run.lock` of its folder is locked: the lock is taken
   before fork and inherited, so there is no moment at which a killed daemon leaves a QEMU that nobody sees.
3. Its sockets are bound and listened on before it is started: a lock that is held means sockets that connect.
4. Its pid is the one that holds the POSIX lock of its pidfile, as the kernel tells; then it is held by pidfd.
   A pid from a file alone would be a guess.
"""
