#!/usr/bin/env python3
"""Prints apt sources for another suite of the mirrors that this machine uses.

    apt-sources.py bookworm trixie

Reads the machine's own sources, in both formats that apt knows (one-line
`.list` and deb822 `.sources`), takes every binary source of exactly the first
suite with the component main, and prints it in deb822 with the second suite.
The key a source is signed by is kept; options that would weaken the check of
signatures are not.
"""

import glob
import re
import sys

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def one_line(text):
    """Yields (types, uris, suites, components, signed_by) of a `.list` file."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)", line)
        if match:
            options, uri, suite, rest = match.groups()
            key = re.search(r"signed-by=(\S+)", options or "", re.I)
            components = rest.split("#")[0].split()
            yield ["deb"], [uri], [suite], components, key and key.group(1)


def deb822(text):
    """Yields the same of a `.sources` file."""
    for stanza in re.split(r"\n\s*\n", text):
        fields, last = {}, None
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in " \t" and last:
                fields[last] += "\n" + line
            elif ":" in line:
                last, value = line.split(":", 1)
                last = last.strip().lower()
                fields[last] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        words = {name: fields.get(name, "").split() for name in fields}
        yield (words.get("types", []), words.get("uris", []), words.get("suites", []),
               words.get("components", []), fields.get("signed-by"))


def sources():
    """Yields every source of this machine."""
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*"))]:
        reader = deb822 if path.endswith(".sources") else one_line
        if not path.endswith((".list", ".sources")):
            continue
        try:
            with open(path, encoding="utf-8") as file:
                yield from reader(file.read())
        except OSError:
            continue


def main():
    """Prints the stanzas; fails when the machine has no source to derive from."""
    own, wanted = sys.argv[1:]
    seen = set()
    for types, uris, suites, components, key in sources():
        # "stable" names this suite too on a machine that was set up so.
        if "deb" not in types or "main" not in components or not {own, "stable"} & set(suites):
            continue
        for uri in uris:
            if uri in seen:
                continue
            seen.add(uri)
            print(f"Types: deb\nURIs: {uri}\nSuites: {wanted}\nComponents: main")
            print(f"Signed-By: {key or KEYRING}\n")
    if not seen:
        sys.exit(f"no apt source of the suite {own} found to derive {wanted} from")


if __name__ == "__main__":
    main()
