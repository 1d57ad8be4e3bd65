"""A client of SCRAM-SHA-256 (RFC 5802, RFC 7677), apart from the code under test.

With `--binding`, of SCRAM-SHA-256-PLUS with that channel binding. `tls-exporter` (RFC 9266)
is over `openssl s_client`, since Python's ssl cannot export keying material.

Prints the reply to the exchange, or "impostor" if the server's signature is wrong.
"""

import argparse
import base64
import hashlib
import hmac
import socket
import ssl
import subprocess

NONCE = "fyko+d2lbbFgONRv9qkxdawL"


def b64(data):
    return base64.b64encode(data).decode()


class Connection:
    """Lines to and from a server, TLS if asked for; `binding` is the channel binding."""

    def __init__(self, options):
        self.binding = b""
        self.process = None
        if options.binding == "tls-exporter":
            self.over_openssl(options)
            return
        plain = socket.create_connection(("127.0.0.1", options.port), timeout=20)
        self.input = self.output = plain.makefile("rwb")
        if options.tls != "implicit":
            self.input.readline()
        if options.tls:
            self.encrypt(plain, options)
        if options.tls == "implicit":
            self.input.readline()
        if options.binding:
            # RFC 5929 §4.1; the tests' certificates are signed with SHA-256.
            with open(options.certificate) as file:
                der = ssl.PEM_cert_to_DER_cert(file.read())
            self.binding = hashlib.sha256(der).digest()

    def encrypt(self, plain, options):
        if options.tls == "starttls":
            self.ask("STLS")
        context = ssl.create_default_context()
        # A wrong certificate is found out by its binding.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[options.version]
        context.minimum_version = context.maximum_version = version
        self.tls = context.wrap_socket(plain, server_hostname="localhost")
        self.input = self.output = self.tls.makefile("rwb")

    def over_openssl(self, options):
        words = ["openssl", "s_client", "-connect", f"127.0.0.1:{options.port}", "-ign_eof"]
        words += ["-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"]
        words += ["-tls" + options.version.replace(".", "_")]
        if options.tls == "starttls":
            words += ["-starttls", "pop3"]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.input, self.output = self.process.stdout, self.process.stdin
        for line in self.input:
            name, _, value = line.decode().strip().partition(": ")
            if name == "Keying material":
                self.binding = bytes.fromhex(value)
            elif options.tls == "implicit" and line.startswith(b"+OK"):
                return
            elif options.tls == "starttls" and self.binding and line == b"---\n":
                return

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def ask(self, line):
        self.output.write(line.encode() + b"\r\n")
        self.output.flush()
        for reply in self.input:
            # What openssl says meanwhile, of tickets for instance, is no reply.
            if reply.startswith((b"+", b"-ERR")):
                return reply.decode().strip()
        return ""


def log_in(connection, options):
    name, header = "SCRAM-SHA-256", f"{options.flag},,"
    if options.binding:
        name, header = "SCRAM-SHA-256-PLUS", f"p={options.binding},,"
    bare = f"n={options.user},r={NONCE}"
    reply = connection.ask(f"AUTH {name} " + b64((header + bare).encode()))
    if not reply.startswith("+ "):
        return reply
    challenge = base64.b64decode(reply[2:]).decode()
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    salted = hashlib.pbkdf2_hmac(
        "sha256", options.password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
    )

    def mac(key, text):
        return hmac.new(key, text, "sha256").digest()

    client_key = mac(salted, b"Client Key")
    bound = b64(header.encode() + connection.binding)
    unproven = f"c={bound},r={fields['r']}"
    signed = f"{bare},{challenge},{unproven}".encode()
    signature = mac(hashlib.sha256(client_key).digest(), signed)
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    reply = connection.ask(b64(f"{unproven},p={b64(proof)}".encode()))
    if not reply.startswith("+ "):
        return reply
    verifier = b64(mac(mac(salted, b"Server Key"), signed))
    if base64.b64decode(reply[2:]).decode() != f"v={verifier}":
        return "impostor"
    return connection.ask("")


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("port", type=int)
parser.add_argument("user")
parser.add_argument("password")
parser.add_argument("--tls", choices=["starttls", "implicit"])
parser.add_argument("--version", choices=["1.2", "1.3"], default="1.3")
parser.add_argument("--binding", choices=["tls-exporter", "tls-server-end-point"])
parser.add_argument("--certificate", help="the server's, in PEM form")
parser.add_argument("--flag", choices=["n", "y"], default="n", help="without a binding (RFC 5802 §6)")
chosen = parser.parse_args()
made = Connection(chosen)
print(log_in(made, chosen))
made.close()
