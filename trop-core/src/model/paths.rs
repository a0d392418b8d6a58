//! Paths of reservations. They are made absolute and normalised as text. Symbolic links are followed only for
//! the working directory, on request, and to compare paths.

use std::env;
use std::path::{Component, Path, PathBuf};

use super::error::{Error, Result};

/// Returns the path in the form that a reservation stores: absolute, lexically normal, UTF-8.
///
/// Symbolic links are not followed, so `link/..` is the link's parent, and the path need not exist.
///
/// # Errors
/// [`Error::UnresolvablePath`] for text that is not UTF-8, `~user`, `..` above the root or a missing home
/// directory.
pub(crate) fn normalise(argument: &'static str, path: &Path) -> Result<String> {
    let fail = |reason: &str| Error::UnresolvablePath {
        argument,
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    };
    let text = path.to_str().ok_or_else(|| fail("it is not valid UTF-8"))?;
    if is_normal(text) {
        return Ok(text.to_owned());
    }
    if text.is_empty() {
        return Err(Error::invalid(argument, "Cannot be empty"));
    }
    if text.contains('\0') {
        return Err(Error::invalid(argument, "Cannot contain a NUL character"));
    }
    let absolute = if let Some(rest) = text.strip_prefix('~') {
        let rest = rest.strip_prefix(std::path::is_separator).or(rest.is_empty().then_some(""));
        let rest = rest.ok_or_else(|| fail("'~user' is not supported, only '~' and '~/...'"))?;
        home().ok_or_else(|| fail("there is no home directory (HOME is not set)"))?.join(rest)
    } else if path.is_absolute() {
        path.to_path_buf()
    } else {
        current_dir()?.join(path)
    };
    if !absolute.is_absolute() {
        return Err(fail("the home directory (HOME) is not an absolute path"));
    }
    let mut normal = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return Err(fail("'..' leads above the root directory"));
                }
            }
            other => normal.push(other),
        }
    }
    match normal.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(fail("the working directory or home directory is not valid UTF-8")),
    }
}

/// Returns the path of the reservation that a request for `path` means; without a path, the physical working
/// directory.
///
/// Symbolic links in a given path are kept unless `canonicalize` is set. They are followed then, and the path
/// must exist.
///
/// # Errors
/// [`Error::UnresolvablePath`] for a path that cannot be resolved or stored, [`Error::Io`] when the working
/// directory is gone.
pub fn resolve_path(path: Option<&Path>, canonicalize: bool) -> Result<String> {
    let Some(path) = path else { return normalise("path", &working_directory()?) };
    let normal = normalise("path", path)?;
    if !canonicalize {
        return Ok(normal);
    }
    let physical = Path::new(&normal).canonicalize().map_err(|error| Error::UnresolvablePath {
        argument: "path",
        path: path.to_path_buf(),
        reason: error.to_string(),
    })?;
    normalise("path", &physical)
}

/// Replaces the path of a request by the absolute path that it means now.
pub(crate) fn pin(path: &mut Option<PathBuf>) -> Result<()> {
    *path = Some(resolve_path(path.as_deref(), false)?.into());
    Ok(())
}

/// Whether text has the form that [`normalise`] returns. It is called for every row that is read, so it
/// allocates nothing.
#[cfg(unix)]
pub(crate) fn is_normal(text: &str) -> bool {
    let is_name = |name: &str| !matches!(name, "" | "." | "..");
    let is_below_root = text.strip_prefix('/').is_some_and(|names| names.split('/').all(is_name));
    (is_below_root || text == "/") && !text.contains('\0')
}

/// Whether text has the form that [`normalise`] returns: an absolute path that equals the path made of its
/// components.
#[cfg(not(unix))]
pub(crate) fn is_normal(text: &str) -> bool {
    let path = Path::new(text);
    let is_name = |component| !matches!(component, Component::CurDir | Component::ParentDir);
    path.is_absolute()
        && path.components().all(is_name)
        && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
        && !text.contains('\0')
}

/// The physical working directory.
///
/// # Errors
/// [`Error::Io`] when it does not exist any more.
pub(crate) fn working_directory() -> Result<PathBuf> {
    let directory = current_dir()?;
    if cfg!(unix) {
        // POSIX: the path that getcwd returns contains no symbolic links.
        return Ok(directory);
    }
    directory.canonicalize().map_err(|source| Error::io_of(None, "resolve", &directory, source))
}

/// The user's home directory: `HOME`, else `USERPROFILE`.
pub(crate) fn home() -> Option<PathBuf> {
    ["HOME", "USERPROFILE"].iter().filter_map(env::var_os).find(|value| !value.is_empty()).map(PathBuf::from)
}

/// Whether `path` is `base`, above it or below it, by whole components. The paths are compared as text first,
/// then with the symbolic links in the existing part of `path` followed. `base` is canonical.
pub(crate) fn is_related(path: &Path, base: &Path) -> bool {
    let related = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
    related(path, base) || related(&canonical_prefix(path), base)
}

/// The path with symbolic links followed in its longest existing part. The missing rest is kept as it is.
fn canonical_prefix(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(canonical), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() { canonical } else { canonical.join(rest) };
        }
    }
    path.to_path_buf()
}

pub(crate) fn current_dir() -> Result<PathBuf> {
    let failed = |source| Error::io_of(None, "find the working directory", Path::new("."), source);
    env::current_dir().map_err(failed)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn normal_paths_are_absolute_without_dots() {
        let normal = |path: &str| normalise("path", Path::new(path)).unwrap();
        assert_eq!(normal("/"), "/");
        assert_eq!(normal("/a/./b//c/"), "/a/b/c");
        assert_eq!(normal("/a/link/../b"), "/a/b");
        let here = current_dir().unwrap();
        assert_eq!(Path::new(&normal("x")), here.join("x"));
        assert_eq!(Path::new(&normal("./~")), here.join("~"));
        for path in ["/", "/a", "/a/b.c", "/a/..b/...", "/ä /~"] {
            assert!(is_normal(path), "{path}");
            assert_eq!(normal(path), path);
        }
        for path in ["", "a", "//", "/a/", "/a//b", "/./a", "/a/.", "/a/..", "/../a", "/a\0b", "~"] {
            assert!(!is_normal(path), "{path:?}");
        }
    }

    #[test]
    fn unresolvable_paths_are_refused() {
        use std::os::unix::ffi::OsStrExt;
        for bad in ["/..", "/a/../../b", "~root/x"] {
            let error = normalise("path", Path::new(bad)).unwrap_err();
            assert!(matches!(error, Error::UnresolvablePath { argument: "path", .. }), "{error}");
        }
        let latin = std::ffi::OsStr::from_bytes(b"/caf\xe9");
        assert!(normalise("path", Path::new(latin)).is_err());
        assert!(normalise("path", Path::new("")).is_err());
        assert!(normalise("path", Path::new("/a\0b")).is_err());
    }

    #[test]
    fn relationship_is_by_components_and_follows_links_second() {
        let yes = |a: &str, b: &str| assert!(is_related(Path::new(a), Path::new(b)), "{a} {b}");
        yes("/w/a", "/w/a");
        yes("/w", "/w/a");
        yes("/w/a/b", "/w/a");
        assert!(!is_related(Path::new("/w/ab"), Path::new("/w/a")));

        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let real = base.join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, base.join("link")).unwrap();
        assert!(is_related(&base.join("link/missing/tail"), &real));
        assert!(!is_related(&base.join("other"), &real));
    }
}
