//! The native half of the npm package `trop`: results and errors as plain data for `index.js`.
//!
//! Nothing here throws. A failed call answers with a [`Failure`], from which `index.js` makes the exception in
//! its own realm, and `index.js` has checked the types of all arguments.

#![allow(
    clippy::must_use_candidate,
    clippy::needless_pass_by_value,
    reason = "the callers are JavaScript, their arguments owned"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use napi::bindgen_prelude::{AsyncTask, ClassInstance, Either, ToNapiValue, TypeName};
use napi::{Env, Task};
use napi_derive::napi;
use trop_core::{
    Error, Port, PortRange, Registry, RegistryOptions, ReleaseRequest, Reservation, ReserveRequest, Result,
    Tag, contain,
};

/// An open registry.
#[napi]
pub struct Handle(Registry);

/// Which registry a call is about: a handle, or the shared one of a data directory or of the default one.
pub type Place<'a> = Option<Either<String, ClassInstance<'a, Handle>>>;

/// Port, path, tag, project, task, and the seconds of creation and of last use.
pub type Row = (u16, String, Option<String>, Option<String>, Option<String>, i64, i64);

/// The row, whether it is new, and why the preferred port was not used.
pub type ReservedRow = (Row, bool, Option<String>);

/// What a failed call answers.
#[napi(object, object_from_js = false)]
pub struct Failure {
    /// The name of the code.
    pub code: &'static str,
    /// The number of the code.
    pub number: i32,
    /// The argument to blame, if one is.
    pub argument: Option<&'static str>,
    /// The operating system's error number.
    pub errno: Option<i32>,
    /// The text for people.
    pub message: String,
}

/// What every call answers.
pub type Answer<T> = Either<T, Failure>;

/// The options of a registry; absent ones have the core's defaults.
#[allow(missing_docs, reason = "they are the core's options")]
#[napi(object, object_to_js = false)]
pub struct Options {
    pub data_dir: Option<String>,
    pub create: Option<bool>,
    /// Milliseconds.
    pub busy_timeout: Option<i64>,
    pub ports: Option<(i64, i64)>,
    /// A comma list of ports and ranges.
    pub excluded: Option<String>,
    pub skip_occupancy_check: Option<bool>,
    pub skip_tcp: Option<bool>,
    pub skip_udp: Option<bool>,
    pub skip_ipv4: Option<bool>,
    pub skip_ipv6: Option<bool>,
    pub check_all_interfaces: Option<bool>,
}

/// A handle whose database is not opened yet.
#[napi]
pub fn open(options: Options) -> Answer<Handle> {
    now(|| Registry::open_lazily(registry_options(options)?).map(Handle))
}

/// Opens the database of a handle.
#[napi]
pub fn connect(handle: &Handle) -> Answer<bool> {
    now(|| handle.0.contain(Registry::connect).map(|()| true))
}

/// As [`connect`], on the pool.
#[napi]
pub fn connect_async(handle: &Handle) -> AsyncTask<Job<bool>> {
    later(|| {
        let registry = handle.0.clone();
        Ok(move || registry.contain(Registry::connect).map(|()| true))
    })
}

/// Closes a handle.
#[napi]
pub fn close(handle: &Handle) -> Answer<bool> {
    now(|| {
        handle.0.close();
        Ok(true)
    })
}

/// The data directory of a handle.
#[napi]
pub fn data_dir(handle: &Handle) -> String {
    handle.0.data_dir().to_string_lossy().into_owned()
}

/// Reserves a port.
#[napi]
pub fn reserve(
    place: Place,
    path: Option<String>,
    tag: Option<String>,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    allow_unrelated_path: Option<bool>,
) -> Answer<ReservedRow> {
    now(|| {
        let request = reserve_request(path, tag, port, min, max, allow_unrelated_path)?;
        registry(place)?.contain(|registry| reserve_row(registry, &request))
    })
}

/// As [`reserve`], on the pool.
#[napi]
pub fn reserve_async(
    place: Place,
    path: Option<String>,
    tag: Option<String>,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    allow_unrelated_path: Option<bool>,
) -> AsyncTask<Job<ReservedRow>> {
    later(|| {
        let mut request = reserve_request(path, tag, port, min, max, allow_unrelated_path)?;
        request.pin_path()?;
        let registry = registry(place)?;
        Ok(move || registry.contain(|registry| reserve_row(registry, &request)))
    })
}

/// Releases ports and tells how many.
#[napi]
pub fn release(
    place: Place,
    path: Option<String>,
    tag: Option<String>,
    untagged_only: Option<bool>,
    allow_unrelated_path: Option<bool>,
) -> Answer<u32> {
    now(|| {
        let request = release_request(path, tag, untagged_only, allow_unrelated_path)?;
        registry(place)?.contain(|registry| release_count(registry, &request))
    })
}

/// As [`release`], on the pool.
#[napi]
pub fn release_async(
    place: Place,
    path: Option<String>,
    tag: Option<String>,
    untagged_only: Option<bool>,
    allow_unrelated_path: Option<bool>,
) -> AsyncTask<Job<u32>> {
    later(|| {
        let mut request = release_request(path, tag, untagged_only, allow_unrelated_path)?;
        request.pin_path()?;
        let registry = registry(place)?;
        Ok(move || registry.contain(|registry| release_count(registry, &request)))
    })
}

/// Every reservation.
#[napi]
pub fn list(place: Place) -> Answer<Vec<Row>> {
    now(|| registry(place)?.contain(list_rows))
}

