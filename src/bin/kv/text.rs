//! Keys and values as text: as they are, with escapes, in hex or base64.

use std::borrow::Cow;
use std::io::{self, Write};

use data_encoding::{BASE64, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::fault::Fault;

/// How keys and values are spelt in arguments and answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Raw,
    Escape,
    Hex,
    Base64,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::Raw => "raw",
            Form::Escape => "escape",
            Form::Hex => "hex",
            Form::Base64 => "base64",
        }
    }

    /// Writes bytes in this form.
    pub(crate) fn write<W: Write + ?Sized>(self, bytes: &[u8], out: &mut W) -> io::Result<()> {
        match self {
            Form::Raw => out.write_all(bytes),
            Form::Escape => escape(bytes, out),
            Form::Hex => encode(&HEXLOWER, bytes, out),
            Form::Base64 => encode(&BASE64, bytes, out),
        }
    }

    /// The bytes that a text in this form stands for.
    pub(crate) fn read(self, text: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
        match self {
            Form::Raw => Ok(Cow::Borrowed(text)),
            Form::Escape => unescape(text),
            Form::Hex => decode(&HEXLOWER_PERMISSIVE, text),
            Form::Base64 => decode(&BASE64, text),
        }
    }
}

fn encode<W: Write + ?Sized>(encoding: &Encoding, bytes: &[u8], out: &mut W) -> io::Result<()> {
    // Pieces of three bytes can be put side by side in base64.
    bytes.chunks(3 << 12).try_for_each(|piece| out.write_all(encoding.encode(piece).as_bytes()))
}

fn decode<'a>(encoding: &Encoding, text: &[u8]) -> Result<Cow<'a, [u8]>, Fault> {
    let bytes = encoding.decode(text);
    bytes.map(Cow::Owned).map_err(|error| Fault::new(error.position, error.kind.to_string()))
}

/// Writes bytes so that they stay on one line, in one column, and do nothing to a terminal: `\t`, `\n`, `\r` and
/// `\\`, and `\xHH` for each byte of other control characters and of what is not UTF-8.
pub(crate) fn escape<W: Write + ?Sized>(bytes: &[u8], out: &mut W) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(is_escaped) {
            let (plain, found) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            let len = found.chars().next().map_or(0, char::len_utf8);
            let (escaped, behind) = found.split_at(len);
            match escaped {
                "\t" => out.write_all(b"\\t")?,
                "\n" => out.write_all(b"\\n")?,
                "\r" => out.write_all(b"\\r")?,
                "\\" => out.write_all(b"\\\\")?,
                other => escape_bytes(other.as_bytes(), out)?,
            }
            rest = behind;
        }
        out.write_all(rest.as_bytes())?;
        escape_bytes(chunk.invalid(), out)?;
    }
    Ok(())
}

fn is_escaped(c: char) -> bool {
    c == '\\' || c.is_control()
}

fn escape_bytes<W: Write + ?Sized>(bytes: &[u8], out: &mut W) -> io::Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    bytes.iter().try_for_each(|byte| {
        let digit = |n: u8| DIGITS[usize::from(n & 0xf)];
        out.write_all(&[b'\\', b'x', digit(byte >> 4), digit(*byte)])
    })
}

/// What an escaped text stands for. A backslash has to begin one of the escapes; all other bytes are themselves.
pub(crate) fn unescape(text: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    let Some(first) = text.iter().position(|byte| *byte == b'\\') else {
        return Ok(Cow::Borrowed(text));
    };
    let mut bytes = Vec::with_capacity(text.len());
    bytes.extend_from_slice(&text[..first]);
    let mut at = first;
    while let Some(&byte) = text.get(at) {
        let (byte, len) = match (byte, text.get(at + 1..)) {
            (b'\\', Some([b't', ..])) => (b'\t', 2),
            (b'\\', Some([b'n', ..])) => (b'\n', 2),
            (b'\\', Some([b'r', ..])) => (b'\r', 2),
            (b'\\', Some([b'\\', ..])) => (b'\\', 2),
            (b'\\', Some(&[b'x', high, low, ..])) => match hex(high, low) {
                Some(byte) => (byte, 4),
                None => return Err(Fault::new(at, "\\x without two hex digits behind it")),
            },
            (b'\\', _) => {
                return Err(Fault::new(
                    at,
                    "a backslash that begins none of \\t \\n \\r \\\\ and \\xHH",
                ));
            }
            (byte, _) => (byte, 1),
        };
        bytes.push(byte);
        at += len;
    }
    Ok(Cow::Owned(bytes))
}

/// The byte of two hex digits.
pub(crate) fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(form: Form, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        form.write(bytes, &mut text).unwrap();
        text
    }

    proptest! {
        #[test]
        fn every_form_gives_back_what_went_in(
            bytes in crate::tests::bytes(),
            form in prop::sample::select(&[Form::Raw, Form::Escape, Form::Hex, Form::Base64][..]),
        ) {
            let text = written(form, &bytes);
            prop_assert_eq!(&*form.read(&text).unwrap(), &bytes[..]);
            if form != Form::Raw {
                let text = String::from_utf8(text).unwrap();
                prop_assert!(!text.contains(char::is_control), "{text:?}");
            }
        }

        #[test]
        fn what_is_read_is_an_answer_or_a_fault_within_it(text in crate::tests::bytes()) {
            for form in [Form::Escape, Form::Hex, Form::Base64] {
                if let Err(fault) = form.read(&text) {
                    prop_assert!(fault.at <= text.len());
                }
            }
        }
    }

    #[test]
    fn encodings_have_no_seam_between_their_pieces() {
        let bytes = vec![b'a'; 3 * (3 << 12) + 1];
        assert_eq!(written(Form::Base64, &bytes), BASE64.encode(&bytes).as_bytes());
    }

    #[test]
    fn escapes_are_those_that_are_told_and_no_others() {
        let bytes = "a\\b\tc\nd\re\0f\u{1b}g\u{85}hä".as_bytes();
        let text = b"a\\\\b\\tc\\nd\\re\\x00f\\x1Bg\\xC2\\x85h\xc3\xa4";
        assert_eq!(written(Form::Escape, bytes), text);
        assert_eq!(written(Form::Escape, b"\xff\xc3"), b"\\xFF\\xC3");
        assert_eq!(&*unescape(b"\\xfF\xff").unwrap(), b"\xff\xff");
        for (text, at) in [("a\\", 1), ("\\\\\\q", 2), ("ab\\x1", 2), ("\\xg0", 0), ("\\x+1", 0)] {
            assert_eq!(unescape(text.as_bytes()).unwrap_err().at, at, "{text}");
        }
    }

    #[test]
    fn hex_and_base64_have_one_spelling_but_for_the_case_of_hex() {
        assert_eq!(&*Form::Hex.read(b"00fF").unwrap(), b"\0\xff");
        for (form, text) in [
            (Form::Hex, "0"),
            (Form::Hex, "0x"),
            (Form::Hex, "00 ff"),
            (Form::Base64, "AA"),
            (Form::Base64, "AB=="),
            (Form::Base64, "_w=="),
        ] {
            assert!(form.read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
