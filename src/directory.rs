//! The names of a store's files: which file of the directory is what.
//!
//! Ids and names compare as numbers: `100000000.data` follows `99999999.data`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::location::SegmentId;

const MANIFEST: &str = "MANIFEST";
const KEYDIR: &str = "KEYDIR";
const LOCK: &str = "LOCK";
const HINT: &str = "hint";
const TEMPORARY: &str = ".tmp";
const DAMAGED: &str = "damaged";

/// A store's directory, which knows what its files are called.
#[derive(Clone)]
pub(crate) struct Directory {
    path: Arc<Path>,
}

/// What a name means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    Data(SegmentId),
    Manifest,
    /// A manifest that was never renamed, of a directory that had none before.
    FirstManifest,
    /// What was about to be the manifest.
    NextManifest,
    Lock,
    /// Half-written.
    Temporary,
    /// What is in a sealed segment, in short.
    Hint(SegmentId),
    /// The key directory as it was once.
    Checkpoint,
    /// Set aside by recovery or repair.
    SetAside,
    /// Would be a data file if it were spelt as the format spells it.
    Misspelt,
    Foreign,
}

/// The id with which a name begins, whatever it is the name of.
pub(crate) fn leading_id(name: &OsStr) -> Option<SegmentId> {
    let (stem, _) = name.to_str()?.split_once('.')?;
    let digits = !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_digit());
    stem.parse().ok().filter(|_| digits).map(SegmentId::new)
}

impl Name {
    pub(crate) fn parse(name: &OsStr) -> Name {
        let Some(name) = name.to_str() else { return Name::Foreign };
        match name {
            MANIFEST => return Name::Manifest,
            "MANIFEST.first" => return Name::FirstManifest,
            "MANIFEST.tmp" => return Name::NextManifest,
            LOCK => return Name::Lock,
            KEYDIR => return Name::Checkpoint,
            _ => {}
        }
        if let Some(whole) = name.strip_suffix(TEMPORARY) {
            // What others have half-written is theirs.
            let whole = Name::parse(OsStr::new(whole));
            let is_ours =
                matches!(whole, Name::Data(_) | Name::Hint(_) | Name::Checkpoint | Name::SetAside);
            return if is_ours { Name::Temporary } else { Name::Foreign };
        }
        let Some((stem, extension)) = name.rsplit_once('.') else { return Name::Foreign };
        let digits = !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_digit());
        let id = stem.parse().ok().filter(|_| digits).map(SegmentId::new);
        match (extension, id) {
            // An id at the very end of the numbers leaves none for the next segment.
            ("data", Some(id)) if id.to_string() == stem && id.checked_add(1).is_some() => {
                Name::Data(id)
            }
            ("data", _) if digits => Name::Misspelt,
            (HINT, Some(id)) if id.to_string() == stem => Name::Hint(id),
            ("cut", _) if digits => Name::SetAside,
            (DAMAGED, _) => Name::SetAside,
            _ => Name::Foreign,
        }
    }
}

/// Removes what something that died may have left under a name that is needed now.
pub(crate) fn remove_stale(fs: &dyn Fs, path: &Path) -> Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

