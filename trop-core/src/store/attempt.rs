//! One try of an operation on a connection.

use crate::model::Error;

/// What a try came to.
pub(crate) type Attempt<T> = Result<T, Failure>;

/// Why a try has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was interrupted before anything was committed, by something that is over at once: the file was
    /// replaced, or written to while it was read without a lock. The operation is to be tried again.
    Retry,
    /// It failed.
    Error(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Error(error.into())
    }
}