/// As [`list`], on the pool.
#[napi]
pub fn list_async(place: Place) -> AsyncTask<Job<Vec<Row>>> {
    later(|| {
        let registry = registry(place)?;
        Ok(move || registry.contain(list_rows))
    })
}

/// Runs a synchronous call.
fn now<T>(call: impl FnOnce() -> Result<T>) -> Answer<T> {
    contain(call).map_or_else(|error| Either::B(error.into()), Either::A)
}

/// Prepares an asynchronous call here, where defaults still mean what they meant to the caller, and runs the
/// work it returns on a thread of libuv's pool.
fn later<T, W>(prepare: impl FnOnce() -> Result<W>) -> AsyncTask<Job<T>>
where
    T: ToNapiValue + TypeName + Send + 'static,
    W: FnOnce() -> Result<T> + Send + 'static,
{
    AsyncTask::new(Job(match contain(prepare) {
        Ok(work) => Some(Box::new(work)),
        Err(error) => Some(Box::new(|| Err(error))),
    }))
}

/// Work for the pool, until it is done.
pub struct Job<T>(Option<Box<dyn FnOnce() -> Result<T> + Send>>);

impl<T: ToNapiValue + TypeName + Send + 'static> Task for Job<T> {
    type Output = Answer<T>;
    type JsValue = Answer<T>;

    fn compute(&mut self) -> napi::Result<Answer<T>> {
        Ok(now(|| self.0.take().map_or(Err(Error::Closed), |work| work())))
    }

    fn resolve(&mut self, _env: Env, answer: Answer<T>) -> napi::Result<Answer<T>> {
        Ok(answer)
    }
}

fn registry(place: Place) -> Result<Registry> {
    match place {
        Some(Either::B(handle)) => Ok(handle.0.clone()),
        Some(Either::A(directory)) => Registry::shared_in(Some(Path::new(&directory))),
        None => Registry::shared(),
    }
}

fn registry_options(given: Options) -> Result<RegistryOptions> {
    let mut options = RegistryOptions::default();
    options.data_dir = given.data_dir.map(PathBuf::from);
    options.create = given.create.unwrap_or(options.create);
    if let Some(milliseconds) = given.busy_timeout {
        // `index.js` lets no negative number through.
        options.busy_timeout = Some(Duration::from_millis(milliseconds.unsigned_abs()));
    }
    if let Some((min, max)) = given.ports {
        options.ports = Some(PortRange::new("ports", Port::new("ports", min)?, Port::new("ports", max)?)?);
    }
    if let Some(list) = given.excluded {
        options.excluded.insert_list("excluded", &list)?;
    }
    options.occupancy.skip = given.skip_occupancy_check.unwrap_or_default();
    options.occupancy.skip_tcp = given.skip_tcp.unwrap_or_default();
    options.occupancy.skip_udp = given.skip_udp.unwrap_or_default();
    options.occupancy.skip_ipv4 = given.skip_ipv4.unwrap_or_default();
    options.occupancy.skip_ipv6 = given.skip_ipv6.unwrap_or_default();
    options.occupancy.check_all_interfaces = given.check_all_interfaces.unwrap_or_default();
    Ok(options)
}

fn reserve_request(
    path: Option<String>,
    tag: Option<String>,
    port: Option<i64>,
    min: Option<i64>,
    max: Option<i64>,
    allow_unrelated_path: Option<bool>,
) -> Result<ReserveRequest> {
    let port_named = |name, number: Option<i64>| number.map(|number| Port::new(name, number)).transpose();
    let mut request = ReserveRequest::default();
    request.path = path.map(PathBuf::from);
    request.tag = tag.map(|tag| Tag::new(&tag)).transpose()?;
    request.preferred = port_named("port", port)?;
    request.min = port_named("min", min)?;
    request.max = port_named("max", max)?;
    request.allow_unrelated_path = allow_unrelated_path.unwrap_or(request.allow_unrelated_path);
    Ok(request)
}

fn release_request(
    path: Option<String>,
    tag: Option<String>,
    untagged_only: Option<bool>,
    allow_unrelated_path: Option<bool>,
) -> Result<ReleaseRequest> {
    let mut request = ReleaseRequest::default();
    request.path = path.map(PathBuf::from);
    request.tag = tag.map(|tag| Tag::new(&tag)).transpose()?;
    request.untagged_only = untagged_only.unwrap_or(request.untagged_only);
    request.allow_unrelated_path = allow_unrelated_path.unwrap_or(request.allow_unrelated_path);
    Ok(request)
}

fn reserve_row(registry: &Registry, request: &ReserveRequest) -> Result<ReservedRow> {
    let reserved = registry.reserve(request)?;
    let refusal = reserved.refusal.map(|refusal| refusal.name().to_owned());
    Ok((row(reserved.reservation), reserved.created, refusal))
}

fn release_count(registry: &Registry, request: &ReleaseRequest) -> Result<u32> {
    // There are fewer ports than that.
    Ok(u32::try_from(registry.release(request)?).unwrap_or(u32::MAX))
}

fn list_rows(registry: &Registry) -> Result<Vec<Row>> {
    Ok(registry.list()?.into_iter().map(row).collect())
}

fn row(reservation: Reservation) -> Row {
    (
        reservation.port.get(),
        reservation.key.path().to_owned(),
        reservation.key.tag().map(|tag| tag.as_str().to_owned()),
        reservation.project,
        reservation.task,
        reservation.created_at.seconds(),
        reservation.last_used_at.seconds(),
    )
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            code: error.code().name(),
            number: error.code().number(),
            argument: error.argument(),
            errno: error.errno(),
            message: error.to_string(),
        }
    }
}
