//! The arguments. Keys and values are any bytes that the shell can pass.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A Bitcask key-value store.
#[derive(Parser)]
#[command(
    name = "kv",
    version,
    arg_required_else_help = false,
    after_help = "Exit status: 0 done, 1 the key is not there or there is damage, 2 an error."
)]
pub(crate) struct Cli {
    /// The store's directory. Only `put` makes one that is missing.
    #[arg(long, global = true, value_name = "DIR", default_value = "./data")]
    pub(crate) dir: PathBuf,

    /// Tell on stderr what the store does, not only what it warns of.
    #[arg(long, global = true)]
    pub(crate) debug: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Give KEY a value. An empty VALUE deletes KEY, the rule of the plain Bitcask format.
    ///
    /// A key or value that is spelt like an option of kv goes behind `--`: `kv put -- --debug -h`.
    Put {
        #[arg(allow_hyphen_values = true, help = KEY_HELP)]
        key: OsString,
        /// The value; `-` reads it from stdin, whatever bytes come. Empty: KEY is deleted.
        #[arg(allow_hyphen_values = true)]
        value: OsString,
    },
    /// Write KEY's value to stdout as it is, no newline added. Exits 1 if there is none.
    Get {
        #[arg(allow_hyphen_values = true, help = KEY_HELP)]
        key: OsString,
        #[command(flatten)]
        beside: Beside,
    },
    /// Remove KEY. Exits 1 if it was not there.
    Delete {
        #[arg(allow_hyphen_values = true, help = KEY_HELP)]
        key: OsString,
    },
    /// Rewrite the store so that only live records take up space.
    Compact,
    /// Write figures about the store, one `name value` a line.
    Stats(Beside),
    /// Write all keys in the order of their bytes, each with a newline after it.
    List(Beside),
    /// Make DEST hold what the store does, as a store; done again, bring what is new.
    ///
    /// Files get a second name there if the file system can do that, and are copied otherwise. A program that
    /// has the store open has to do this itself.
    Backup {
        /// A directory that is empty, missing, or holds backups of this store.
        dest: PathBuf,
    },
    /// Mend a damaged store that nobody has open, as far as it can be.
    ///
    /// Copies every record that counts out of damaged files, which it renames to `….damaged`, and makes a manifest
    /// where there is none. Does nothing to a store without damage. Writes what it found and did, one
    /// `name value` a line. Exits 1 if something could not be saved: lines that begin with `stale` (the key has an
    /// older value now), `lost` (it has none), or `gone` (nobody knows which keys).
    Repair,
    /// Check every record and file of a store that nobody has open, and change nothing.
    ///
    /// Writes figures and findings, one `name value` a line. Exits 1 if there is damage (lines that
    /// begin with `damage`).
    Verify,
}

#[derive(Args)]
pub(crate) struct Beside {
    /// Take no lock and write nothing: works beside a process that has the store open, and where nothing
    /// can be written. Shows what has been handed to the system by then.
    #[arg(long)]
    pub(crate) read_only: bool,
}

const KEY_HELP: &str = "The key; behind `--` if it is spelt like an option of kv";
