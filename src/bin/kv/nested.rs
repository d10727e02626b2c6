//! Which directory lies in which.

use std::fs;
use std::path::{self, Path, PathBuf};

/// Whether a path is in a directory or is the same, links resolved; what is not there yet counts.
pub(crate) fn lies_in(inner: &Path, outer: &Path) -> bool {
    resolved(inner).starts_with(resolved(outer))
}

/// The part that is there without links, and the rest as it is.
fn resolved(path: &Path) -> PathBuf {
    let path = path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let found = path.ancestors().find_map(|there| Some((there, fs::canonicalize(there).ok()?)));
    match found {
        Some((there, real)) => match path.strip_prefix(there) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => real,
        },
        None => path,
    }
}
