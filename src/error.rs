//! The one error type, and what can be wrong with bytes that came from disk.
//!
//! Every variant that concerns a file names its path, and the offset where there is one. A message
//! says what was expected, what was found and what to do; the cause is in `source()`, never only in
//! a log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::position::Position;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was refused or failed. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: "open", "write", …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },

    /// This process, or the system, has as many files open as it may. A store keeps one open for each segment that is not mapped.
    #[error(
        "cannot {action} {}: {source}: raise the process's limit of open files (ulimit -n), \
         compact, or choose a larger Options::segment_size", path.display()
    )]
    TooManyOpenFiles {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },

    /// What stands under a name of the store's own is not a regular file. No link is followed there.
    #[error(
        "{}: expected a regular file, found {found}: move it away, or put the file itself in its place",
        path.display()
    )]
    NotRegularFile {
        /// The name.
        path: PathBuf,
        /// What it is the name of.
        found: FileKind,
    },

    /// Another process, or another handle of this one, holds the store.
    #[error(
        "{} is held by another process or handle: a store has one owner at a time; \
         close the other one, open another directory, or read with Options::read_only", path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },

    /// A record does not hold what was written. Its key can be put or deleted again; that replaces
    /// the record.
    #[error(
        "{}: corrupt record at offset {offset}: {damage}; \
         put or delete the key to replace it, repair the store, or restore it from a backup",
        path.display()
    )]
    Corrupt {
        /// The segment file.
        path: PathBuf,
        /// Where the record begins in it, in bytes.
        offset: u64,
        /// What was expected and what was found.
        damage: Damage,
    },

    /// The manifest, or a file that it lists, is not what it was when the manifest was written.
    #[error(
        "{}: {damage}; repair the store, or restore the whole directory from a backup", path.display()
    )]
    Inconsistent {
        /// The manifest, or the segment file.
        path: PathBuf,
        /// What was expected and what was found.
        damage: Damage,
    },

    /// A segment file that the manifest lists is not there.
    #[error(
        "{} is listed in the manifest but missing: restore it, or the whole directory, \
         from a backup, or repair the store to go on without it", path.display()
    )]
    MissingSegment {
        /// The segment file.
        path: PathBuf,
    },

    /// Segment files lie beside files that only a store with a manifest has, but the manifest is
    /// gone. Without it nobody can tell which of them are current.
    #[error(
        "{} has no MANIFEST although {} shows that it had one: repair the store to make a new one, \
         or restore the whole directory from a backup", dir.display(), witness.display()
    )]
    MissingManifest {
        /// The store's directory.
        dir: PathBuf,
        /// The file that shows it.
        witness: PathBuf,
    },

    /// The bytes are sound, but of a format that this version does not know.
    #[error("{}: {feature} at offset {offset} is not known to this version: open it with a newer zerocask", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What was met.
        feature: &'static str,
    },

    /// The key is longer than a record can hold.
    #[error(
        "a key of {len} bytes is longer than {max}, the most a record holds: shorten or hash it"
    )]
    KeyTooLong {
        /// The key's length in bytes.
        len: usize,
        /// The limit in bytes, [`crate::record::MAX_KEY_LEN`].
        max: usize,
    },

    /// The value is longer than a record can hold.
    #[error("a value of {len} bytes is longer than {max}, the most a record holds: split it")]
    ValueTooLong {
        /// The value's length in bytes.
        len: usize,
        /// The limit in bytes, [`crate::record::MAX_VALUE_LEN`].
        max: usize,
    },

    /// No record can align a value so.
    #[error("cannot align to {found} bytes: choose a power of two from 1 to {max}")]
    InvalidAlignment {
        /// What was asked for, or what the type needs, in bytes.
        found: usize,
        /// The limit in bytes, [`crate::record::MAX_ALIGN`].
        max: usize,
    },

    /// Bytes cannot be seen as the type that was asked for. They are as they were written.
    #[error("cannot view the bytes as {type_name}: {misfit}")]
    View {
        /// The type's name.
        type_name: &'static str,
        /// What was expected, what was found, and what to do.
        misfit: Misfit,
    },

    /// What was to be put into a [`crate::Typed`] store, or the key to be looked for, cannot be encoded.
    #[cfg(feature = "serde")]
    #[error("cannot encode a {type_name}: {source}; choose a type, or a codec, that can be")]
    Encode {
        /// The type's name.
        type_name: &'static str,
        /// The codec's answer.
        source: crate::typed::CodecError,
    },

    /// Bytes of a [`crate::Typed`] store are not what the codec makes of the type that was asked for. They are
    /// as they were written.
    #[cfg(feature = "serde")]
    #[error(
        "{part} {key} is no {type_name}: {source}; read it as the type, and by the codec, that it was put as"
    )]
    Decode {
        /// Whether it is the key itself, or its value.
        part: Part,
        /// The key by its `Debug`, or its bytes, escaped, where they are none of the store's type.
        key: String,
        /// The name of the type that was asked for.
        type_name: &'static str,
        /// The codec's answer.
        source: crate::typed::CodecError,
    },

    /// An option's value is out of its range.
    #[error("option {option}: {found} is out of range: choose {expected}")]
    InvalidOption {
        /// The name of the method of [`crate::Options`].
        option: &'static str,
        /// What would do.
        expected: &'static str,
        /// What was given.
        found: u64,
    },

    /// There is no store and [`crate::Options::create`] is off.
    #[error("{} holds no store: expected a MANIFEST or data files; allow Options::create to make one", path.display())]
    NotFound {
        /// The store's directory.
        path: PathBuf,
    },

    /// The numbers for segments are used up: the manifest's file ids, or the places in memory.
    #[error("no number is left for a new segment in {}: compact, or choose a larger Options::segment_size", path.display())]
    TooManySegments {
        /// The store's directory.
        path: PathBuf,
    },

    /// A directory to back up to holds something else than backups of this store.
    #[error(
        "{} holds no backup of this store, or one that was written to: \
         back up to an empty directory", path.display()
    )]
    NotABackup {
        /// The directory.
        path: PathBuf,
    },

    /// A directory to back up to lies in the store's own.
    #[error(
        "{} lies in the store {}: back up to a directory outside", path.display(), store.display()
    )]
    BackupInside {
        /// The directory to back up to.
        path: PathBuf,
        /// The store's directory.
        store: PathBuf,
    },

    /// Who was told of the progress wanted it to stop. What was found so far is no answer.
    #[error("stopped by the one who was told of the progress: call it again for an answer")]
    Stopped,

    /// A task of tokio's was needed, but there is no runtime here.
    #[cfg(feature = "tokio")]
    #[error("there is no runtime to wait for the disk ({source}): await it in a task of tokio's")]
    NoRuntime {
        /// The runtime's answer.
        source: tokio::runtime::TryCurrentError,
    },

    /// What was done off the executor's threads did not come to its end: it panicked, or the runtime was shut down. Whether
    /// it was done, nobody knows; the store is as after a call that was or was not made.
    #[cfg(feature = "tokio")]
    #[error(
        "what was asked for did not come to its end ({source}): look at what was done, or ask again"
    )]
    Unfinished {
        /// The runtime's answer.
        source: tokio::task::JoinError,
    },

    /// The store was closed through this or another handle.
    #[error("the store is closed: open it again")]
    Closed,

    /// The store was opened with [`crate::Options::read_only`], and this would change it.
    #[error("the store was opened to be read only: open it without Options::read_only to write")]
    ReadOnly,

    /// Files that the manifest listed were gone each time that a read-only store looked for them. What it
    /// had seen before stays readable.
    #[error(
        "the files in {} changed under each of {looks} looks at them: try again", path.display()
    )]
    Unsettled {
        /// The store's directory.
        path: PathBuf,
        /// How often was looked.
        looks: usize,
    },

    /// The log does not hold any more what stood between this position and what it holds now: a compaction has left
    /// out what did not count, a crash took it, or it was another store's.
    #[error(
        "the log cannot be followed from {asked}: {}; take Store::end(), copy all keys and values, \
         from a backup say, sync the store, and follow the log from that end", missing(*.asked, *.oldest)
    )]
    Gone {
        /// The position from which the log was asked for.
        asked: Position,
        /// The first position from which the log is as it was written.
        oldest: Position,
    },

    /// An earlier sync or rename failed, so nobody knows what is on disk. Reads go on; writes are
    /// refused until the store is opened again, which recovers what reached the disk.
    #[error(
        "writes are refused since an earlier failure ({cause}): close the store and open it again"
    )]
    Poisoned {
        /// The failure.
        #[source]
        cause: Arc<Error>,
    },
}

