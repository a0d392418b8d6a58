//! The timing of calls.

use std::fmt::Display;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long each call took, and its result.
pub(crate) struct Measured<T, E> {
    times: Vec<Duration>,
    pub(crate) results: Vec<Result<T, E>>,
}

/// Calls with each argument and times each call by itself. The results are kept to the end, so that freeing
/// them is not timed.
pub(crate) fn measure<A, T, E>(
    arguments: impl ExactSizeIterator<Item = A>,
    mut call: impl FnMut(A) -> Result<T, E>,
) -> Measured<T, E> {
    let mut times = Vec::with_capacity(arguments.len());
    let mut results = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let start = Instant::now();
        let result = call(argument);
        times.push(start.elapsed());
        results.push(result);
    }
    Measured { times, results }
}

impl<T, E: Display> Measured<T, E> {
    /// The answer of calls of which each gives a port or none.
    pub(crate) fn samples<P: Into<Option<u16>>>(&self, port: impl Fn(&T) -> P) -> Samples {
        let failures = || self.results.iter().filter_map(|result| result.as_ref().err());
        Samples {
            times: self.times.clone(),
            ports: self.results.iter().flatten().filter_map(|value| port(value).into()).collect(),
            failed: failures().count(),
            failure: failures().next().map(E::to_string),
        }
    }
}

/// The answer to a command.
#[derive(Default)]
pub(crate) struct Samples {
    pub(crate) times: Vec<Duration>,
    pub(crate) ports: Vec<u16>,
    pub(crate) failed: usize,
    /// The first error.
    pub(crate) failure: Option<String>,
}

impl Samples {
    pub(crate) fn to_json(&self) -> Value {
        let nanoseconds = |time: &Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        json!({
            "ns": self.times.iter().map(nanoseconds).collect::<Vec<_>>(),
            "ports": self.ports,
            "failed": self.failed,
        })
    }
}
