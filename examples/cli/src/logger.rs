//! What the core logs, on standard error: warnings, and details with `--verbose`.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::args::Global;
use crate::output;

struct Logger;

/// Starts logging as much as the options ask for.
pub(crate) fn start(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::Off,
        (false, true) => LevelFilter::Trace,
        (false, false) => LevelFilter::Warn,
    };
    // It fails only when there is a logger already.
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
            // The line of a failure is the last one and only printed by `main`.
            let label = if record.level() <= Level::Warn { "Warning" } else { "Detail" };
            let text = record.args().to_string();
            // In other programs the core says who is speaking.
            output::line(&format!("{label}: {}", text.strip_prefix("trop: ").unwrap_or(&text)));
        }
    }

    fn flush(&self) {}
}
