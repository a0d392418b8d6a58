//! The Rust agent of the cross-language tests: see `tests/PROTOCOL.md`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use trop_core::{
    Error, Port, PortRange, Registry, RegistryOptions, ReleaseRequest, Reservation, ReserveRequest, Result,
    Tag,
};

/// A command's fields, decoded to bytes.
struct Fields(HashMap<String, Vec<u8>>);

/// An answer's fields.
type Answer = Vec<(&'static str, String)>;

fn main() -> io::Result<()> {
    let mut registry = None;
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (verb, rest) = line.split_once('\t').unwrap_or((&line, ""));
        let (status, answer) = match run(&mut registry, verb, &Fields::parse(rest)) {
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

fn run(registry: &mut Option<Registry>, verb: &str, fields: &Fields) -> Result<Answer> {
    if verb == "open" {
        *registry = None;
        *registry = Some(Registry::open(fields.opening()?)?);
        return Ok(Vec::new());
    }
    let registry = registry.as_ref().ok_or(Error::Closed)?;
    match verb {
        "reserve" => {
            let reserved = registry.reserve(&fields.reserve()?)?;
            let Reservation { port, key, .. } = reserved.reservation;
            let mut answer = vec![
                ("port", port.to_string()),
                ("path", key.path().to_owned()),
                ("created", u8::from(reserved.created).to_string()),
            ];
            answer.extend(key.tag().map(|tag| ("tag", tag.to_string())));
            answer.extend(reserved.refusal.map(|refusal| ("refusal", refusal.name().to_owned())));
            Ok(answer)
        }
        "storm" => {
            let mut request = fields.reserve()?;
            let mut ports = Vec::new();
            for number in 0..fields.number("count")?.unwrap_or(0) {
                request.tag = Some(Tag::new(&number.to_string())?);
                ports.push(registry.reserve(&request)?.reservation.port.to_string());
            }
            Ok(vec![("ports", ports.join(","))])
        }
        "release" => Ok(vec![("count", registry.release(&fields.release()?)?.to_string())]),
        "list" => {
            let list = registry.list()?.iter().map(Reservation::to_json).collect();
            Ok(vec![("json", serde_json::Value::Array(list).to_string())])
        }
        "close" => {
            registry.close();
            Ok(Vec::new())
        }
        _ => Err(invalid("verb", "is unknown")),
    }
}

impl Fields {
    fn parse(text: &str) -> Fields {
        let pairs = text.split('\t').filter_map(|field| field.split_once('='));
        Fields(pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect())
    }

    /// Rust's text is UTF-8 by construction; other bytes fail where a caller would make the text.
    fn text(&self, name: &'static str) -> Result<Option<&str>> {
        let bytes = self.0.get(name);
        bytes.map(|bytes| str::from_utf8(bytes).map_err(|_| invalid(name, "it is not UTF-8"))).transpose()
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
        Ok(options)
    }

    fn reserve(&self) -> Result<ReserveRequest> {
        let mut request = ReserveRequest::default();
        request.path = self.path("path");
        request.tag = self.tag()?;
        request.preferred = self.port("port")?;
        request.min = self.port("min")?;
        request.max = self.port("max")?;
        request.allow_unrelated_path = self.flag("allow_unrelated_path", true);
        Ok(request)
    }

    fn release(&self) -> Result<ReleaseRequest> {
        let mut request = ReleaseRequest::default();
        request.path = self.path("path");
        request.tag = self.tag()?;
        request.untagged_only = self.flag("untagged_only", false);
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