impl Error {
    /// For `map_err`: a failed `action` on `path`. The seam says what is no regular file by a
    /// [`FileKind`] as the cause.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| match source.get_ref().and_then(|cause| cause.downcast_ref()) {
            Some(&found) => Error::NotRegularFile { path, found },
            None if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                Error::TooManyOpenFiles { action, path, source }
            }
            None => Error::Io { action, path, source },
        }
    }
}

/// What stands where a regular file has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileKind {
    /// A directory.
    #[error("a directory")]
    Directory,
    /// A symbolic link, wherever it leads.
    #[error("a symbolic link")]
    SymbolicLink,
    /// A named pipe.
    #[error("a FIFO")]
    Fifo,
    /// A socket.
    #[error("a socket")]
    Socket,
    /// A device of characters or blocks.
    #[error("a device")]
    Device,
    /// Something that this version does not know.
    #[error("something else")]
    Other,
}

/// Why bytes cannot be seen as a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// They are not as many as the type has.
    #[error("expected {expected} bytes, found {found}; view them as the type that was put")]
    Size {
        /// The type's size in bytes.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// They are no whole number of elements.
    #[error(
        "expected a multiple of {expected} bytes, found {found}; view them as the type that was put"
    )]
    ElementSize {
        /// An element's size in bytes.
        expected: usize,
        /// How many bytes there are.
        found: usize,
    },
    /// They do not begin where the type may.
    #[error(
        "expected an address that is a multiple of {expected}, found one that is a multiple of {found}; \
         put the value with put_as, or put_aligned and {expected}"
    )]
    Alignment {
        /// The type's alignment in bytes.
        expected: usize,
        /// The largest power of two that divides the address.
        found: usize,
    },
}

