//! How much room there is on a file system.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes that whoever has no special rights may still write where `path` is.
pub(super) fn free(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut found = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path is a string that ends in a zero, and `found` is memory of the right size, which the call fills.
    #[expect(unsafe_code, reason = "std does not know how much is free")]
    let status = unsafe { libc::statvfs(path.as_ptr(), found.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeros are a value of it, and the call has filled it.
    #[expect(unsafe_code, reason = "it was filled through a pointer")]
    let found = unsafe { found.assume_init() };
    if found.f_blocks == 0 {
        // A file system that cannot tell.
        return Err(io::ErrorKind::Unsupported.into());
    }
    // The types differ from system to system.
    #[allow(clippy::unnecessary_cast)]
    Ok((found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// `/proc` has no blocks: zeros there do not mean that it is full.
    #[test]
    fn a_file_system_that_cannot_tell_is_not_a_full_one() {
        let error = free(Path::new("/proc")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(free(Path::new("/proc/none")).is_err_and(|e| e.kind() == io::ErrorKind::NotFound));
    }
}
