"""A program that has a lease on a file, as file servers do (fcntl(2), F_SETLEASE).

    leased.py FILE

Says "leased", or why not. Asked for the lease, it says "asked", gives it up 200 ms later, and
says "released". It ends with its standard input.
"""
import fcntl
import os
import signal
import sys
import time

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
file = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
except OSError as error:
    sys.exit(print(error.strerror, flush=True))
print("leased", flush=True)
if signal.sigtimedwait([signal.SIGIO], 20):
    print("asked", flush=True)
    time.sleep(0.2)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    print("released", flush=True)
sys.stdin.read()
