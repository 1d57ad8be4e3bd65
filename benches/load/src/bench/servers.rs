//! The servers under test: how each is started, watched and stopped.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::dovecot;
use crate::mailbox::KINDS;

/// A server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// Ours: `pop3d::udb` and `pop3d::maildir`.
    Ours,
    /// Ours: `pop3d::udb` and `pop3d::dbox`.
    OursDbox,
    /// Ours: users and storage are procs of a script.
    OursProcs,
    /// Tcllib's pop3d with its own stores.
    Tcllib,
    /// Dovecot, an instance of our own.
    Dovecot,
    /// The server of prepared bytes.
    Raw,
}

impl Server {
    /// All of them, with their names on the command line and in results.
    pub const ALL: [(Server, &'static str); 6] = [
        (Self::Ours, "ours"),
        (Self::OursDbox, "ours-dbox"),
        (Self::OursProcs, "ours-procs"),
        (Self::Tcllib, "tcllib"),
        (Self::Dovecot, "dovecot"),
        (Self::Raw, "raw"),
    ];

    /// The server's name.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(server, _)| *server == self)
            .map_or("", |(_, name)| name)
    }

    /// The server of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|&(server, _)| server)
    }

    /// How much of its replies can be verified.
    pub fn verify(self) -> &'static str {
        match self {
            // It rebuilds messages and announces sizes of files.
            Self::Tcllib => "framing",
            // The script's storage tells sizes of files, as such scripts do.
            Self::OursProcs => "bytes",
            _ => "exact",
        }
    }
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The checkout.
    pub root: PathBuf,
    /// build/bench: everything that this benchmark makes.
    pub build: PathBuf,
    /// The mailboxes.
    pub mail: PathBuf,
    /// `load` and `raw`.
    pub programs: PathBuf,
    /// The Tcl shell to run servers in.
    pub tclsh: String,
}

impl Places {
    /// The package as it is installed, with the released library: a checkout
    /// would take whatever was built last.
    fn package(&self) -> PathBuf {
        self.build.join("package")
    }

    /// Links the package together in build/bench.
    ///
    /// # Errors
    /// The file system's.
    pub fn stage(&self) -> std::io::Result<()> {
        fs::create_dir_all(self.package())?;
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        for (name, from) in [
            ("pkgIndex.tcl", "pkgIndex.tcl".into()),
            ("tcl", "tcl".into()),
            (
                "libpop3d.so",
                PathBuf::from(target).join("release/libpop3d.so"),
            ),
        ] {
            let link = self.package().join(name);
            if fs::symlink_metadata(&link).is_ok() {
                fs::remove_file(&link)?;
            }
            std::os::unix::fs::symlink(self.root.join(from), link)?;
        }
        Ok(())
    }

    /// Makes the certificate that all servers show, on P-256.
    ///
    /// # Errors
    /// There is no openssl(1), or it fails.
    pub fn make_certificate(&self) -> std::io::Result<()> {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:P-256", "-nodes", "-days", "30"])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            .arg("-keyout")
            .arg(self.build.join("key.pem"))
            .arg("-out")
            .arg(self.build.join("cert.pem"))
            .stderr(Stdio::null())
            .status()?;
        match made.success() {
            true => Ok(()),
            false => Err(std::io::Error::other("openssl req failed")),
        }
    }

    /// Lists the users for the servers.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_users(&self) -> std::io::Result<()> {
        fs::create_dir_all(&self.mail)?;
        let users = KINDS
            .iter()
            .flat_map(|kind| (0..kind.users).map(|i| kind.user(i) + "\n"));
        fs::write(self.mail.join("users"), users.collect::<String>())
    }
}

/// The core of the server, and that of its client. What a server costs is what one core of
/// it serves; a client on the server's own cores would disturb it, and no user's is there.
pub const SERVER_CORE: &str = "0";
/// See [`SERVER_CORE`].
pub const CLIENT_CORE: &str = "1";

/// A command whose process, and all that it starts, stays on one core (taskset(1)).
pub fn pinned(core: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", core]).arg(program);
    command
}

/// A server that runs; it is stopped when this is dropped.
pub struct Running {
    server: Server,
    /// Its port on the loopback interface.
    pub port: u16,
    /// Its port for implicit TLS, if it has one.
    pub tls_port: Option<u16>,
    /// What it says of its version.
    pub version: String,
    child: Child,
    control: Option<(ChildStdin, BufReader<ChildStdout>)>,
    /// Beside a server without an interpreter: one that does nothing.
    timer: Option<Box<Running>>,
}