/// What of a record cannot be decoded.
#[cfg(feature = "serde")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Part {
    /// Its key.
    #[error("the key")]
    Key,
    /// Its value.
    #[error("the value of")]
    Value,
}

/// What is wrong with bytes that came from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The checksum over the bytes is not the stored one.
    #[error("expected checksum {expected:#010x} as stored, found {found:#010x} over the bytes")]
    Checksum {
        /// The stored checksum.
        expected: u32,
        /// The checksum of the bytes as they are now.
        found: u32,
    },
    /// The bytes end before what their sizes claim.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// What the sizes claim, in bytes.
        expected: u64,
        /// What is there, in bytes.
        found: u64,
    },
    /// A number is not what it has to be.
    #[error("{field}: expected {expected}, found {found}")]
    Field {
        /// The number's name.
        field: &'static str,
        /// What it has to be, or its bound.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A bad record hides where the next one begins, so everything up to the file's end is lost.
    #[error("expected a record at the end of a bad one, found none: {bytes} bytes are unreadable")]
    Unreadable {
        /// From the bad record to the end of the file.
        bytes: u64,
    },
    /// A file is not there.
    #[error("expected a file, found none")]
    Missing,
    /// The system cannot read bytes that are there.
    #[error("cannot be read: {kind}")]
    Unread {
        /// The operating system's answer.
        kind: io::ErrorKind,
    },
    /// A bit that this version does not know is set in a record whose checksum is right.
    #[error("expected no flag above bit 30, found a reserved one: written by a newer version")]
    ReservedFlag,
}
/// Why nobody can go on from `asked` in a log that is whole from `oldest` on.
fn missing(asked: Position, oldest: Position) -> String {
    match asked < oldest {
        true => format!("it is whole from {oldest} on"),
        false => "a crash took what stood there, or it is in another log".into(),
    }
}
