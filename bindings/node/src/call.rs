//! How a call is carried out: which registry it is about, at once or on the pool, for real or rehearsed.

use std::path::Path;

use napi::bindgen_prelude::{AsyncTask, ClassInstance, Either, ToNapiValue, TypeName};
use napi::{Env, Task};
use napi_derive::napi;
use trop_core::{Error, Registry, Result, contain};

use crate::results::Failure;

/// An open registry.
#[napi]
pub struct Handle(pub(crate) Registry);

/// Which registry a call is about: a handle, or the shared one of a data directory or of the default one.
pub type Place<'a> = Option<Either<String, ClassInstance<'a, Handle>>>;

/// What a finished call answers.
pub type Answer<T> = Either<T, Failure>;

/// What a call returns: its answer, or the promise of one.
pub type Returned<T> = Either<Answer<T>, AsyncTask<Job<T>>>;

/// Runs a call on a registry, or on a rehearsal of it; see [`run`].
pub fn run_on<T, W>(
    place: Place,
    later: bool,
    dry_run: Option<bool>,
    prepare: impl FnOnce() -> Result<W>,
) -> Returned<T>
where
    T: ToNapiValue + TypeName + Send + 'static,
    W: FnOnce(&Registry) -> Result<T> + Send + 'static,
{
    run(later, || {
        let work = prepare()?;
        let registry = registry(place)?;
        Ok(move || {
            registry.contain(|registry| match dry_run {
                Some(true) => work(&registry.rehearsal()?),
                _ => work(registry),
            })
        })
    })
}

/// Prepares a call here, where defaults mean what they mean to the caller, and does the work it returns at once or,
/// if `later` is set, on a thread of libuv's pool.
pub fn run<T, W>(later: bool, prepare: impl FnOnce() -> Result<W>) -> Returned<T>
where
    T: ToNapiValue + TypeName + Send + 'static,
    W: FnOnce() -> Result<T> + Send + 'static,
{
    match contain(prepare) {
        Ok(work) if later => Either::B(AsyncTask::new(Job(Some(Box::new(work))))),
        Ok(work) => Either::A(answer(contain(work))),
        Err(error) => Either::A(answer(Err(error))),
    }
}

/// An answer of what may have failed.
pub fn answer<T>(result: Result<T>) -> Answer<T> {
    result.map_or_else(|error| Either::B(error.into()), Either::A)
}

/// Work for the pool, until it is done.
pub struct Job<T>(Option<Box<dyn FnOnce() -> Result<T> + Send>>);

impl<T: ToNapiValue + TypeName + Send + 'static> Task for Job<T> {
    type Output = Answer<T>;
    type JsValue = Answer<T>;

    fn compute(&mut self) -> napi::Result<Answer<T>> {
        Ok(answer(contain(|| self.0.take().map_or(Err(Error::Closed), |work| work()))))
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
