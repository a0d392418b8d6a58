//! The Rust agent of the cross-language tests: see `tests/PROTOCOL.md`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use trop_core::{
    Cleanup, Discovery, Error, Field, Filter, Finding, GroupKey, GroupRequest, Key, Lease, LeaseInfo,
    LeaseRequest, MigrateRequest, Port, PortRange, Problem, Registry, RegistryOptions, ReleaseRequest,
    Reservation, ReserveRequest, Reserved, Result, ScanRequest, Tag,
};

/// A command's fields, decoded to bytes.
struct Fields(HashMap<String, Vec<u8>>);

/// An answer's fields.
type Answer = Vec<(&'static str, String)>;

/// What the commands work on.
#[derive(Default)]
struct Agent {
    registry: Option<Registry>,
    /// Every lease that was taken, by its handle, and what listens on it.
    leases: Vec<(Lease, Option<TcpListener>)>,
}

fn main() -> io::Result<()> {
    let mut agent = Agent::default();
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (verb, rest) = line.split_once('\t').unwrap_or((&line, ""));
        let (status, answer) = match agent.run(verb, &Fields::parse(rest)) {
            Ok(answer) => ("ok", answer),
            Err(error) => ("error", describe(&error)),
        };
        let mut text = status.to_owned();
        for (name, value) in answer {
            let _ = write!(text, "\t{name}={}", encode(value.as_bytes()));
        }
        writeln!(output, "{text}")?;
        output.flush()?;
    }
    Ok(())
}

impl Agent {
    fn run(&mut self, verb: &str, fields: &Fields) -> Result<Answer> {
        match verb {
            "open" => {
                self.registry = None;
                self.registry = Some(Registry::open(fields.opening()?)?);
                Ok(Vec::new())
            }
            "validate_config" => {
                let problems = trop_core::validate(&fields.path("file").unwrap_or_default())?;
                Ok(json(problems.iter().map(Problem::to_json).collect()))
            }
            "close" => {
                self.registry.as_ref().ok_or(Error::Closed)?.close();
                Ok(Vec::new())
            }
            "lease" => self.lease(fields),
            "lease_close" | "lease_listen" | "lease_wait_listening" => self.use_lease(verb, fields),
            _ => {
                let registry = self.registry.as_ref().ok_or(Error::Closed)?;
                let dry_run = if fields.flag("dry_run", false) { Some(registry.dry_run()?) } else { None };
                operate(dry_run.as_ref().unwrap_or(registry), verb, fields)
            }
        }
    }

    fn lease(&mut self, fields: &Fields) -> Result<Answer> {
        let registry = self.registry.as_ref().ok_or(Error::Closed)?;
        let request = fields.lease()?;
        let leases = match fields.number("count")? {
            None => vec![registry.lease(&request)?],
            Some(count) => {
                let count = count.try_into().map_err(|_| invalid("count", "it is out of range"))?;
                registry.lease_many(count, &request)?
            }
        };
        let first = self.leases.len();
        let ports: Vec<_> = leases.iter().map(|lease| lease.port().to_string()).collect();
        self.leases.extend(leases.into_iter().map(|lease| (lease, None)));
        let handles: Vec<_> = (first..self.leases.len()).map(|handle| handle.to_string()).collect();
        Ok(vec![("ports", ports.join(",")), ("handles", handles.join(","))])
    }

    fn use_lease(&mut self, verb: &str, fields: &Fields) -> Result<Answer> {
        let handle = fields.number("handle")?.and_then(|handle| usize::try_from(handle).ok());
        let taken = handle.and_then(|handle| self.leases.get_mut(handle));
        let (lease, listener) = taken.ok_or_else(|| invalid("handle", "it is unknown"))?;
        match verb {
            "lease_close" => {
                *listener = None;
                lease.close();
            }
            "lease_listen" => {
                *listener = Some(lease.listen(fields.text("host")?.unwrap_or(Lease::HOST), Lease::BACKLOG)?);
            }
            _ => {
                let timeout = fields.number("timeout_ms")?.unwrap_or(10_000);
                let timeout = timeout.try_into().map_err(|_| invalid("timeout", "it is negative"))?;
                lease.wait_listening(Duration::from_millis(timeout))?;
            }
        }
        Ok(Vec::new())
    }
}

