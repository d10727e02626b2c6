//! What happens when the last handle goes.

use tokio::runtime::Handle;

use crate::store::Store;

/// Shared by all handles of a store, which drop their own `Store` before it: so the one in here is the
/// last, and closes the store.
pub(super) struct Closing(Option<Store>);

impl Closing {
    pub(super) fn new(store: Store) -> Self {
        Closing(Some(store))
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        // A runtime that is being shut down drops the work here and now, and the store with it.
        if let (Some(store), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            drop(runtime.spawn_blocking(move || drop(store)));
        }
    }
}
