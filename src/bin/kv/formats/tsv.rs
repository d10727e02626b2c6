//! Two columns: the key, a tab, the value, a newline, with escapes in both.

use std::io::{self, Write};

use super::Record;
use crate::fault::Fault;
use crate::text::{escape, unescape};

pub(crate) fn write<W: Write + ?Sized>(key: &[u8], value: &[u8], out: &mut W) -> io::Result<()> {
    escape(key, out)?;
    out.write_all(b"\t")?;
    escape(value, out)?;
    out.write_all(b"\n")
}

pub(crate) fn read(line: &[u8]) -> Result<Record<'_>, Fault> {
    let Some(line) = line.strip_suffix(b"\n") else {
        return Err(Fault::new(line.len(), "the last line has no newline: it may be cut off"));
    };
    let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
        return Err(Fault::new(line.len(), "a line without a tab between key and value"));
    };
    let (key, value) = (&line[..tab], &line[tab + 1..]);
    if let Some(at) = value.iter().position(|byte| *byte == b'\t') {
        return Err(Fault::new(at, "a second tab; in a value it is written \\t").behind(tab + 1));
    }
    // It would be taken for a part of the value where lines end with both.
    if let Some(at) = line.iter().position(|byte| *byte == b'\r') {
        return Err(Fault::new(at, "a carriage return; in a key or value it is written \\r"));
    }
    let value = unescape(value).map_err(|fault| fault.behind(tab + 1))?;
    Ok(Record { key: unescape(key)?, value, expires_at: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_none_is_a_fault_at_its_place() {
        let cases: [(&[u8], usize); 8] = [
            (b"", 0),
            (b"\n", 0),
            (b"key\tval", 7),
            (b"key\n", 3),
            (b"key\tvalue\tmore\n", 9),
            (b"key\tvalue\r\n", 9),
            (b"k\\q\tvalue\n", 1),
            (b"key\tva\\x0g\n", 6),
        ];
        for (line, at) in cases {
            let fault = read(line).unwrap_err();
            assert_eq!(fault.at, at, "{fault:?} in {}", line.escape_ascii());
        }
    }
}
