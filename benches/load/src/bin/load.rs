//! `load`: asks a POP3 server on the loopback interface for mail and verifies it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use pop3d_load::args::Args;
use pop3d_load::client::{self, Outcome, Plan, Verify, Workload};
use pop3d_load::mailbox::{self, Kind, Manifest};
use pop3d_load::stream;

const OPTIONS: [&str; 14] = [
    "tls",
    "workload",
    "kind",
    "mail",
    "port",
    "connections",
    "threads",
    "warmup",
    "seconds",
    "limit",
    "buffer",
    "pids",
    "verify",
    "hold",
];

fn plan(args: &Args) -> Result<Plan, String> {
    let name = args.text("kind").unwrap_or("u");
    let kind = Kind::named(name).ok_or_else(|| format!("unknown kind {name:?}"))?;
    let mail = Path::new(args.text("mail").ok_or("--mail DIRECTORY is missing")?);
    mailbox::build(mail, kind).map_err(|error| format!("mailboxes {name}: {error}"))?;
    let manifest = Manifest::read(mail, kind).map_err(|error| error.to_string())?;
    let seconds = |key, default| args.value(key, default).map(Duration::from_secs_f64);
    let pids = args.text("pids").unwrap_or_default();
    let pids: Result<_, _> = pids
        .split(',')
        .filter(|pid| !pid.is_empty())
        .map(str::parse)
        .collect();
    Ok(Plan {
        workload: Workload::named(args.text("workload").unwrap_or("logins"))?,
        kind,
        manifest,
        verify: Verify::named(args.text("verify").unwrap_or("exact"))?,
        port: args.value("port", 0)?,
        connections: args.value("connections", 1)?,
        threads: args.value("threads", 1)?,
        warmup: seconds("warmup", 0.3)?,
        duration: seconds("seconds", 2.0)?,
        limit: seconds("limit", 60.0)?,
        buffer: args.value("buffer", 256 << 10)?,
        pids: pids.map_err(|error| format!("--pids: {error}"))?,
        tls: match args.text("tls") {
            None => None,
            Some(how @ ("full" | "resumed")) => {
                let config = stream::client_config(how == "resumed");
                Some(config.map_err(|error| error.to_string())?)
            }
            Some(how) => return Err(format!("--tls {how}: full or resumed")),
        },
        hold: args.has("hold"),
    })
}

fn run() -> Result<Outcome, String> {
    let args = Args::parse(std::env::args().skip(1), &OPTIONS)?;
    client::run(&plan(&args)?)
}

fn main() -> ExitCode {
    match run() {
        Ok(outcome) => {
            println!("{}", outcome.line());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
