//! How a call is carried out: which registry it is about, at once or on the pool, for real or rehearsed.

use std::path::Path;

use napi::bindgen_prelude::{
    AsyncTask, Either, Either3, External, FnArgs, Function, JsValuesTupleIntoVec, ToNapiValue, TypeName,
};
use napi::{Env, Task, Unknown};
use trop_core::{Error, Registry, Result, contain};

use crate::results::Failure;

/// A registry that was opened, if the call is about one. An external value costs a fraction of an instance of a class.
pub type Handle<'a> = Option<&'a External<Registry>>;

/// Which registry a call is about: an open one, or the shared one of a data directory or of the default one.
pub type Place<'a> = (Handle<'a>, Option<String>);

/// What a finished call answers.
pub type Answer<T> = Either<T, Failure>;

/// What a call returns: its answer, or the promise of one.
pub type Returned<T> = Either<Answer<T>, AsyncTask<Job<T>>>;

/// What a call returns whose caller said how to make a result of its answer: that result, unless it failed, or the
/// promise of an answer.
pub type Made<'env, T> = Either3<Unknown<'env>, Failure, AsyncTask<Job<T>>>;

/// A function of `index.js` that makes a result. One call of it costs half of what an array of its arguments would.
pub type Maker<'env, A> = Function<'env, FnArgs<A>, Unknown<'env>>;

/// Runs a call on a registry, or on a copy for a dry run; see [`run`].
pub fn run_on<T, W>(
    place: Place,
    later: bool,
    dry_run: bool,
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
            registry.contain(|registry| if dry_run { work(&registry.dry_run()?) } else { work(registry) })
        })
    })
}

/// Has the answer of a call, unless it comes later, made into a result at once.
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
        (Some(handle), _) => Ok(Registry::clone(handle)),
        (None, directory) => Registry::shared_in(directory.as_deref().map(Path::new)),
    }
}
