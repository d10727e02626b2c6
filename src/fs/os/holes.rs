//! Where a file has holes: zeros that take no space on disk, whatever length they give the file.

use std::fs::File;
use std::ops::Range;

/// The first part of `within` that may be anything but zeros; `None` if all of it is a hole. Where the
/// system cannot tell, and beyond the file's end, that is everything.
pub(super) fn next_data(file: &File, within: Range<u64>) -> Option<Range<u64>> {
    if within.is_empty() {
        return None;
    }
    let end_of_file = file.metadata().map_or(0, |metadata| metadata.len());
    let there = within.start..within.end.min(end_of_file);
    match first_data(file, there) {
        // What is not there is no hole: whoever reads it has to be told.
        None if end_of_file < within.end => Some(within.start.max(end_of_file)..within.end),
        found => found,
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn first_data(file: &File, within: Range<u64>) -> Option<Range<u64>> {
    use std::io;
    use std::os::fd::AsRawFd;

    let seek = |from: u64, whence| {
        let from = from.try_into().map_err(io::Error::other)?;
        // SAFETY: the descriptor is open as long as `file`; the call reads and writes no memory. It
        // moves the file's own position, which nobody uses: all reading and writing is by offset.
        #[expect(unsafe_code, reason = "std seeks no holes")]
        let found = unsafe { libc::lseek(file.as_raw_fd(), from, whence) };
        u64::try_from(found).map_err(|_| io::Error::last_os_error())
    };
    let start = match seek(within.start, libc::SEEK_DATA) {
        Ok(start) => start,
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => within.end,
        Err(_) => within.start,
    };
    let end = seek(start, libc::SEEK_HOLE).unwrap_or(within.end).min(within.end);
    (start < end).then_some(start..end)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn first_data(_file: &File, within: Range<u64>) -> Option<Range<u64>> {
    (!within.is_empty()).then_some(within)
}