impl Directory {
    pub(crate) fn new(path: &Path) -> Self {
        Directory { path: Arc::from(path) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything here that a store is made of.
    pub(crate) fn holds_store(&self, fs: &dyn Fs) -> Result<bool> {
        let is_part = |name| matches!(name, Name::Manifest | Name::NextManifest | Name::Data(_));
        match fs.list(&self.path) {
            Ok(names) => {
                Ok(names.iter().any(|name| is_part(Name::parse(name))) || self.has_manifest(fs)?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("list", &*self.path)(error)),
        }
    }

    /// Whether there is a manifest. A listing does not tell who holds no lock: it may lack a name that is being
    /// renamed over.
    pub(crate) fn has_manifest(&self, fs: &dyn Fs) -> Result<bool> {
        match fs.open(&self.manifest()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            opened => opened.map(|_| true).map_err(Error::io("open", self.manifest())),
        }
    }

    pub(crate) fn too_many_segments(&self) -> Error {
        Error::TooManySegments { path: self.path.to_path_buf() }
    }

    pub(crate) fn data(&self, id: SegmentId) -> Arc<Path> {
        Arc::from(self.path.join(format!("{id}.data")))
    }

    /// Where a data file is written before it is renamed to its place.
    pub(crate) fn data_temporary(&self, id: SegmentId) -> Arc<Path> {
        Arc::from(self.path.join(format!("{id}.data{TEMPORARY}")))
    }

    /// Where it is said in short what is in a sealed segment.
    pub(crate) fn hint(&self, id: SegmentId) -> PathBuf {
        self.path.join(format!("{id}.{HINT}"))
    }

    /// Where the key directory is kept while the store is closed.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.path.join(KEYDIR)
    }

    /// Where recovery sets aside what it cuts off a segment.
    pub(crate) fn cut(&self, id: SegmentId) -> PathBuf {
        self.path.join(format!("{id}.cut"))
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.path.join(MANIFEST)
    }

    pub(crate) fn manifest_temporary(&self) -> PathBuf {
        self.path.join(format!("{MANIFEST}{TEMPORARY}"))
    }

    /// Where the manifest of a directory that has none yet is written. Not a `.tmp` file: beside
    /// bare data files those show that a manifest was lost.
    pub(crate) fn first_manifest(&self) -> PathBuf {
        self.path.join(format!("{MANIFEST}.first"))
    }

    /// Where repair keeps a file that is to go, if the `n` − 1 names before it are taken.
    pub(crate) fn damaged(path: &Path, n: u32) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(if n == 1 { format!(".{DAMAGED}") } else { format!(".{n}.{DAMAGED}") });
        PathBuf::from(name)
    }

    /// What repair notes of what it did is kept, for a person, as if it were this file.
    pub(crate) fn repair(&self) -> PathBuf {
        self.path.join("REPAIR")
    }

    /// Where a file is written before it is renamed to its place.
    pub(crate) fn temporary(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(TEMPORARY);
        PathBuf::from(name)
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join(LOCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_format_s_own_spelling_is_a_data_file() {
        let parse = |name: &str| Name::parse(OsStr::new(name));
        assert_eq!(parse("00000001.data"), Name::Data(SegmentId::new(1)));
        assert_eq!(parse("100000000.data"), Name::Data(SegmentId::new(100_000_000)));
        assert_eq!(parse("00000000.data"), Name::Data(SegmentId::new(0)));
        for misspelt in ["1.data", "000000001.data", "99999999999999999999.data"] {
            assert_eq!(parse(misspelt), Name::Misspelt, "{misspelt}");
        }
        assert_eq!(parse("18446744073709551615.data"), Name::Misspelt);
        assert_eq!(parse("00000001.hint"), Name::Hint(SegmentId::new(1)));
        assert_eq!(parse("1.hint"), Name::Foreign);
        for temporary in ["00000001.hint.tmp", "KEYDIR.tmp"] {
            assert_eq!(parse(temporary), Name::Temporary, "{temporary}");
        }
        assert_eq!(parse("00000001.data.tmp"), Name::Temporary);
        assert_eq!(parse("MANIFEST.tmp"), Name::NextManifest);
        assert_eq!(parse("00000001.cut"), Name::SetAside);
        assert_eq!(parse("00000001.data.damaged"), Name::SetAside);
        for n in [1, 2] {
            let path = Directory::damaged(Path::new("MANIFEST"), n);
            assert_eq!(Name::parse(path.as_os_str()), Name::SetAside, "{path:?}");
        }
        assert_eq!(parse("00000001.data.damaged.tmp"), Name::Temporary);
        for foreign in ["notes.tmp", "1.data.tmp", ".tmp", "LOCK.tmp", "00000001.data.tmp.tmp"] {
            assert_eq!(parse(foreign), Name::Foreign, "{foreign}");
        }
        for foreign in ["+0000001.data", "a.data", ".data", "data", "00000001.DATA", "x.hint"] {
            assert_eq!(parse(foreign), Name::Foreign, "{foreign}");
        }
    }
}
