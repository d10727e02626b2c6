//! How values of a type become bytes and bytes become values again.
//!
//! Must not know: stores, keys.

use serde::{Deserialize, Serialize};

/// Why something could not be encoded or decoded, as the codec says it.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// A way to make bytes of values: [`Postcard`], `Json` (feature `json`), or one of your own. The files say
/// nothing about it, so a directory has to be opened with the codec that wrote it.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use zerocask::{Codec, CodecError, Typed};
///
/// /// JSON that a person can read.
/// struct Pretty;
///
/// impl Codec for Pretty {
///     fn encode<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
///         Ok(serde_json::to_writer_pretty(bytes, value)?)
///     }
///     fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
///         Ok(serde_json::from_slice(bytes)?)
///     }
/// }
///
/// # let dir = tempfile::tempdir()?;
/// let store = Typed::<String, Pretty>::open(dir.path())?;
/// store.insert("list", &[1, 2])?;
/// assert_eq!(store.get::<Vec<u8>>("list")?, Some(vec![1, 2]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Codec {
    /// Appends the bytes of `value`. Equal keys have to have equal bytes, or they are not found.
    ///
    /// # Errors
    /// What the value's `Serialize` says, or the codec if it has no bytes for such a value.
    fn encode<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value that `bytes` are, all of them.
    ///
    /// # Errors
    /// What the type's `Deserialize` says, or the codec: if the bytes are no such value, or more than one.
    fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError>;
}

/// [postcard](https://docs.rs/postcard): small and fast, its format frozen. Bytes do not say what type they are of,
/// so that a value read as another type than it was put as is an error often, and a wrong value sometimes.
#[derive(Clone, Copy, Debug)]
pub struct Postcard;

impl Codec for Postcard {
    #[inline]
    fn encode<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(postcard::serialize_with_flavor(value, Appending(bytes))?)
    }

    #[inline]
    fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
        match postcard::take_from_bytes(bytes)? {
            (value, []) => Ok(value),
            (_, rest) => Err(more_bytes(rest.len())),
        }
    }
}

/// Where postcard puts its bytes: whole runs at a time, where its own ways to append to a vector take single bytes.
struct Appending<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cold]
fn more_bytes(count: usize) -> CodecError {
    format!("expected no bytes behind it, found {count}").into()
}

/// JSON, for values that other programs are to read. It cannot say everything: the keys of a map have to be strings
/// or numbers, floats must be finite, and a borrowed `&str` can be read only if nothing in it is escaped.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug)]
pub struct Json;

#[cfg(feature = "json")]
impl Codec for Json {
    fn encode<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(serde_json::to_writer(bytes, value)?)
    }

    fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
        // It refuses bytes behind the value itself.
        Ok(serde_json::from_slice(bytes)?)
    }
}
