#!/usr/bin/env python3
"""Opens many POP3 connections at once, from a process that may have them.

    many.py PORT COUNT

Tcl 8.6 waits with select(2) and so cannot be this client. Prints how many
connections got a greeting, and how many of these an answer to QUIT while all
the others were still open.
"""

import resource
import socket
import sys


def main():
    """Connects, greets, quits; counts what worked."""
    port, count = int(sys.argv[1]), int(sys.argv[2])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 64), hard))
    greeted, quitted, clients = 0, 0, []
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=10)
            client.settimeout(10)
            clients.append(client)
        for client in clients:
            greeted += client.recv(512).startswith(b"+OK")
        for client in clients:
            client.sendall(b"QUIT\r\n")
            quitted += client.recv(512).startswith(b"+OK")
    except OSError:
        pass
    print(greeted, quitted)


if __name__ == "__main__":
    main()
