//! Keys that are absent from some time on.
//!
//! Must not know: segments, files.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock;
use crate::error::Result;
use crate::record::Record;
use crate::store::Store;

/// How long a key stays, see [`Store::expires_at`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// Until it is deleted or replaced.
    Never,
    /// From this time on it is absent.
    At(SystemTime),
}

impl Expiry {
    pub(crate) fn of(expires_at: Option<u64>) -> Self {
        let time = expires_at.and_then(|at| UNIX_EPOCH.checked_add(Duration::from_micros(at)));
        time.map_or(Expiry::Never, Expiry::At)
    }
}

impl Store {
    /// As [`Store::put`], with a value that is there for `ttl` and absent from then on, whatever
    /// [`crate::Options::default_ttl`] says. A put without a time replaces the time with the value.
    ///
    /// The time is counted in microseconds, rounded up, from this call on. With a `ttl` of zero the key is absent at once; one
    /// that goes beyond the year 586,000, [`Duration::MAX`] say, ends there. An empty value that deletes the key, as by
    /// default, has no time.
    ///
    /// **What has expired is absent everywhere at once**: to every way of reading, to iteration, to [`Store::delete`], to
    /// [`Store::touch`], and to read-only stores. Values in hand stay. Its bytes count as dead about a second later
    /// ([`crate::Stats::dead_bytes`]), and [`Store::compact`] returns them; until then [`Store::len`] counts the key.
    ///
    /// **Whose time.** The machine's, as far as it goes forward. While a store is open its time never goes back, so nothing that
    /// has expired returns. When it is opened again, its time is no earlier than the newest record in the log, if that is at most an
    /// hour ahead of the machine's: what had expired by then stays so. A clock that is further behind is believed, so that one that
    /// was wrong by hours does harm until the store is opened again and no longer; then what had expired may be there again,
    /// unless a compaction has dropped it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use std::time::Duration;
    /// store.put_with_ttl("session", "alice", Duration::from_secs(900))?;
    /// assert_eq!(store.get("session")?.ok_or("it was put")?, "alice");
    /// store.put_with_ttl("session", "bob", Duration::ZERO)?;
    /// assert_eq!(store.get("session")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::put`].
    pub fn put_with_ttl(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<()> {
        let record = self.put_of(key.as_ref(), value.as_ref(), 1, Some(ttl))?;
        self.inner_log().write(record, self.durability())
    }

    /// How long `key` stays; `None` if it has no value, or none any more. Costs what [`Store::get`] does.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use std::time::{Duration, SystemTime};
    /// use zerocask::Expiry;
    /// store.put("plain", "stays")?;
    /// store.put_with_ttl("session", "alice", Duration::from_secs(900))?;
    /// assert_eq!(store.expires_at("plain")?, Some(Expiry::Never));
    /// let Some(Expiry::At(time)) = store.expires_at("session")? else { return Err("it expires".into()) };
    /// assert!(time > SystemTime::now());
    /// assert_eq!(store.expires_at("absent")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub fn expires_at(&self, key: impl AsRef<[u8]>) -> Result<Option<Expiry>> {
        let seen = self.see(key.as_ref())?;
        Ok(seen.live().map(|hit| Expiry::of(hit.extent.expires_at)))
    }

    /// Lets `key` stay until it is deleted or replaced. Answers whether it is there: false if it is absent or has
    /// expired. [`crate::Options::default_ttl`] has no part in it.
    ///
    /// The record is written anew, with the same value and alignment, unless it has no time. No other write comes
    /// between the look and the writing. Survives what a put does.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use zerocask::Expiry;
    /// store.put_with_ttl("draft", "text", std::time::Duration::from_secs(900))?;
    /// assert!(store.persist("draft")?);
    /// assert_eq!(store.expires_at("draft")?, Some(Expiry::Never));
    /// assert!(!store.persist("absent")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::put`]; [`crate::Error::Corrupt`] if the record is not what was written.
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.rewrite(key.as_ref(), None)
    }

    /// Lets `key` stay for `ttl` from now on, however long it had, or for ever. Otherwise as [`Store::persist`]: false if
    /// it is absent or has expired. `ttl` is as in [`Store::put_with_ttl`]: zero takes the key away.
    ///
    /// It writes the value again: to keep many large values alive often, put their times under keys of their own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use std::time::Duration;
    /// store.put_with_ttl("session", "alice", Duration::from_secs(60))?;
    /// assert!(store.touch("session", Duration::from_secs(900))?);
    /// assert!(store.touch("session", Duration::ZERO)?, "it was there");
    /// assert!(!store.touch("session", Duration::from_secs(900))?, "it has expired");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::persist`].
    pub fn touch(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        let expires_at = Some(clock::after(self.now(), ttl));
        self.rewrite(key.as_ref(), expires_at)
    }

    /// Writes a key's record anew with this expiry, unless it has that; answers whether the key is there.
    fn rewrite(&self, key: &[u8], expires_at: Option<u64>) -> Result<bool> {
        loop {
            let seen = self.see(key)?;
            let Some(frame) = seen.frame()? else { return Ok(false) };
            let old = frame.record().as_single();
            let new = Record { expires_at, ..old };
            let records = if new.expires_at == old.expires_at { Vec::new() } else { vec![new] };
            if self.inner_log().write_if(&seen, records, self.durability())? {
                return Ok(true);
            }
        }
    }
}