fn operate(registry: &Registry, verb: &str, fields: &Fields) -> Result<Answer> {
    match verb {
        "reserve" => Ok(reserved(&registry.reserve(&fields.reserve()?)?)),
        "storm" => {
            let mut request = fields.reserve()?;
            let mut ports = Vec::new();
            for number in 0..fields.number("count")?.unwrap_or(0) {
                request.tag = Some(Tag::new(&number.to_string())?);
                ports.push(registry.reserve(&request)?.reservation.port.to_string());
            }
            Ok(vec![("ports", ports.join(","))])
        }
        "reserve_group" => {
            let by = match fields.text("by")? {
                None | Some("tag") => GroupKey::Tag,
                Some("variable") => GroupKey::Variable,
                Some(_) => return Err(invalid("by", "it is neither tag nor variable")),
            };
            let group = registry.reserve_group(&fields.reserve_group()?)?;
            let ports =
                group.ports_by(by)?.into_iter().map(|(name, port)| (name.to_owned(), port.get().into()));
            Ok(json(Value::Object(ports.collect())))
        }
        "release" => Ok(count(registry.release(&fields.release()?)?)),
        "release_port" => {
            let port = fields.port("port")?.ok_or_else(|| invalid("port", "it is missing"))?;
            Ok(count(usize::from(registry.release_port(port, fields.flag("force", false))?.is_some())))
        }
        "port" => Ok(vec![("port", registry.port(&fields.lease()?)?.to_string())]),
        "leases" => Ok(json(registry.leases()?.iter().map(LeaseInfo::to_json).collect())),
        "own_leases" => Ok(json(registry.own_leases()?.iter().map(LeaseInfo::to_json).collect())),
        "explain" => {
            let port = fields.port("port")?.ok_or_else(|| invalid("port", "it is missing"))?;
            Ok(json(registry.explain(port)?.to_json()))
        }
        "find" => {
            let key = Key::new(fields.path("path").as_deref(), fields.tag()?)?;
            Ok(json(registry.find(&key)?.map_or(Value::Null, |found| found.to_json())))
        }
        "find_port" => {
            let port = fields.port("port")?.ok_or_else(|| invalid("port", "it is missing"))?;
            Ok(json(registry.find_port(port)?.map_or(Value::Null, |found| found.to_json())))
        }
        "list" => {
            let mut filter = Filter::default();
            filter.project = fields.text("project")?.map(str::to_owned);
            filter.tag = fields.text("tag")?.map(str::to_owned);
            filter.path = fields.path("path");
            Ok(json(registry.list_filtered(&filter)?.iter().map(Reservation::to_json).collect()))
        }
        "projects" => Ok(json(registry.projects()?.into())),
        "prune" => Ok(cleaned(&registry.prune()?)),
        "expire" => Ok(cleaned(&registry.expire(fields.days()?)?)),
        "autoclean" => Ok(cleaned(&registry.autoclean(fields.days()?)?)),
        "migrate" => {
            let path = |name| fields.path(name).unwrap_or_default();
            let mut request = MigrateRequest::new(path("from"), path("to"));
            request.recursive = fields.flag("recursive", false);
            request.force = fields.flag("force", false);
            let migration = registry.migrate(&request)?;
            Ok(vec![
                ("moved", migration.moves.len().to_string()),
                ("conflicts", migration.conflicts.len().to_string()),
            ])
        }
        "scan" => {
            let mut request = ScanRequest::default();
            request.min = fields.port("min")?;
            request.max = fields.port("max")?;
            Ok(json(registry.scan(&request)?.findings.iter().map(Finding::to_json).collect()))
        }
        "validate_database" => registry.validate().map(|()| Vec::new()),
        _ => Err(invalid("verb", "is unknown")),
    }
}

fn reserved(reserved: &Reserved) -> Answer {
    let Reservation { port, key, project, task, .. } = &reserved.reservation;
    let mut answer = vec![
        ("port", port.to_string()),
        ("path", key.path().to_owned()),
        ("created", u8::from(reserved.created).to_string()),
    ];
    answer.extend(key.tag().map(|tag| ("tag", tag.to_string())));
    answer.extend(project.clone().map(|project| ("project", project)));
    answer.extend(task.clone().map(|task| ("task", task)));
    answer.extend(reserved.refusal.map(|refusal| ("refusal", refusal.name().to_owned())));
    answer.extend(reserved.cleanup.iter().flat_map(cleaned));
    answer
}

fn cleaned(cleanup: &Cleanup) -> Answer {
    vec![("pruned", cleanup.pruned.len().to_string()), ("expired", cleanup.expired.len().to_string())]
}

fn count(count: usize) -> Answer {
    vec![("count", count.to_string())]
}

#[allow(clippy::needless_pass_by_value, reason = "every caller has just made it")]
fn json(value: Value) -> Answer {
    vec![("json", value.to_string())]
}

impl Fields {
    fn parse(text: &str) -> Fields {
        let pairs = text.split('\t').filter_map(|field| field.split_once('='));
        Fields(pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect())
    }

    /// Rust's text is UTF-8 by construction; other bytes fail where a caller would make the text.
    fn text(&self, name: &'static str) -> Result<Option<&str>> {
        let bytes = self.0.get(name);
        bytes
            .map(|bytes| str::from_utf8(bytes).map_err(|_| invalid(name, "it is not valid UTF-8")))
            .transpose()
    }

