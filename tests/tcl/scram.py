"""A client of SCRAM-SHA-256 (RFC 5802, RFC 7677), apart from the code under test.

Usage: scram.py PORT USER PASSWORD

Prints the reply to the exchange, or "impostor" if the server's signature is wrong.
"""

import base64
import hashlib
import hmac
import socket
import sys


def b64(data):
    return base64.b64encode(data).decode()


def main(port, user, password):
    server = socket.create_connection(("127.0.0.1", port), timeout=20)
    stream = server.makefile("rwb")
    stream.readline()

    def ask(line):
        stream.write(line.encode() + b"\r\n")
        stream.flush()
        return stream.readline().decode().strip()

    bare = f"n={user},r=fyko+d2lbbFgONRv9qkxdawL"
    reply = ask("AUTH SCRAM-SHA-256 " + b64(("n,," + bare).encode()))
    if not reply.startswith("+ "):
        return reply
    challenge = base64.b64decode(reply[2:]).decode()
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
    )

    def mac(key, text):
        return hmac.new(key, text, "sha256").digest()

    client_key = mac(salted, b"Client Key")
    unproven = f"c=biws,r={fields['r']}"
    signed = f"{bare},{challenge},{unproven}".encode()
    signature = mac(hashlib.sha256(client_key).digest(), signed)
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    reply = ask(b64(f"{unproven},p={b64(proof)}".encode()))
    if not reply.startswith("+ "):
        return reply
    verifier = b64(mac(mac(salted, b"Server Key"), signed))
    if base64.b64decode(reply[2:]).decode() != f"v={verifier}":
        return "impostor"
    return ask("")


print(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
