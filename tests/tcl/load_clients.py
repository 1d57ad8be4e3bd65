"""Clients for load: python3 load_clients.py PORT ROBOTS SESSIONS COMMAND...

Each robot runs its sessions one after the other. Prints the words
sessions N ok N err N closed N refused N hung N
where `closed` counts sessions that the server ended and `hung` those in which a
reply did not come within 20 seconds.
"""
import collections
import socket
import sys
import threading
import time

port, robots, sessions = map(int, sys.argv[1:4])
dialog = sys.argv[4:]
LONG = {"CAPA", "RETR", "TOP", "LIST", "UIDL"}
totals = collections.Counter()
guard = threading.Lock()


def session(user):
    seen = collections.Counter(sessions=1)
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            stream = s.makefile("rb")

            def line():
                text = stream.readline()
                if not text.endswith(b"\r\n"):
                    raise EOFError
                return text

            line()
            for command in dialog:
                command = command.replace("@USER@", user)
                s.sendall(command.encode() + b"\r\n")
                reply = line()
                good = reply.startswith(b"+OK")
                seen["ok" if good else "err"] += 1
                words = command.split()
                if good and words[0] in LONG and not (words[0] in {"LIST", "UIDL"} and words[1:]):
                    while line() != b".\r\n":
                        pass
    except socket.timeout:
        seen["hung"] += 1
    except EOFError:
        seen["closed"] += 1
    except OSError as error:
        seen["refused" if isinstance(error, ConnectionRefusedError) else "closed"] += 1
        # A server that is being made anew takes a moment.
        time.sleep(0.02)
    return seen


def robot(number):
    for _ in range(sessions):
        seen = session("user%d" % number)
        with guard:
            totals.update(seen)


threads = [threading.Thread(target=robot, args=(n,)) for n in range(robots)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(" ".join("%s %d" % (key, totals[key])
               for key in ("sessions", "ok", "err", "closed", "refused", "hung")))
