//! What the fuzz targets and their seeds share: how bytes stand for a directory of files.
//!
//! ```text
//! input = [options:1] ([name:1] [length:2, big-endian] [content])*
//! name  = [fix:1] [id:4] [kind:3]     bits, highest first
//! ```
//!
//! A length beyond the end of the input means all that is left. A file that comes twice is the later
//! one. With `fix`, checksums (and, in a manifest, what it says of a data file) are made to fit the
//! bytes as they are, so that the fuzzer gets behind them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use zerocask::record::Frame;

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Data = 0,
    Manifest = 1,
    ManifestTemporary = 2,
    Hint = 3,
    Cut = 4,
    Lock = 5,
    ManifestFirst = 6,
    DataTemporary = 7,
}

impl Kind {
    fn of(name: u8) -> Kind {
        match name & 7 {
            0 => Kind::Data,
            1 => Kind::Manifest,
            2 => Kind::ManifestTemporary,
            3 => Kind::Hint,
            4 => Kind::Cut,
            5 => Kind::Lock,
            6 => Kind::ManifestFirst,
            _ => Kind::DataTemporary,
        }
    }

    fn file_name(self, id: u64) -> String {
        match self {
            Kind::Data => data_name(id),
            Kind::Manifest => MANIFEST.to_owned(),
            Kind::ManifestTemporary => "MANIFEST.tmp".to_owned(),
            Kind::Hint => format!("{id:08}.hint"),
            Kind::Cut => format!("{id:08}.cut"),
            Kind::Lock => "LOCK".to_owned(),
            Kind::ManifestFirst => "MANIFEST.first".to_owned(),
            Kind::DataTemporary => format!("{id:08}.data.tmp"),
        }
    }
}

const MANIFEST: &str = "MANIFEST";
/// Magic, version, seed, nonce, next id.
const MANIFEST_FIXED_LEN: usize = 44;
/// Not in version 1.
const MANIFEST_HISTORY_LEN: usize = 64;
const MANIFEST_ENTRY_LEN: usize = 36;

fn data_name(id: u64) -> String {
    format!("{id:08}.data")
}

/// A directory's files by their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Files {
    files: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// The options byte and the files that an input stands for.
    pub fn parse(input: &[u8]) -> (u8, Files) {
        let (&options, mut rest) = input.split_first().unwrap_or((&0, &[]));
        let mut files = Files::default();
        let mut fix_manifest = false;
        while let [name, high, low, tail @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
            let (content, behind) = tail.split_at(len);
            rest = behind;
            let (kind, id, fix) = (Kind::of(*name), u64::from(*name >> 3 & 15), *name >> 7 == 1);
            let mut content = content.to_vec();
            if fix && kind == Kind::Data {
                fix_records(&mut content);
            }
            fix_manifest |= fix && kind == Kind::Manifest;
            files.files.insert(kind.file_name(id), content);
        }
        if fix_manifest {
            files.fix_manifest();
        }
        (options, files)
    }

    pub fn write_to(&self, dir: &Path) {
        for (name, content) in &self.files {
            fs::write(dir.join(name), content).unwrap();
        }
    }

    /// Names and contents of the data files.
    pub fn data(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let files = self.files.iter().map(|(name, content)| (name.as_str(), content.as_slice()));
        files.filter(|(name, _)| name.ends_with(".data"))
    }

    /// How many segments a store of these files can still make. Running out of them is an error that
    /// any write may meet.
    pub fn ids_left(&self) -> u64 {
        let next = self.files.get(MANIFEST).and_then(|manifest| manifest.get(36..44));
        let next = next.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        u64::MAX - next
    }

    pub fn has_manifest(&self) -> bool {
        self.files.contains_key(MANIFEST)
    }

    /// Makes the manifest's entries and its checksum fit.
    fn fix_manifest(&mut self) {
        let Some(mut manifest) = self.files.remove(MANIFEST) else { return };
        let counts = match manifest.get(8..12) {
            Some([0, 0, 0, 1]) => MANIFEST_FIXED_LEN,
            _ => MANIFEST_FIXED_LEN + MANIFEST_HISTORY_LEN,
        };
        if manifest.len() >= counts + 8 + 4 {
            let end = manifest.len() - 4;
            let (sealed, _) = manifest[counts..].split_at(4);
            let sealed = u32::from_be_bytes(sealed.try_into().unwrap()) as usize;
            let entries = manifest[counts + 8..end].chunks_exact_mut(MANIFEST_ENTRY_LEN);
            for entry in entries.take(sealed) {
                let id = u64::from_be_bytes(entry[..8].try_into().unwrap());
                let Some(data) = self.files.get(&data_name(id)) else { continue };
                let claimed = u64::from_be_bytes(entry[8..16].try_into().unwrap());
                let len = claimed.min(data.len() as u64);
                entry.copy_from_slice(&manifest_entry(id, &data[..len as usize]));
            }
            let crc = crc32fast::hash(&manifest[..end]);
            manifest[end..].copy_from_slice(&crc.to_be_bytes());
        }
        self.files.insert(MANIFEST.to_owned(), manifest);
    }
}

