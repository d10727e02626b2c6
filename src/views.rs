//! Typed values: plain data in, and references to it straight out of the mapped segment.
//!
//! Why that is sound is said in docs/design.md, "Values and views": zerocopy's traits say which types
//! are their bytes and which bytes are a type; the record's alignment, kept by every copy, says that
//! they begin where the type may. Both are looked at before a reference is made.
//!
//! Must not know: records, segments, files.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::{Error, Misfit, Result};
use crate::record::MAX_ALIGN;
use crate::store::Store;
use crate::value::Value;

impl Store {
    /// As [`Store::put_aligned`], with the bytes and the alignment of `value`: what [`Value::view`] and
    /// [`Value::view_slice`] read without a copy. A value of no bytes, as an empty slice has, is
    /// stored as a value whatever [`crate::Options::empty_values`] says.
    ///
    /// The bytes are those that the value has in memory: in this machine's byte order unless its
    /// type names one, as those of `zerocask::zerocopy::byteorder` do. Types of your own derive zerocopy's traits,
    /// with `#[zerocopy(crate = "zerocask::zerocopy")]` if you do not depend on it yourself.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = zerocask::Store::open(dir.path())?;
    /// use zerocask::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    ///
    /// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Debug)]
    /// #[zerocopy(crate = "zerocask::zerocopy")]
    /// #[repr(C)]
    /// struct Point {
    ///     x: f64,
    ///     y: f64,
    /// }
    ///
    /// store.put_as("here", &Point { x: 1.0, y: 2.0 })?;
    /// let value = store.get("here")?.ok_or("it was put")?;
    /// assert_eq!(*value.view::<Point>()?, Point { x: 1.0, y: 2.0 });
    ///
    /// store.put_as("all", &[1.5f32, 2.5, 3.5][..])?;
    /// let value = store.get("all")?.ok_or("it was put")?;
    /// assert_eq!(value.view_slice::<f32>()?, [1.5, 2.5, 3.5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidAlignment`] if the type's is above [`MAX_ALIGN`], with nothing written; and
    /// those of [`Store::put`].
    pub fn put_as<T>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<()>
    where
        T: IntoBytes + Immutable + ?Sized,
    {
        self.put_value(key.as_ref(), value.as_bytes(), align_of_val(value))
    }
}

impl Value {
    /// The value as a `T`, without a copy. See [`view`].
    ///
    /// # Errors
    /// Those of [`view`].
    pub fn view<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<&T> {
        view(self)
    }

    /// The value as a slice of `T`s, without a copy. See [`view_slice`].
    ///
    /// # Errors
    /// Those of [`view_slice`].
    pub fn view_slice<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<&[T]> {
        view_slice(self)
    }
}

/// Bytes of the store, or any others, as a `T`, without a copy. What was put with [`Store::put_as`] fits;
/// what was put otherwise fits if it is as long and, by chance or by [`Store::put_aligned`], as aligned.
///
/// ```
/// let bytes = 7u64.to_ne_bytes();
/// assert_eq!(zerocask::view::<[u8; 8]>(&bytes)?, &bytes);
/// let error = zerocask::view::<u64>(&bytes[1..]).unwrap_err();
/// assert!(error.to_string().contains("expected 8 bytes, found 7"));
/// # Ok::<(), zerocask::Error>(())
/// ```
///
/// # Errors
/// [`Error::View`] if there are more or fewer bytes than `T` has, or if they begin where no `T` may.
/// [`Error::InvalidAlignment`] if `T`'s is above [`MAX_ALIGN`]: it could only fit by chance.
pub fn view<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<&T> {
    check_type::<T>()?;
    let (expected, found) = (size_of::<T>(), bytes.len());
    if expected != found {
        return Err(does_not_fit::<T>(Misfit::Size { expected, found }));
    }
    // Of what zerocopy asks for, only the alignment is left.
    T::ref_from_bytes(bytes).map_err(|_| misaligned::<T>(bytes))
}

/// Bytes of the store, or any others, as a slice of `T`s, without a copy. No bytes at all are an empty
/// slice, wherever they lie. `T` has a size: one of zero bytes does not compile.
///
/// ```
/// let bytes = zerocask::zerocopy::IntoBytes::as_bytes(&[1u16, 2, 3]);
/// assert_eq!(zerocask::view_slice::<u16>(bytes)?, [1, 2, 3]);
/// assert!(zerocask::view_slice::<u16>(&bytes[..5]).is_err());
/// # Ok::<(), zerocask::Error>(())
/// ```
///
/// # Errors
/// [`Error::View`] if the bytes are no whole number of `T`s, or begin where no `T` may.
/// [`Error::InvalidAlignment`] if `T`'s is above [`MAX_ALIGN`].
pub fn view_slice<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<&[T]> {
    check_type::<T>()?;
    let (expected, found) = (size_of::<T>(), bytes.len());
    if found == 0 {
        return Ok(&[]);
    }
    if !found.is_multiple_of(expected) {
        return Err(does_not_fit::<T>(Misfit::ElementSize { expected, found }));
    }
    <[T]>::ref_from_bytes(bytes).map_err(|_| misaligned::<T>(bytes))
}

/// That values can be aligned as the type needs.
fn check_type<T>() -> Result<()> {
    match align_of::<T>() {
        0..=MAX_ALIGN => Ok(()),
        found => Err(Error::InvalidAlignment { found, max: MAX_ALIGN }),
    }
}

#[cold]
fn does_not_fit<T>(misfit: Misfit) -> Error {
    Error::View { type_name: std::any::type_name::<T>(), misfit }
}

#[cold]
fn misaligned<T>(bytes: &[u8]) -> Error {
    let found = 1 << bytes.as_ptr().addr().trailing_zeros();
    does_not_fit::<T>(Misfit::Alignment { expected: align_of::<T>(), found })
}
