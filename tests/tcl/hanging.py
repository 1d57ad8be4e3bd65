"""A file system that holds one symbolic link, `mail`, and hangs when it is told to.

    hanging.py MOUNTPOINT TARGET

Says "mounted", or why not. Then a line on its standard input makes it hang; the end of the
input unmounts it. Needs root, /dev/fuse and Linux: it speaks the kernel's protocol itself.
"""
import ctypes
import errno
import os
import select
import struct
import sys

INIT, LOOKUP, FORGET, GETATTR, READLINK, INTERRUPT, ACCESS, BATCH_FORGET = 26, 1, 2, 3, 5, 36, 34, 42
DIRECTORY, LINK = 0o40755, 0o120777

mountpoint, target = sys.argv[1].encode(), sys.argv[2].encode()
libc = ctypes.CDLL(None, use_errno=True)
try:
    fuse = os.open("/dev/fuse", os.O_RDWR)
except OSError as error:
    sys.exit(print(error, flush=True))
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fuse
if libc.mount(b"hanging", mountpoint, b"fuse", 0, options):
    sys.exit(print(os.strerror(ctypes.get_errno()), flush=True))
print("mounted", flush=True)


def attributes(inode, mode):
    return struct.pack("<6Q10I", inode, len(target), 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(operation, node, body):
    """The result and its bytes. Nothing may be remembered: the kernel asks each time."""
    if operation == INIT:
        return 0, struct.pack("<4I2H2I2H8I", 7, 31, 65536, 0, 12, 9, 65536, 1, 16, 0, *[0] * 8)
    if operation == LOOKUP and node == 1 and body.split(b"\0")[0] == b"mail":
        return 0, struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + attributes(2, LINK)
    if operation == LOOKUP:
        return -errno.ENOENT, b""
    if operation == GETATTR:
        return 0, struct.pack("<Q2I", 0, 0, 0) + attributes(node, DIRECTORY if node == 1 else LINK)
    if operation == READLINK:
        return 0, target
    return (0 if operation == ACCESS else -errno.ENOSYS), b""


hangs = False
while True:
    ready, _, _ = select.select([sys.stdin] if hangs else [sys.stdin, fuse], [], [])
    if sys.stdin in ready:
        if not sys.stdin.readline():
            break
        hangs = True
        print("hangs", flush=True)
    elif fuse in ready:
        request = os.read(fuse, 1 << 20)
        _, operation, unique, node = struct.unpack("<IIQQ", request[:24])
        if operation not in (FORGET, INTERRUPT, BATCH_FORGET):
            result, data = answer(operation, node, request[40:])
            os.write(fuse, struct.pack("<IiQ", 16 + len(data), result, unique) + data)
# Whoever waits gets an error.
os.close(fuse)
libc.umount2(mountpoint, 2)
