//! `bench`: runs the rows of the benchmark for all servers and writes the report.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pop3d_load::args::Args;
use pop3d_load::bench::results::Results;
use pop3d_load::bench::rows::{ROWS, STALL, SWEEPS};
use pop3d_load::bench::runner::{Effort, Runner};
use pop3d_load::bench::servers::{Places, Server};
use pop3d_load::bench::{plot, report};

const OPTIONS: [&str; 9] = [
    "root", "row", "servers", "runs", "seconds", "quick", "docs", "report", "tclsh",
];

const HELP: &str = "\
usage: benches/run [--row NAMES] [--servers NAMES] [--runs N] [--seconds S]
                   [--quick] [--docs] [--report] [--tclsh PROGRAM]
  --row      rows and sweeps, separated by commas; default: all
  --servers  ours,ours-dbox,ours-procs,tcllib,dovecot,raw; default: all
  --runs     recorded runs of each row and server (5; quick: 2)
  --seconds  length of a run's measured part (2; quick: 0.4)
  --quick    the two-minute version: no sweeps, fewer idle connections
  --docs     write docs/BENCHMARK.md and docs/benchmark.svg
  --report   measure nothing, report the last results again";

/// Splits a list of names; an option that is missing means all.
fn chosen(args: &Args, key: &str, all: &[&'static str]) -> Result<Vec<&'static str>, String> {
    let Some(text) = args.text(key) else {
        return Ok(all.to_vec());
    };
    let find = |name: &str| {
        let known = all.iter().find(|known| **known == name).copied();
        known.ok_or_else(|| format!("--{key} {name}: known are {}", all.join(",")))
    };
    text.split(',').map(find).collect()
}

/// Processor and kernel, without anything that names the machine.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel: String = kernel
        .chars()
        .take_while(|char| char.is_ascii_digit() || *char == '.')
        .collect();
    format!("{cores} cores ({model}), Linux {kernel}")
}

fn places(args: &Args) -> Result<Places, String> {
    let root =
        fs::canonicalize(args.text("root").unwrap_or(".")).map_err(|error| error.to_string())?;
    let build = root.join("build/bench");
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let programs = program
        .parent()
        .map(Path::to_path_buf)
        .ok_or("no directory of programs")?;
    let tclsh = args.text("tclsh").unwrap_or("tclsh").to_owned();
    let places = Places {
        mail: build.join("mail"),
        root,
        build,
        programs,
        tclsh,
    };
    places
        .write_users()
        .map_err(|error| format!("users: {error}"))?;
    places
        .stage()
        .map_err(|error| format!("package: {error}"))?;
    places
        .make_certificate()
        .map_err(|error| format!("certificate: {error}"))?;
    Ok(places)
}

fn measure(args: &Args, places: &Places) -> Result<(Results, Vec<String>), String> {
    let quick = args.has("quick");
    let effort = Effort {
        runs: args.value("runs", if quick { 2 } else { 5 })?,
        seconds: args.value("seconds", if quick { 0.4 } else { 2.0 })?,
        warmup: if quick { 0.15 } else { 0.3 },
        quick,
    };
    let mut names: Vec<&'static str> = ROWS.iter().map(|row| row.name).collect();
    if !quick || args.has("row") {
        names.extend(SWEEPS.iter().map(|sweep| sweep.name));
    }
    let names = chosen(args, "row", &names)?;
    let servers = chosen(args, "servers", &Server::ALL.map(|(_, name)| name))?;
    let servers = servers.into_iter().filter_map(Server::named).collect();
    let mut runner = Runner::new(places.clone(), effort, servers);
    // All mailboxes come first: Dovecot's are given to its user when it starts.
    for row in ROWS.iter().filter(|row| names.contains(&row.name)) {
        runner.prepare(row.kind)?;
    }
    for sweep in SWEEPS.iter().filter(|sweep| names.contains(&sweep.name)) {
        sweep
            .steps
            .iter()
            .try_for_each(|(_, kind, _)| runner.prepare(kind))?;
    }
    for row in ROWS.iter().filter(|row| names.contains(&row.name)) {
        runner.row(row);
    }
    for sweep in SWEEPS.iter().filter(|sweep| names.contains(&sweep.name)) {
        runner.sweep(sweep);
    }
    let notes = &mut runner.results.notes;
    notes.insert("machine".to_owned(), machine());
    notes.insert("runs".to_owned(), effort.runs.to_string());
    notes.insert("seconds".to_owned(), effort.seconds.to_string());
    Ok((runner.results, runner.failures))
}

/// Two benchmarks at a time would measure each other, and share Dovecot's directory.
///
/// # Errors
/// Another one runs.
fn alone(places: &Places) -> Result<fs::File, String> {
    let lock = fs::File::create(places.build.join("lock")).map_err(|error| error.to_string())?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&lock, operation).map_err(|_| "another benchmark runs here")?;
    Ok(lock)
}

/// Tells how the targets stand.
fn print_targets(results: &Results) {
    println!();
    let lines = ROWS
        .iter()
        .flat_map(|row| row.lines.iter().map(move |line| (row.name, line)));
    for (row, line) in lines.chain([("", &STALL)]) {
        for target in line.targets {
            let (text, reached) = report::judge(results, row, line, target);
            if reached.is_some() {
                println!("{}: {text}", line.title);
            }
        }
    }
}

fn run() -> Result<bool, String> {
    let args = Args::parse(std::env::args().skip(1), &OPTIONS)
        .map_err(|error| format!("{error}\n{HELP}"))?;
    if args.has("help") {
        println!("{HELP}");
        return Ok(true);
    }
    let places = places(&args)?;
    // A part of the rows does not replace the results of all.
    let part = args.has("row") || args.has("servers");
    let kept: PathBuf = places
        .build
        .join(if part { "part.txt" } else { "results.txt" });
    let (results, failures) = if args.has("report") {
        (
            Results::load(&kept).map_err(|error| format!("no results: {error}"))?,
            Vec::new(),
        )
    } else {
        let _lock = alone(&places)?;
        let (results, failures) = measure(&args, &places)?;
        results.save(&kept).map_err(|error| error.to_string())?;
        (results, failures)
    };
    print_targets(&results);
    let docs = if args.has("docs") {
        places.root.join("docs")
    } else {
        places.build.clone()
    };
    let write = |name: &str, text: String| {
        fs::write(docs.join(name), text).map_err(|error| format!("{name}: {error}"))
    };
    fs::create_dir_all(&docs).map_err(|error| error.to_string())?;
    write("BENCHMARK.md", report::markdown(&results))?;
    write("benchmark.svg", plot::svg(&results))?;
    for failure in &failures {
        println!("FAILED {failure}");
    }
    Ok(failures.is_empty())
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
