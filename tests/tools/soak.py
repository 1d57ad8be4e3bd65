#!/usr/bin/env python3
"""Mixed clients for a long time, and the sums at the end.

    soak.py [--seconds 3600] [--clients 12] [--tclsh tclsh8.6]

Good, slow, rude and dropping clients, wrong passwords, STLS, TLS from the first byte; over a
dbox, a Maildir and a script's storage, on sockets and on Tcl channels. Meanwhile mail is
delivered, servers are reconfigured, taken down and up again, certificates are reloaded, and the
interpreter works. At the end: every message that was delivered was fetched whole before it was
deleted, or is left; each login and each lock was ended; as many octets were sent as announced, and
as the log says; nothing is connected; memory has stayed. Descriptors and memory are shown once a
minute.
"""
import argparse, hashlib, os, pathlib, queue, random, re, shutil, socket, ssl
import subprocess, sys, tempfile, threading, time

HERE = pathlib.Path(__file__).resolve().parent
MAILBOXES = [f'box{n}' for n in range(1, 9)] + [f'maildir{n}' for n in range(1, 5)]


class Wrong(Exception):
    """Something that must not be."""


class World:
    def __init__(self, arguments):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='soak-'))
        self.lock = threading.Lock()
        self.delivered, self.deleted, self.counts = {}, set(), {}
        self.wrong = []
        self.stopped = threading.Event()
        self.make_mailboxes()
        # Both in one file, which is replaced at once: the server looks at it by itself too.
        self.certificate = self.directory / 'both.pem'
        self.make_certificate()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        command = [arguments.tclsh, str(HERE / 'soak.tcl'), str(self.directory),
                   str(self.certificate)]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       text=True, bufsize=1)
        words = self.answer().split()
        self.ports = {name: int(port) for name, port in zip(words[::2], words[1::2])}

    def make_mailboxes(self):
        for name in MAILBOXES:
            for place in ('new', 'cur', 'tmp') if name.startswith('maildir') else ('.',):
                (self.directory / name / place).mkdir(parents=True, exist_ok=True)

    def make_certificate(self):
        certificate, key = (self.directory / f'{name}.part' for name in ('cert', 'key'))
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                        'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=localhost',
                        '-keyout', key, '-out', certificate],
                       check=True, stderr=subprocess.DEVNULL)
        with certificate.open('ab') as both:
            both.write(key.read_bytes())
        certificate.rename(self.certificate)

    def answer(self):
        line = self.server.stdout.readline()
        if not line.startswith('OK'):
            raise Wrong(f'the server says {line!r}')
        return line[3:].strip()

    def ask(self, script):
        with self.lock:
            self.server.stdin.write(script + '\n')
            return self.answer()

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + number

    def deliver(self, chance):
        """One message, by the rules of its mailbox: written aside, then renamed."""
        name = chance.choice(MAILBOXES)
        text = b'Subject: soak\n\n' + b''.join(
            chance.choice([b'.', b'..', b'line\n', b'line\r\n', b'\n.\n']) * chance.randrange(40)
            for _ in range(chance.choice([1, 5, 200])))
        number = len(self.delivered)
        text += b'\nnumber %d' % number + chance.choice([b'', b'\n'])
        box = self.directory / name
        aside = box / ('tmp' if name.startswith('maildir') else '.') / f'.m{number}'
        aside.write_bytes(text)
        with self.lock:
            self.delivered[wire(text)] = len(text)
        end = box / 'new' / f'17{number:08}.h' if name.startswith('maildir') else box / f'm{number:08}'
        aside.rename(end)

    def memory(self):
        status = pathlib.Path(f'/proc/{self.server.pid}/status').read_text()
        descriptors = len(os.listdir(f'/proc/{self.server.pid}/fd'))
        return int(re.search(r'VmRSS:\s+(\d+)', status)[1]), descriptors


def wire(text):
    """The digest of a message as a client has it."""
    lines = re.sub(rb'\r\n', b'\n', text)
    if not lines.endswith(b'\n'):
        lines += b'\n'
    return hashlib.sha256(lines.replace(b'\n', b'\r\n')).digest()


