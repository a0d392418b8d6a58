//! What the core logs, for people: warnings on standard error, one line each.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::output;

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn && metadata.target().starts_with("trop")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            output::line(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// From now on warnings are printed, unless it is to be quiet.
pub(crate) fn start(quiet: bool) {
    // It fails only if it was called before.
    if !quiet && log::set_logger(&Stderr).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
