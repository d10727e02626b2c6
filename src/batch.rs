//! [`Batch`]: writes that happen together or not at all.

use std::ops::Range;
use std::time::Duration;

use crate::error::Result;
use crate::options::EmptyValues;
use crate::record::{BatchPart, Record};

/// Puts and deletes for [`crate::Store::write`], which does all of them or, whatever happens, none.
/// It holds copies of its keys and values.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = zerocask::Store::open(dir.path())?;
/// use zerocask::Batch;
/// store.write(Batch::new().put("to", "90").delete("from"))?;
///
/// let mut batch = Batch::new();
/// for n in 0..3u8 {
///     batch.put([n], "new");
/// }
/// store.write(&batch)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Of all writes: the key, then the value.
    bytes: Vec<u8>,
    writes: Vec<Write>,
}

#[derive(Clone, Debug)]
struct Write {
    key: Range<usize>,
    /// None deletes the key.
    value: Option<Range<usize>>,
    align: usize,
    ttl: Option<Duration>,
}

impl Batch {
    /// One without writes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a key a value. An empty value deletes the key, unless [`crate::Options::empty_values`] says
    /// otherwise. Of two writes of one key the later counts.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.put_aligned(key, value, 1)
    }

    /// As [`Batch::put`], aligned as by [`crate::Store::put_aligned`]. An alignment that no record can
    /// have is refused when the batch is written.
    pub fn put_aligned(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        align: usize,
    ) -> &mut Self {
        self.push(key.as_ref(), Some(value.as_ref()), align, None)
    }

    /// As [`Batch::put`], with a value that is there for `ttl` from the time on when the batch is written. See
    /// [`crate::Store::put_with_ttl`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use std::time::Duration;
    /// use zerocask::Batch;
    /// let mut batch = Batch::new();
    /// batch.put("user", "alice").put_with_ttl("session", "alice", Duration::from_secs(900));
    /// store.write(&batch)?;
    /// assert!(store.contains_key("session")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_with_ttl(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> &mut Self {
        self.push(key.as_ref(), Some(value.as_ref()), 1, Some(ttl))
    }

    /// Removes a key, if it is there then.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(key.as_ref(), None, 1, None)
    }

    /// How many writes it holds.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Forgets all writes, and keeps the memory for others.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.writes.clear();
    }

    fn push(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        align: usize,
        ttl: Option<Duration>,
    ) -> &mut Self {
        let key = self.keep(key);
        let value = value.map(|value| self.keep(value));
        self.writes.push(Write { key, value, align, ttl });
        self
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// What is to be written, by a rule for empty values and one for when a put expires that says this of
    /// its time: a run from a first to a last, or a single. The time of writing is left open.
    pub(crate) fn records(
        &self,
        empty_values: EmptyValues,
        expiry: impl Fn(Option<Duration>) -> Option<u64>,
    ) -> Result<Vec<Record<'_>>> {
        let record = |(n, write): (usize, &Write)| {
            let (key, value) = (self.bytes_at(&write.key), write.value.as_ref());
            let batch = BatchPart::of(n, self.writes.len());
            let record = match value.map(|value| self.bytes_at(value)) {
                Some(value) => empty_values.put(key, value, write.align, expiry(write.ttl))?,
                None => Record::tombstone(0, key),
            };
            Ok(Record { batch, ..record })
        };
        self.writes.iter().enumerate().map(record).collect()
    }

    fn bytes_at(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}
