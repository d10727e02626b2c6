//! `kv` as a person uses it.