/// Puts the right CRC into every record, as long as one follows the other.
fn fix_records(bytes: &mut [u8]) {
    let mut offset = 0;
    while let Ok(frame) = Frame::read(&bytes[offset..], offset as u64) {
        let end = offset + frame.len() as usize;
        let crc = crc32fast::hash(&bytes[offset + 4..end]);
        bytes[offset..offset + 4].copy_from_slice(&crc.to_be_bytes());
        offset = end;
    }
}

/// What a manifest says of a sealed segment in which nothing is dead.
fn manifest_entry(id: u64, data: &[u8]) -> [u8; MANIFEST_ENTRY_LEN] {
    let (mut offset, mut records, mut checksum) = (0, 0u64, crc32fast::Hasher::new());
    while let Ok(frame) = Frame::read(&data[offset..], offset as u64) {
        offset += frame.len() as usize;
        records += 1;
        checksum.update(&frame.checksum().to_be_bytes());
    }
    let mut entry = [0; MANIFEST_ENTRY_LEN];
    entry[..8].copy_from_slice(&id.to_be_bytes());
    entry[8..16].copy_from_slice(&(data.len() as u64).to_be_bytes());
    entry[16..24].copy_from_slice(&records.to_be_bytes());
    entry[32..].copy_from_slice(&checksum.finalize().to_be_bytes());
    entry
}

/// The bytes of a manifest of these sealed segments and this tail, of a log of which nothing has been left out.
pub fn manifest(version: u32, next_file_id: u64, sealed: &[(u64, &[u8])], tail: &[u64]) -> Vec<u8> {
    let mut bytes = b"zerocask".to_vec();
    bytes.extend(version.to_be_bytes());
    bytes.extend([7; 16]);
    bytes.extend([9; 8]);
    bytes.extend(next_file_id.to_be_bytes());
    if version > 1 {
        bytes.extend([5; 4]);
        bytes.extend([0; MANIFEST_HISTORY_LEN - 4]);
    }
    bytes.extend((sealed.len() as u32).to_be_bytes());
    bytes.extend((tail.len() as u32).to_be_bytes());
    sealed.iter().for_each(|(id, data)| bytes.extend(manifest_entry(*id, data)));
    tail.iter().for_each(|id| bytes.extend(id.to_be_bytes()));
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

/// The input that stands for these files.
pub fn frame(options: u8, files: &[(Kind, u8, bool, &[u8])]) -> Vec<u8> {
    let mut input = vec![options];
    for &(kind, id, fix, content) in files {
        assert!(id < 16 && content.len() <= usize::from(u16::MAX));
        input.push(u8::from(fix) << 7 | id << 3 | kind as u8);
        input.extend((content.len() as u16).to_be_bytes());
        input.extend(content);
    }
    input
}
