#!/usr/bin/env python3
"""Opens many POP3 connections at once, from a process that may have them.

    many_connections.py PORT COUNT [PASSWORD]

Tcl 8.6 waits with select(2) and so cannot be this client. With a password each
logs in as u0, u1, ... and fetches a message; then they wait for a line on standard
input. Prints how many got what they asked for, and how many of these an answer to
QUIT while all the others were still open.
"""

import resource
import socket
import sys


def fetched(client, user, password):
    """Logs in and fetches message 1; whether that worked."""
    client.sendall(b"USER %b\r\nPASS %b\r\nRETR 1\r\n" % (user, password))
    text = b""
    while not text.endswith(b"\r\n.\r\n"):
        more = client.recv(4096)
        if not more or b"-ERR" in text:
            return False
        text += more
    return True


def main():
    """Connects, greets, fetches, quits; counts what worked."""
    port, count = int(sys.argv[1]), int(sys.argv[2])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 64), hard))
    served, quitted, clients = 0, 0, []
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=10)
            client.settimeout(10)
            clients.append(client)
        for number, client in enumerate(clients):
            good = client.recv(512).startswith(b"+OK")
            if good and len(sys.argv) > 3:
                good = fetched(client, b"u%d" % number, sys.argv[3].encode())
            served += good
        if len(sys.argv) > 3:
            print(served, flush=True)
            sys.stdin.readline()
        for client in clients:
            client.sendall(b"QUIT\r\n")
            quitted += client.recv(512).startswith(b"+OK")
    except OSError:
        pass
    print(served, quitted)


if __name__ == "__main__":
    main()
