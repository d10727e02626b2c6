//! What is wrong with a text, and where.

/// Something that is not as it should be, so many bytes behind the beginning of what was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) what: String,
}

impl Fault {
    pub(crate) fn new(at: usize, what: impl Into<String>) -> Self {
        Fault { at, what: what.into() }
    }

    /// The same, seen from something that begins so many bytes before.
    pub(crate) fn behind(self, bytes: usize) -> Self {
        Fault { at: self.at + bytes, ..self }
    }
}