    fn number(&self, name: &'static str) -> Result<Option<i64>> {
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(|_| invalid(name, "it is not a number"))).transpose()
    }

    #[cfg(unix)]
    fn path(&self, name: &str) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        self.0.get(name).map(|bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes.clone())))
    }

    #[cfg(not(unix))]
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).map(|bytes| PathBuf::from(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.0.get(name).map_or(default, |bytes| bytes == b"1")
    }

    fn port(&self, name: &'static str) -> Result<Option<Port>> {
        self.number(name)?.map(|number| Port::new(name, number)).transpose()
    }

    fn tag(&self) -> Result<Option<Tag>> {
        self.text("tag")?.map(Tag::new).transpose()
    }

    fn days(&self) -> Result<Option<u32>> {
        let days = self.number("days")?;
        days.map(|days| days.try_into().map_err(|_| invalid("days", "it is out of range"))).transpose()
    }

    fn opening(&self) -> Result<RegistryOptions> {
        let mut options = RegistryOptions::default();
        options.data_dir = self.path("data_dir");
        options.create = self.flag("create", true);
        if let Some(milliseconds) = self.number("busy_timeout_ms")? {
            let milliseconds =
                milliseconds.try_into().map_err(|_| invalid("busy_timeout", "it is negative"))?;
            options.busy_timeout = Some(Duration::from_millis(milliseconds));
        }
        if let (Some(min), Some(max)) = (self.number("ports_min")?, self.number("ports_max")?) {
            options.ports =
                Some(PortRange::new("ports", Port::new("ports", min)?, Port::new("ports", max)?)?);
        }
        if let Some(list) = self.text("excluded")? {
            options.excluded = list.parse()?;
        }
        let (start_dir, config_file) = (self.path("start_dir"), self.path("config_file"));
        options.discovery = Discovery::new(self.flag("discovery", true), start_dir, config_file)?;
        options.variables = self.flag("variables", true);
        options.avoid_unsafe_ports =
            self.0.get("avoid_unsafe_ports").map(|_| self.flag("avoid_unsafe_ports", true));
        Ok(options)
    }

    fn reserve(&self) -> Result<ReserveRequest> {
        let mut request = ReserveRequest::default();
        request.path = self.path("path");
        request.tag = self.tag()?;
        request.project = self.field("project", "clear_project")?;
        request.task = self.field("task", "clear_task")?;
        request.preferred = self.port("port")?;
        request.min = self.port("min")?;
        request.max = self.port("max")?;
        request.occupancy.skip = self.flag("skip_occupancy_check", false);
        request.overwrite = self.flag("overwrite", false);
        request.ignore_occupied = self.flag("ignore_occupied", false);
        request.ignore_exclusions = self.flag("ignore_exclusions", false);
        request.allow_unrelated_path = self.flag("allow_unrelated_path", true);
        request.allow_project_change = self.flag("allow_project_change", false);
        request.allow_task_change = self.flag("allow_task_change", false);
        request.force = self.flag("force", false);
        request.disable_autoprune = self.flag("disable_autoprune", false);
        request.disable_autoexpire = self.flag("disable_autoexpire", false);
        Ok(request)
    }

    fn lease(&self) -> Result<LeaseRequest> {
        let mut request = LeaseRequest::default();
        request.preferred = self.port("port")?;
        request.min = self.port("min")?;
        request.max = self.port("max")?;
        request.label = self.text("label")?.map(str::to_owned);
        request.contiguous = self.flag("contiguous", false);
        request.hold = self.flag("hold", false);
        request.occupancy.skip = self.flag("skip_occupancy_check", false);
        Ok(request)
    }

    fn reserve_group(&self) -> Result<GroupRequest> {
        let mut request = GroupRequest::default();
        request.file = self.path("file");
        request.task = self.text("task")?.map(str::to_owned);
        request.occupancy.skip = self.flag("skip_occupancy_check", false);
        request.allow_unrelated_path = self.flag("allow_unrelated_path", true);
        request.allow_project_change = self.flag("allow_project_change", false);
        request.allow_task_change = self.flag("allow_task_change", false);
        request.force = self.flag("force", false);
        Ok(request)
    }

    fn field(&self, text: &'static str, clear: &'static str) -> Result<Field> {
        Field::new(clear, self.text(text)?.map(str::to_owned), self.flag(clear, false))
    }

    fn release(&self) -> Result<ReleaseRequest> {
        let mut request = ReleaseRequest::default();
        request.path = self.path("path");
        request.tag = self.tag()?;
        request.untagged_only = self.flag("untagged_only", false);
        request.recursive = self.flag("recursive", false);
        request.allow_unrelated_path = self.flag("allow_unrelated_path", true);
        Ok(request)
    }
}

fn invalid(argument: &'static str, reason: &str) -> Error {
    Error::InvalidArgument { argument, reason: reason.to_owned() }
}

fn describe(error: &Error) -> Answer {
    let mut answer = vec![
        ("code", error.code().number().to_string()),
        ("name", error.code().name().to_owned()),
        ("message", error.to_string()),
    ];
    answer.extend(error.argument().map(|argument| ("argument", argument.to_owned())));
    answer
}

fn decode(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.extend(byte);
        bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    bytes
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"_.-/~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
