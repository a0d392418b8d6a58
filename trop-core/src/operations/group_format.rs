//! The ports of a group as text that a shell evaluates, or that other programs read.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use serde_json::{Map, Value};

use super::reserve_group::{GroupKey, ReservedGroup};
use crate::model::{Error, Result};

/// A family of shells with one way to set a variable for other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shell {
    /// `sh`, `bash` and other shells with `export`.
    Bash,
    /// `zsh`.
    Zsh,
    /// `fish`.
    Fish,
    /// `powershell` or `pwsh`.
    PowerShell,
}

impl Shell {
    /// Returns the shell with this name, in any case: `bash` or `sh`, `zsh`, `fish`, `powershell`, `pwsh` or
    /// `ps`.
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

    /// Returns the shell that started this process, as far as the environment variables show it, else `bash`.
    /// The second value is the name of the login shell if `bash` is only a guess for it.
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
    /// An object from names to ports.
    Json(GroupKey),
}

impl ReservedGroup {
    /// Returns the ports as text, ordered by tag, with a line end. The same ports always give the same text.
    ///
    /// # Errors
    /// As [`ReservedGroup::ports_by`].
    pub fn format(&self, format: GroupFormat) -> Result<String> {
        // Checked for every format, so that the format does not decide whether a group is valid.
        let variables = self.ports_by(GroupKey::Variable)?;
        let line = |(name, port)| match format {
            GroupFormat::Export(Shell::Bash | Shell::Zsh) => format!("export {name}={port}\n"),
            GroupFormat::Export(Shell::Fish) => format!("set -x {name} {port}\n"),
            GroupFormat::Export(Shell::PowerShell) => format!("$env:{name}=\"{port}\"\n"),
            GroupFormat::Dotenv | GroupFormat::Json(_) => format!("{name}={port}\n"),
        };
        let GroupFormat::Json(key) = format else {
            return Ok(variables.into_iter().map(line).collect());
        };
        let ports = self.ports_by(key)?;
        let object: Map<_, _> =
            ports.into_iter().map(|(name, port)| (name.to_owned(), Value::from(port.get()))).collect();
        // The alternate form is indented.
        Ok(format!("{:#}\n", Value::Object(object)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::{Key, Port, Reservation, Tag, Timestamp};
    use crate::operations::reserve_group::{GroupOutcome, Member};

    fn detect(variables: &[(&str, &str)]) -> (Shell, Option<String>) {
        Shell::detect_in(|asked| {
            variables.iter().find(|(name, _)| *name == asked).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_shell_is_detected_by_its_variables_in_their_order() {
        let (zsh, fish, windows) =
            (("ZSH_VERSION", "5.9"), ("FISH_VERSION", "3.7"), ("PSModulePath", "C:\\x"));
        let login = ("SHELL", "/usr/bin/fish");
        for (variables, expected) in [
            (&[][..], Shell::Bash),
            (&[windows, fish, zsh], Shell::Zsh),
            (&[windows, fish, ("SHELL", "/bin/zsh")], Shell::Fish),
            (&[windows, login], Shell::PowerShell),
            (&[zsh, login], Shell::Zsh),
            (&[login], Shell::Fish),
            // Set to empty text.
            (&[("ZSH_VERSION", ""), ("FISH_VERSION", ""), ("PSModulePath", ""), login], Shell::Fish),
            (&[("SHELL", "")], Shell::Bash),
            (&[("SHELL", "/")], Shell::Bash),
            (&[("SHELL", "/bin/zsh")], Shell::Zsh),
            (&[("SHELL", "/opt/pwsh-7")], Shell::PowerShell),
            (&[("SHELL", "/opt/powershell/run")], Shell::PowerShell),
            (&[("SHELL", "/bin/bash")], Shell::Bash),
            (&[("SHELL", "/usr/bin/dash")], Shell::Bash),
            (&[("SHELL", "/bin/sh")], Shell::Bash),
            (&[("SHELL", "ksh")], Shell::Bash),
        ] {
            assert_eq!(detect(variables), (expected, None), "{variables:?}");
        }
    }

    /// Trap 10 (an unknown shell is taken for bash).
    #[test]
    fn a_shell_that_bash_is_only_a_guess_for_is_named() {
        for name in ["nu", "csh", "tcsh", "elvish", "xonsh", "rc"] {
            let expected = (Shell::Bash, Some(name.to_owned()));
            assert_eq!(detect(&[("SHELL", &format!("/usr/bin/{name}"))]), expected);
            assert_eq!(detect(&[("SHELL", name)]), expected);
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt;
            let latin = || OsString::from_vec(b"/bin/caf\xe9".to_vec());
            let guess = Shell::detect_in(|name| (name == "SHELL").then(latin));
            assert_eq!(guess, (Shell::Bash, Some("caf\u{fffd}".to_owned())));
        }
    }

    #[test]
    fn a_shell_is_named_in_any_case() {
        for (name, expected) in [
            ("bash", Shell::Bash),
            ("SH", Shell::Bash),
            ("zsh", Shell::Zsh),
            ("Fish", Shell::Fish),
            ("PowerShell", Shell::PowerShell),
            ("pwsh", Shell::PowerShell),
            ("PS", Shell::PowerShell),
        ] {
            assert_eq!(Shell::parse(name).unwrap(), expected);
        }
        for bad in ["", "csh", " bash", "bash ", "b\nash", "bashful"] {
            let error = Shell::parse(bad).unwrap_err();
            assert!(matches!(error, Error::UnknownShell), "{bad}");
            assert!(!error.to_string().contains('\n'));
        }
    }

    /// A group that was not validated.
    fn group(members: &[(&str, &str, u16)]) -> ReservedGroup {
        let now = Timestamp::now();
        let member = |(tag, variable, port): &(&str, &str, u16)| Member {
            reservation: Reservation {
                port: Port::from_number(*port).unwrap(),
                key: Key::stored("/w/shop".to_owned(), Some(Tag::new(tag).unwrap())),
                project: None,
                task: None,
                created_at: now,
                last_used_at: now,
            },
            variable: (*variable).to_owned(),
            refusal: None,
        };
        ReservedGroup {
            file: PathBuf::from("/w/shop/trop.yaml"),
            path: "/w/shop".to_owned(),
            members: members.iter().map(member).collect(),
            outcome: GroupOutcome::Created,
            cleanup: None,
        }
    }

    const FORMATS: [GroupFormat; 7] = [
        GroupFormat::Export(Shell::Bash),
        GroupFormat::Export(Shell::Zsh),
        GroupFormat::Export(Shell::Fish),
        GroupFormat::Export(Shell::PowerShell),
        GroupFormat::Dotenv,
        GroupFormat::Json(GroupKey::Tag),
        GroupFormat::Json(GroupKey::Variable),
    ];

    /// Trap 26 (the order of a hash map): in the order of the members, which is that of the tags.
    #[test]
    fn each_format_is_exact() {
        let group = group(&[("a\"b", "Z_1", 1), ("web", "web_PORT", 65535)]);
        let texts = FORMATS.map(|format| group.format(format).unwrap());
        assert_eq!(
            texts,
            [
                "export Z_1=1\nexport web_PORT=65535\n",
                "export Z_1=1\nexport web_PORT=65535\n",
                "set -x Z_1 1\nset -x web_PORT 65535\n",
                "$env:Z_1=\"1\"\n$env:web_PORT=\"65535\"\n",
                "Z_1=1\nweb_PORT=65535\n",
                "{\n  \"a\\\"b\": 1,\n  \"web\": 65535\n}\n",
                "{\n  \"Z_1\": 1,\n  \"web_PORT\": 65535\n}\n",
            ]
        );
    }

    /// Traps 1 (names that are no variables), 2 (names judged late), 3 (a bad name is quoted), 4 (two
    /// services with one name): every format checks every name again, and does not rely on quoting.
    #[test]
    fn names_are_checked_again_where_they_are_written() {
        let long = "A".repeat(256);
        for name in [
            "",
            "9web",
            "web port",
            "a.b",
            "A-B",
            "WÉB",
            "A=1;id",
            "A\nexport B",
            "$(id)",
            "`id`",
            "'A'",
            "\u{1b}[2J",
            "A\0",
            &long,
            "first",
            "FIRST",
        ] {
            let group = group(&[("one", "First", 1), ("two", name, 2)]);
            for format in FORMATS {
                let error = group.format(format).unwrap_err();
                assert!(matches!(error, Error::Config { .. }), "{name}");
                let text = error.to_string();
                assert!(text.starts_with("validation error: "), "{text}");
                assert!(name.len() < 3 || name == "first" || !text.contains(name), "{text}");
            }
            assert!(group.ports_by(GroupKey::Variable).is_err());
            assert_eq!(group.ports_by(GroupKey::Tag).unwrap().len(), 2);
        }
    }
}
