//! One try of an operation on a connection.

use crate::model::Error;

/// The result of one try.
pub(crate) type Attempt<T> = Result<T, Failure>;

/// Why a try has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was interrupted before anything was committed, because the file was replaced, or was written to
    /// while it was read without a lock. The operation can be tried again at once.
    Retry,
    /// It failed.
    Error(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Error(error.into())
    }
}
