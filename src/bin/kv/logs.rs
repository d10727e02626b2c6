//! What the library logs, on stderr: one line an event, without time or colour, or one JSON object.

use std::io::{self, Write};

use serde_json::json;
use tracing::Level;

/// Shows warnings and errors, with `debug` everything down to that level.
pub(crate) fn start(debug: bool, json: bool) {
    let level = if debug { Level::DEBUG } else { Level::WARN };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(move || OneLine { json })
        .init();
}

/// Writes an event to stderr as one line, whatever is in the paths that it names.
struct OneLine {
    /// As `{"level": …, "message": …}`.
    json: bool,
}

impl Write for OneLine {
    /// Takes a whole event, as the subscriber hands it over.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut line = event.trim_ascii().to_vec();
        line.iter_mut().filter(|byte| byte.is_ascii_control()).for_each(|byte| *byte = b' ');
        if self.json {
            let text = String::from_utf8_lossy(&line);
            let (level, message) = text.split_once(' ').unwrap_or_default();
            line = json!({ "level": level, "message": message }).to_string().into_bytes();
        }
        line.push(b'\n');
        io::stderr().write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
