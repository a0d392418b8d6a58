//! Prints what the core logs on standard error: warnings, and details with `--verbose`.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::args::GlobalOptions;
use crate::output;

struct Logger;

/// Starts logging, at the level that the options ask for.
pub(crate) fn start(global: &GlobalOptions) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::Off,
        (false, true) => LevelFilter::Trace,
        (false, false) => LevelFilter::Warn,
    };
    // This fails only if there is a logger already.
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // Never "Error": that is the last line of a failed run, which only `main` prints.
            let label = if record.level() <= Level::Warn { "Warning" } else { "Detail" };
            let text = record.args().to_string();
            // The core puts its name in front for the sake of other programs.
            output::line(&format!("{label}: {}", text.strip_prefix("trop: ").unwrap_or(&text)));
        }
    }

    fn flush(&self) {}
}