impl Running {
    /// Starts the server on its core and waits until it serves.
    ///
    /// # Errors
    /// It cannot be started here; the text says why.
    pub fn start(server: Server, places: &Places) -> Result<Self, String> {
        match server {
            Server::Dovecot => Self::start_dovecot(places)?.with_timer(places),
            Server::Raw => {
                let mut command = pinned(SERVER_CORE, places.programs.join("raw"));
                command.arg("--mail").arg(&places.mail);
                command.arg("--certificate").arg(&places.build);
                Self::start_speaking(server, server.name(), command, places)?.with_timer(places)
            }
            Server::Ours => Self::start_tcl(server, "ours-maildir", places),
            _ => Self::start_tcl(server, server.name(), places),
        }
    }

    fn start_tcl(server: Server, sort: &str, places: &Places) -> Result<Self, String> {
        let mut command = pinned(SERVER_CORE, &places.tclsh);
        command
            .arg(places.root.join("benches/server.tcl"))
            .arg(sort);
        command.arg(places.package()).arg(&places.mail);
        command.arg(&places.build);
        Self::start_speaking(server, sort, command, places)
    }

    /// Starts an interpreter beside it, whose timer shows what the machine does to one.
    fn with_timer(mut self, places: &Places) -> Result<Self, String> {
        let timer = Self::start_tcl(Server::OursProcs, "timer", places)?;
        self.timer = Some(Box::new(timer));
        Ok(self)
    }

    /// A server that says "port N", and "tls-port N" if it has one, and then "ready" on its
    /// standard output; its errors go to a file of
    /// this name.
    fn start_speaking(
        server: Server,
        name: &str,
        mut command: Command,
        places: &Places,
    ) -> Result<Self, String> {
        let path = places.build.join(format!("{name}.log"));
        let log = fs::File::create(&path).map_err(|error| error.to_string())?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".to_owned());
        };
        let mut output = BufReader::new(output);
        let (mut port, mut tls_port, mut version) = (None, None, String::new());
        let mut is_ready = false;
        while !is_ready {
            let mut line = String::new();
            if !matches!(output.read_line(&mut line), Ok(1..)) {
                let _ = child.wait();
                let log = fs::read_to_string(path).unwrap_or_default();
                return Err(log.lines().next().unwrap_or("it ended at once").to_owned());
            }
            match line.trim().split_once(' ') {
                Some(("port", number)) => port = number.parse().ok(),
                Some(("tls-port", number)) => tls_port = number.parse().ok(),
                Some(("version", text)) => text.clone_into(&mut version),
                _ => is_ready = line.trim() == "ready",
            }
        }
        let control = Some((input, output));
        Ok(Self {
            server,
            port: port.unwrap_or(0),
            tls_port,
            version,
            child,
            control,
            timer: None,
        })
    }

    fn start_dovecot(places: &Places) -> Result<Self, String> {
        let version = dovecot::version().ok_or("dovecot is not installed")?;
        let dir = places.build.join("dovecot");
        let ports = dovecot::configure(&dir, &places.mail, &places.build);
        let (port, tls_port) = ports.map_err(|error| error.to_string())?;
        let config = dir.join("dovecot.conf");
        let mut command = pinned(SERVER_CORE, "dovecot");
        command
            .arg("-F")
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| format!("dovecot: {error}"))?;
        let mut running = Self {
            server: Server::Dovecot,
            port,
            tls_port: Some(tls_port),
            version,
            child,
            control: None,
            timer: None,
        };
        let begun = Instant::now();
        while TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_err() {
            if !running.is_alive() || begun.elapsed() > Duration::from_secs(10) {
                return Err(format!(
                    "dovecot does not start; see {}",
                    dir.join("dovecot.log").display()
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(running)
    }

    /// Root of the server's process tree.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether its interpreter can be watched.
    fn has_interpreter(&self) -> bool {
        !matches!(self.server, Server::Dovecot | Server::Raw)
    }

    /// Starts the 5 ms timer of the server's interpreter, or of the one beside it.
    pub fn watch(&mut self) {
        if let Some(timer) = &mut self.timer {
            timer.watch();
        } else if let Some((input, _)) = &mut self.control {
            let _ = input.write_all(b"watch\n");
        }
    }

    /// The longest lateness of that timer in milliseconds.
    pub fn stall(&mut self) -> Option<f64> {
        if let Some(timer) = &mut self.timer {
            return timer.stall();
        }
        let (input, output) = self.control.as_mut()?;
        input.write_all(b"stall\n").ok()?;
        let mut line = String::new();
        output.read_line(&mut line).ok()?;
        let micros: f64 = line.trim().strip_prefix("stall ")?.parse().ok()?;
        Some(micros / 1e3)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // tclsh ends with its input; Dovecot's master ends its processes on
        // SIGTERM. Only a server that ignores this is killed, by its own id.
        self.control = None;
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let (true, Some(pid)) = (!self.has_interpreter(), pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while self.is_alive() {
            if begun.elapsed() > Duration::from_secs(20) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
