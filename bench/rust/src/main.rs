//! The Rust worker of `make bench` (see `bench/PROTOCOL.md`): trop, and what it is compared with.

mod database;
mod floor;
mod gap;
mod measure;
mod probe;
mod tags;
mod trop;

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::{env, error};

use floor::Floor;
use gap::Gap;
use measure::Samples;
use trop::Trop;

type Result<T> = std::result::Result<T, Box<dyn error::Error>>;

/// What carries out the operations.
trait Engine {
    /// Does an operation `count` times. An error means that it cannot be asked for, not that a call failed.
    fn run(&mut self, operation: &str, count: usize) -> Result<Samples>;
}

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trop-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [engine, directory, min, max] = arguments.as_slice() else {
        return Err("usage: trop-bench trop|floor|gap DATA_DIR MIN MAX".into());
    };
    let (directory, min, max) = (Path::new(directory), min.parse()?, max.parse()?);
    let mut engine: Box<dyn Engine> = match engine.as_str() {
        "trop" => Box::new(Trop::open(directory, min, max)?),
        "floor" => Box::new(Floor::open(directory, min, max)?),
        "gap" => Box::new(Gap::open(directory, min, max)?),
        _ => return Err(format!("unknown engine '{engine}'").into()),
    };
    let mut output = io::stdout().lock();
    writeln!(output, "ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (operation, count) = line.split_once(' ').ok_or_else(|| format!("no count in '{line}'"))?;
        let samples = engine.run(operation, count.parse()?).map_err(|error| format!("{line}: {error}"))?;
        if let Some(failure) = &samples.failure {
            eprintln!("trop-bench: {line}: {failure}");
        }
        writeln!(output, "{}", samples.to_json())?;
    }
    Ok(())
}

fn unknown(operation: &str) -> Box<dyn error::Error> {
    format!("unknown operation '{operation}'").into()
}
