//! What happened to a key, as `kv watch` and `kv log` tell it.

use std::io::{self, Write};

use zerocask::{Kind, Position};

use crate::answer::Shape;
use crate::formats::jsonl;
use crate::text::Form;

pub(crate) struct Change<'a> {
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8],
    /// If it is wanted, and there is one.
    pub(crate) value: Option<&'a [u8]>,
    /// When the value expires, in microseconds since the Unix epoch.
    pub(crate) expires_at: Option<u64>,
}

impl Change<'_> {
    /// Writes it as a line: what happened, the key, and the value, with tabs between; with `next`, where to go on in the
    /// log, before them.
    pub(crate) fn write(
        &self,
        shape: Shape,
        next: Option<Position>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if shape.json { self.json(next, out) } else { self.text(shape.form, next, out) }
    }

    fn text(&self, form: Form, next: Option<Position>, out: &mut dyn Write) -> io::Result<()> {
        if let Some(next) = next {
            write!(out, "{}\t", spelt(next))?;
        }
        write!(out, "{}\t", self.name())?;
        form.write(self.key, out)?;
        if let Some(value) = self.value {
            out.write_all(b"\t")?;
            form.write(value, out)?;
        }
        out.write_all(b"\n")
    }

    fn json(&self, next: Option<Position>, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"{")?;
        if let Some(next) = next {
            write!(out, "\"next\":\"{}\",", spelt(next))?;
        }
        write!(out, "\"kind\":\"{}\",", self.name())?;
        jsonl::write_member("key", self.key, out)?;
        if let Some(value) = self.value {
            out.write_all(b",")?;
            jsonl::write_member("value", value, out)?;
        }
        jsonl::write_expiry(self.expires_at, out)?;
        out.write_all(b"}\n")
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Delete => "delete",
            _ => "put",
        }
    }
}

/// A position as an argument and in answers, whatever the form of keys: 40 hex digits.
pub(crate) fn spelt(position: Position) -> String {
    data_encoding::HEXLOWER.encode(&position.to_bytes())
}

/// The position that is spelt so.
pub(crate) fn parse_position(text: &str) -> Result<Position, String> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).map(Position::from_bytes);
    bytes.ok_or_else(|| format!("not {} hex digits, as kv log writes them", 2 * Position::LEN))
}
