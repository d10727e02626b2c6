//! Work that may wait, on the runtime's threads that are there for it.

use tokio::runtime::Handle;

use crate::error::{Error, Result};

/// Does `work` on a thread that may wait, and answers what it comes to. Nothing is done before this is polled; from
/// then on it is done to the end.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let runtime = Handle::try_current().map_err(|source| Error::NoRuntime { source })?;
    let done = runtime.spawn_blocking(work).await;
    done.map_err(|source| Error::Unfinished { source })?
}
