//! How a call is carried out: on which registry, at once or on libuv's pool, for real or as a dry run.

use std::path::Path;

use napi::bindgen_prelude::{
    AsyncTask, Either, Either3, External, FnArgs, Function, JsValuesTupleIntoVec, ToNapiValue, TypeName,
};
use napi::{Env, Task, Unknown};
use trop_core::{Error, Registry, Result, contain};

use crate::results::Failure;

/// The open registry of a call, if it has one. An external value takes a fraction of the time that an
/// instance of a class would.
pub type Handle<'a> = Option<&'a External<Registry>>;

/// Which registry a call is about: an open one, or the shared one of a data directory, by default `~/.trop`.
pub type Target<'a> = (Handle<'a>, Option<String>);

/// The answer of a finished call.
pub type Answer<T> = Either<T, Failure>;

/// What a call returns: its answer, or the promise of one.
pub type Returned<T> = Either<Answer<T>, AsyncTask<Job<T>>>;

/// What a call with a [`Maker`] returns: the result that was made of its answer, its failure, or the promise
/// of an answer.
pub type Made<'env, T> = Either3<Unknown<'env>, Failure, AsyncTask<Job<T>>>;

/// A function of `index.js` that makes a result of the parts of an answer. Calling it takes half as long as
/// making an array of the parts.
pub type Maker<'env, A> = Function<'env, FnArgs<A>, Unknown<'env>>;

/// Runs a call on a registry, or on a copy of it for a dry run. [`start`] says on which thread.
///
/// `Registry::contain` catches a panic of the work and poisons the registry.
pub fn run_on<T, W>(
    target: Target,
    later: bool,
    dry_run: bool,
    prepare: impl FnOnce() -> Result<W>,
) -> Returned<T>
where
    T: ToNapiValue + TypeName + Send + 'static,
    W: FnOnce(&Registry) -> Result<T> + Send + 'static,
{
    start(later, || {
        let work = prepare()?;
        let registry = registry(target)?;
        Ok(move || {
            registry.contain(|registry| if dry_run { work(&registry.dry_run()?) } else { work(registry) })
        })
    })
}

/// Makes the answer of a call into a result, unless it comes later.
///
/// # Errors
/// Those of the function that makes it.
pub fn make<'env, T, A>(
    returned: Returned<T>,
    maker: &Maker<'env, A>,
    arguments: impl FnOnce(T) -> A,
) -> napi::Result<Made<'env, T>>
where
    T: ToNapiValue + TypeName + Send + 'static,
    FnArgs<A>: JsValuesTupleIntoVec,
{
    Ok(match returned {
        Either::A(Either::A(value)) => Either3::A(maker.call(arguments(value).into())?),
        Either::A(Either::B(failure)) => Either3::B(failure),
        Either::B(job) => Either3::C(job),
    })
}

/// Runs a call that is not about a registry as a whole. [`start`] says on which thread.
pub fn run<T, W>(later: bool, prepare: impl FnOnce() -> Result<W>) -> Returned<T>
where
    T: ToNapiValue + TypeName + Send + 'static,
    W: FnOnce() -> Result<T> + Send + 'static,
{
    start(later, || {
        let work = prepare()?;
        Ok(move || contain(work))
    })
}

/// Prepares a call on this thread, so that relative paths and defaults are those of the moment of the call,
/// and does the work at once or, if `later` is set, on a thread of libuv's pool. The work catches its own
/// panics.
fn start<T, W>(later: bool, prepare: impl FnOnce() -> Result<W>) -> Returned<T>
where
    T: ToNapiValue + TypeName + Send + 'static,
    W: FnOnce() -> Result<T> + Send + 'static,
{
    match contain(prepare) {
        Ok(work) if later => Either::B(AsyncTask::new(Job(Some(Box::new(work))))),
        Ok(work) => Either::A(answer(work())),
        Err(error) => Either::A(answer(Err(error))),
    }
}

/// The answer of something that may have failed.
pub fn answer<T>(result: Result<T>) -> Answer<T> {
    result.map_or_else(|error| Either::B(error.into()), Either::A)
}

/// Work for the pool; none once it is done.
pub struct Job<T>(Option<Box<dyn FnOnce() -> Result<T> + Send>>);

impl<T: ToNapiValue + TypeName + Send + 'static> Task for Job<T> {
    type Output = Answer<T>;
    type JsValue = Answer<T>;

    fn compute(&mut self) -> napi::Result<Answer<T>> {
        Ok(answer(self.0.take().map_or(Err(Error::Closed), |work| work())))
    }

    fn resolve(&mut self, _env: Env, answer: Answer<T>) -> napi::Result<Answer<T>> {
        Ok(answer)
    }
}

fn registry(target: Target) -> Result<Registry> {
    match target {
        (Some(handle), _) => Ok(Registry::clone(handle)),
        (None, directory) => Registry::shared_in(directory.as_deref().map(Path::new)),
    }
}
