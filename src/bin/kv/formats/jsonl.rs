//! JSON Lines: `{"key":…,"value":…}`. What is not UTF-8 is `key_base64` or `value_base64` instead. A record that
//! expires has a member `expires_at_us`.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Deserialize;

use super::Record;
use crate::fault::Fault;
use crate::text::Form;

pub(crate) fn write<W: Write + ?Sized>(
    key: &[u8],
    value: &[u8],
    expires_at: Option<u64>,
    out: &mut W,
) -> io::Result<()> {
    out.write_all(b"{")?;
    write_member("key", key, out)?;
    out.write_all(b",")?;
    write_member("value", value, out)?;
    write_expiry(expires_at, out)?;
    out.write_all(b"}\n")
}

/// Writes `,"expires_at_us":…`, microseconds since the Unix epoch, if there is such a time.
pub(crate) fn write_expiry<W: Write + ?Sized>(
    expires_at: Option<u64>,
    out: &mut W,
) -> io::Result<()> {
    expires_at.map_or(Ok(()), |at| write!(out, ",\"expires_at_us\":{at}"))
}

/// Writes `"name":"…"`, or `"name_base64":"…"` if the bytes are not UTF-8.
pub(crate) fn write_member<W: Write + ?Sized>(
    name: &str,
    bytes: &[u8],
    out: &mut W,
) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            write!(out, "\"{name}\":")?;
            Ok(serde_json::to_writer(out, text)?)
        }
        Err(_) => {
            write!(out, "\"{name}_base64\":\"")?;
            Form::Base64.write(bytes, out)?;
            out.write_all(b"\"")
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    expires_at_us: Option<u64>,
}

pub(crate) fn read(line: &[u8]) -> Result<Record<'static>, Fault> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    // serde would take an array of the members too.
    if let Some(at) = line.iter().position(|byte| !byte.is_ascii_whitespace())
        && line[at] != b'{'
    {
        return Err(Fault::new(at, "expected an object"));
    }
    let Line { key, key_base64, value, value_base64, expires_at_us } =
        serde_json::from_slice(line).map_err(|error| fault(&error, line))?;
    Ok(Record {
        key: member("key", key, key_base64)?,
        value: member("value", value, value_base64)?,
        expires_at: expires_at_us,
    })
}

fn member(
    name: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Cow<'static, [u8]>, Fault> {
    match (text, base64) {
        (Some(text), None) => Ok(Cow::Owned(text.into_bytes())),
        (None, Some(base64)) => match Form::Base64.read(base64.as_bytes()) {
            Ok(bytes) => Ok(Cow::Owned(bytes.into_owned())),
            Err(Fault { what, .. }) => {
                Err(Fault::new(0, format!("{name}_base64 is no base64: {what}")))
            }
        },
        (None, None) => Err(Fault::new(0, format!("neither {name} nor {name}_base64 is a string"))),
        (Some(_), Some(_)) => Err(Fault::new(0, format!("both {name} and {name}_base64"))),
    }
}

fn fault(error: &serde_json::Error, line: &[u8]) -> Fault {
    let text = error.to_string();
    // The place is told in bytes of the whole input instead.
    let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
    let at = if error.is_eof() { line.len() } else { error.column().saturating_sub(1) };
    Fault::new(at, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_none_is_a_fault_that_says_why() {
        let cases = [
            ("\n", 0, "EOF"),
            ("{\"key\":\"a\",\"value\":\"b\"\n", 22, "EOF"),
            ("{\"key\":\"a\",\"value\":b}\n", 19, "expected value"),
            ("{\"key\":\"a\",\"value\":\"b\"} {}\n", 24, "trailing"),
            ("{\"key\":\"a\",\"key\":\"b\",\"value\":\"\"}", 15, "duplicate field `key`"),
            ("{\"key\":\"a\",\"valu\":\"\"}", 16, "unknown field `valu`"),
            ("{\"key\":\"a\"}\n", 0, "neither value nor value_base64"),
            ("{\"value\":\"a\"}\n", 0, "neither key nor key_base64"),
            (
                "{\"key\":\"a\",\"key_base64\":\"YQ==\",\"value\":\"\"}",
                0,
                "both key and key_base64",
            ),
            ("{\"key\":\"a\",\"value_base64\":\"YQ\"}", 0, "value_base64 is no base64"),
            ("{\"key\":\"\\ud800\",\"value\":\"\"}", 14, "hex escape"),
            ("[\"a\",null,\"b\",null]\n", 0, "expected an object"),
            ("{\"key\":1,\"value\":\"\"}", 7, "invalid type"),
            ("{\"key\":\"\",\"value\":\"\",\"expires_at_us\":-1}", 38, "invalid value"),
        ];
        for (line, at, what) in cases {
            let fault = read(line.as_bytes()).unwrap_err();
            assert!(fault.what.contains(what) && !fault.what.contains("column"), "{fault:?}");
            assert_eq!(fault.at, at, "{fault:?} in {line:?}");
        }
        assert!(read(b"{\"key\":\"a\",\"value\":\"\xff\"}").is_err());
    }

    #[test]
    fn text_is_text_and_the_rest_is_base64() {
        let mut out = Vec::new();
        write("ä\"\n".as_bytes(), b"\xff", Some(7), &mut out).unwrap();
        let line = "{\"key\":\"ä\\\"\\n\",\"value_base64\":\"/w==\",\"expires_at_us\":7}\n";
        assert_eq!(String::from_utf8(out).unwrap(), line);
    }
}