class Client:
    def __init__(self, world, chance):
        self.world, self.chance = world, chance
        self.kind = chance.choice(list(world.ports))
        self.socket = socket.create_connection(('127.0.0.1', world.ports[self.kind]), 30)
        self.buffer = b''
        if self.kind == 'implicit':
            self.socket = world.tls.wrap_socket(self.socket)
        self.slow = chance.random() < .1
        # Messages, and octets of their bodies as they came.
        self.fetched, self.octets = 0, 0
        self.asked = 'the greeting'

    def close(self):
        self.socket.close()

    def fill(self):
        if self.slow:
            time.sleep(.002)
        got = self.socket.recv(512 if self.slow else 65536)
        if not got:
            raise EOFError
        self.buffer += got

    def until(self, end):
        at = 0
        while (found := self.buffer.find(end, at)) < 0:
            at = max(0, len(self.buffer) - len(end))
            self.fill()
        taken, self.buffer = self.buffer[:found + len(end)], self.buffer[found + len(end):]
        return taken

    def line(self):
        line = self.until(b'\r\n')[:-2]
        if not line.startswith((b'+OK', b'-ERR', b'+ ')):
            raise Wrong(f'{self.kind}: {line!r} is no reply')
        return line

    def ask(self, command):
        self.asked = command
        self.socket.sendall(command.encode() + b'\r\n')
        return self.line()

    def body(self):
        # The line of the dot may be the first.
        while len(self.buffer) < 3:
            self.fill()
        if self.buffer.startswith(b'.\r\n'):
            self.buffer = self.buffer[3:]
            return b''
        text = self.until(b'\r\n.\r\n')[:-3]
        self.octets += len(text)
        return re.sub(rb'(?m)^\.(?=.)', b'', text)

    def play(self):
        chance, world = self.chance, self.world
        self.line()
        what = chance.random()
        if what < .05:
            world.count('dropped at once')
            return
        if what < .1:
            self.socket.sendall(bytes(chance.randrange(256) for _ in range(chance.randrange(3000))))
            world.count('rude')
            return
        if self.kind == 'starttls':
            if not self.ask('STLS').startswith(b'+OK'):
                raise Wrong('STLS refused')
            self.socket = world.tls.wrap_socket(self.socket)
            user = f'hashed{chance.randrange(1, 5)}'
        elif self.kind in ('implicit', 'channel'):
            user = f'maildir{chance.randrange(1, 5)}'
        else:
            user = f'dbox{chance.randrange(1, 9)}'
        if chance.random() < .1:
            self.ask(f'USER {user}')
            if not self.ask('PASS wrong').startswith(b'-ERR [AUTH]'):
                raise Wrong('a wrong password')
            world.count('wrong passwords')
        self.ask(f'USER {user}')
        reply = self.ask('PASS secret')
        if reply.startswith(b'-ERR [IN-USE]'):
            world.count('in use')
            return
        if not reply.startswith(b'+OK'):
            raise Wrong(f'{self.kind}: login: {reply!r}')
        world.count('logins')
        messages, size = (int(word) for word in self.ask('STAT').split()[1:3])
        digests, announced = [], 0
        for number in range(1, min(messages, 20) + 1):
            reply = self.ask(f'RETR {number}')
            if not reply.startswith(b'+OK'):
                raise Wrong(f'RETR: {reply!r}')
            if chance.random() < .01:
                world.count('dropped')
                return
            text = self.body()
            digest = hashlib.sha256(text).digest()
            if digest not in world.delivered:
                raise Wrong(f'a message that nobody delivered: {text[:80]!r}')
            octets = int(reply.split()[1])
            announced += octets
            # `boxes` may be set to announce the size of the file.
            may_be = [len(text)] + [world.delivered[digest]] * (self.kind in ('plain', 'starttls'))
            if octets not in may_be:
                raise Wrong(f'{self.kind}: {may_be} octets, but {reply!r}')
            self.fetched += 1
            digests.append(digest)
            world.count('fetched')
            world.count('octets', len(text))
        if messages == self.fetched and announced != size:
            raise Wrong(f'{self.kind}: STAT has {size} octets, RETR {announced}')
        marked = [n for n in range(1, len(digests) + 1) if chance.random() < .8]
        for number in marked:
            self.ask(f'DELE {number}')
        if chance.random() < .1:
            world.count('dropped before QUIT')
            return
        self.asked = 'QUIT'
        self.socket.sendall(b'QUIT\r\n')
        # Whoever does not hear the answer cannot know: neither can we.
        with world.lock:
            maybe = {digests[n - 1] for n in marked}
            world.deleted |= maybe
        if not self.line().startswith(b'+OK'):
            raise Wrong('QUIT')
        world.count('quits')
        world.count('octets of quits', self.octets)
        world.count('messages of quits', self.fetched)


