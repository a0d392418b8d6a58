//! The ports of a group as text that a shell evaluates, or that other programs read.

use std::env;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::group::{GroupKey, ReservedGroup};

/// A family of shells with one way to set a variable for other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shell {
    /// `sh`, `bash` and whatever else knows `export`.
    Bash,
    /// `zsh`.
    Zsh,
    /// `fish`.
    Fish,
    /// `powershell` or `pwsh`.
    PowerShell,
}

impl Shell {
    /// The shell of a name, in any case: `bash` or `sh`, `zsh`, `fish`, `powershell`, `pwsh` or `ps`.
    ///
    /// # Errors
    /// [`Error::UnknownShell`], which does not repeat the name.
    pub fn parse(name: &str) -> Result<Shell> {
        match name.to_ascii_lowercase().as_str() {
            "bash" | "sh" => Ok(Shell::Bash),
            "zsh" => Ok(Shell::Zsh),
            "fish" => Ok(Shell::Fish),
            "powershell" | "pwsh" | "ps" => Ok(Shell::PowerShell),
            _ => Err(Error::UnknownShell),
        }
    }

    /// The shell that started this process, as far as its variables tell, else `bash`; and the name of the login shell
    /// if that is one for which `bash` is only a guess.
    #[must_use]
    pub fn detect() -> (Shell, Option<String>) {
        Shell::detect_in(|variable| env::var_os(variable))
    }

    fn detect_in(variable: impl Fn(&str) -> Option<OsString>) -> (Shell, Option<String>) {
        let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
        for (name, shell) in
            [("ZSH_VERSION", Shell::Zsh), ("FISH_VERSION", Shell::Fish), ("PSModulePath", Shell::PowerShell)]
        {
            if is_set(name) {
                return (shell, None);
            }
        }
        let login = variable("SHELL").unwrap_or_default();
        let login = login.to_string_lossy();
        for (part, shell) in [
            ("zsh", Shell::Zsh),
            ("fish", Shell::Fish),
            ("pwsh", Shell::PowerShell),
            ("powershell", Shell::PowerShell),
        ] {
            if login.contains(part) {
                return (shell, None);
            }
        }
        let name = Path::new(&*login).file_name().map(|name| name.to_string_lossy().into_owned());
        let alike =
            |name: &String| ["sh", "bash", "dash", "ash", "ksh", "ksh93", "mksh"].contains(&name.as_str());
        (Shell::Bash, name.filter(|name| !alike(name)))
    }
}

/// How the ports of a group are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupFormat {
    /// Statements that export a variable for each service.
    Export(Shell),
    /// A line `NAME=PORT` for each service.
    Dotenv,
    /// An object from tags to ports.
    Json,
}

impl ReservedGroup {
    /// The ports as text, ordered by tag, with a line end; the same text for the same ports.
    ///
    /// # Errors
    /// As [`ReservedGroup::ports_by`].
    pub fn format(&self, format: GroupFormat) -> Result<String> {
        let statement = |name: &str, port| match format {
            GroupFormat::Export(Shell::Bash | Shell::Zsh) => format!("export {name}={port}"),
            GroupFormat::Export(Shell::Fish) => format!("set -x {name} {port}"),
            GroupFormat::Export(Shell::PowerShell) => format!("$env:{name}=\"{port}\""),
            GroupFormat::Dotenv | GroupFormat::Json => format!("{name}={port}"),
        };
        // Looked at in every format: which one is asked for must not decide whether a group is sound.
        let variables = self.ports_by(GroupKey::Variable)?;
        let mut text = String::new();
        if format == GroupFormat::Json {
            let ports = self.ports_by(GroupKey::Tag)?;
            let object: Map<_, _> =
                ports.into_iter().map(|(tag, port)| (tag.to_owned(), Value::from(port.get()))).collect();
            // The alternate form is the pretty one.
            let _ = writeln!(text, "{:#}", Value::Object(object));
            return Ok(text);
        }
        for (name, port) in variables {
            text += &statement(name, port.get());
            text.push('\n');
        }
        Ok(text)
    }
}