def clients(world, seed):
    chance = random.Random(seed)
    while not world.stopped.is_set():
        client = None
        try:
            client = Client(world, chance)
            client.play()
        except Wrong as error:
            world.wrong.append(str(error))
        except TimeoutError:
            world.wrong.append(f'{client and (client.kind, client.asked, client.slow, len(client.buffer))} hangs')
        except (OSError, EOFError) as error:
            # While a server is down, or destroyed its connections.
            world.count(f'broken: {type(error).__name__}')
            if client and client.asked == 'QUIT':
                world.count('quits without an answer')
        finally:
            if client:
                client.close()


def administer(world, chance):
    """One thing that somebody does to the server while it runs."""
    name = chance.choice(list(world.ports))
    what = chance.randrange(6)
    if what == 0:
        world.ask(f'{name} down; {name} up')
    elif what == 1:
        world.ask(f'{name} configure -errors {chance.randrange(5, 30)} -outputmark {chance.choice([4096, 65536])}')
    elif what == 2:
        world.make_certificate()
        world.ask('starttls reload; implicit reload')
    elif what == 3:
        world.ask('boxes configure -octets ' + chance.choice(['file', 'wire']))
    elif what == 4:
        world.ask(f'plain configure -direct {chance.randrange(2)}')
    else:
        world.ask('for {set n 0} {$n < 200000} {incr n} {}')
    world.count('administered')


def left(world):
    found = set()
    for path in world.directory.rglob('*'):
        if path.is_file() and not path.name.startswith('.') and path.parent != world.directory:
            digest = wire(path.read_bytes())
            if digest in found:
                world.wrong.append(f'{path} twice')
            found.add(digest)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=3600)
    parser.add_argument('--clients', type=int, default=12)
    parser.add_argument('--tclsh', default='tclsh8.6')
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    print('seed', arguments.seed, flush=True)
    world = World(arguments)
    chance = random.Random(arguments.seed)
    threads = [threading.Thread(target=clients, args=(world, f'{arguments.seed}-{n}'), daemon=True)
               for n in range(arguments.clients)]
    for thread in threads:
        thread.start()
    begin = time.monotonic()
    early, shown = None, begin
    while (now := time.monotonic()) < begin + arguments.seconds and not world.wrong:
        for _ in range(chance.randrange(5)):
            world.deliver(chance)
        if chance.random() < .1:
            administer(world, chance)
        if early is None and now > begin + arguments.seconds / 5:
            early = world.memory()
        if now > shown + 60:
            shown = now
            print(f'{now - begin:.0f} s', world.memory(), world.counts, flush=True)
        time.sleep(.05)
    late = world.memory()
    world.stopped.set()
    for thread in threads:
        thread.join(60)
    if any(thread.is_alive() for thread in threads):
        world.wrong.append('a client hangs')
    end = time.monotonic() + 30
    while world.ask('connections') != '0' and time.monotonic() < end:
        time.sleep(.2)
    world.ask('update')
    connections, events, locks = (world.ask(s) for s in
                                  ('connections', 'array get events', 'array get locks'))
    remains, delivered = left(world), set(world.delivered)
    print('counts', world.counts)
    print('events', events)
    print('locks', locks, 'connections', connections)
    print('memory (KiB, descriptors)', early, late)
    print('delivered', len(delivered), 'deleted', len(delivered - remains), 'left', len(remains))
    logged, held = ({key: int(number) for key, number in re.findall(r'(\w+) (\d+)', words)}
                    for words in (events, locks))
    fetched, octets = (world.counts.get(f'{what} of quits', 0) for what in ('messages', 'octets'))
    # The server may have heard a QUIT whose answer was lost.
    heard_all = not world.counts.get('quits without an answer')
    checks = {
        'connections left': connections == '0',
        'locks and unlocks differ': held['locked'] == held['unlocked'],
        'logins and logouts differ': logged['logins'] == logged['logouts'],
        'logins differ from the log': logged['logins'] == world.counts['logins'],
        'octets differ from the log': not heard_all or logged['octets'] == octets,
        'messages differ from the log': not heard_all or logged['messages'] == fetched,
        'a message was lost': delivered - remains <= world.deleted,
        'a message came from nowhere': remains <= delivered,
        'errors in the log': logged['errors'] == 0,
        'memory grows': early is None or late[0] < early[0] * 1.1 + 2048,
        'descriptors leak': early is None or late[1] < early[1] + 40,
    }
    world.wrong += [what for what, good in checks.items() if not good]
    world.server.stdin.close()
    world.server.wait(20)
    shutil.rmtree(world.directory)
    print('\n'.join(f'WRONG: {what}' for what in world.wrong) or 'all is well')
    return bool(world.wrong)


if __name__ == '__main__':
    sys.exit(main())
