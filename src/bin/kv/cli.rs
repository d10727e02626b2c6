//! The arguments. Keys and values are any bytes that the shell can pass.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use zerocask::Position;

use crate::change::parse_position;
use crate::formats::Format;

/// A Bitcask key-value store.
#[derive(Parser)]
#[command(
    name = "kv",
    version,
    arg_required_else_help = false,
    after_help = "Exit status: 0 done, 1 the key is not there or there is damage, 2 an error."
)]
pub(crate) struct Cli {
    /// The store's directory, ./data unless said. Only `put` and `import` make one that is missing.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Tell on stderr what the store does, not only what it warns of.
    #[arg(long, global = true)]
    pub(crate) debug: bool,

    /// Answer with one JSON object, or one a line for keys; errors and warnings are objects on stderr.
    ///
    /// Keys and values that are not UTF-8 are members with names that end in `_base64`.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Keys and values are given and written with escapes: \t \n \r \\ \xHH.
    ///
    /// Written so, they are on one line and do nothing to a terminal. In this form, as in hex and base64, a value is
    /// written with a newline after it, and read from stdin without the one at its end. With --json it is the form of
    /// arguments only; import and export have forms of their own.
    #[arg(long, global = true)]
    pub(crate) escape: bool,

    /// Keys and values are given and written in hex.
    #[arg(long, global = true)]
    pub(crate) hex: bool,

    /// Keys and values are given and written in base64, with padding.
    #[arg(long, global = true)]
    pub(crate) base64: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("./data"))
    }
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
        /// KEY is there for so long: `90s`, `15m`, `2h`, `7d`, `500ms`, `1h 30m`. Without it, for good.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
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
    /// Write how long KEY is there yet, or `never` if it does not expire. Exits 1 if it is not there.
    ///
    /// Written as --ttl reads it, rounded up to milliseconds: `14m 59s 812ms`. With --json also when KEY expires, in
    /// microseconds since 1970.
    Ttl {
        #[arg(allow_hyphen_values = true, help = KEY_HELP)]
        key: OsString,
        #[command(flatten)]
        beside: Beside,
    },
    /// Let KEY be there for DURATION from now on, whatever it had. Exits 1 if it is not there.
    Touch {
        #[arg(allow_hyphen_values = true, help = KEY_HELP)]
        key: OsString,
        /// As of `kv put --ttl`.
        #[arg(value_name = "DURATION", value_parser = humantime::parse_duration)]
        ttl: Duration,
    },
    /// Let KEY be there until it is deleted. Exits 1 if it is not there.
    Persist {
        #[arg(allow_hyphen_values = true, help = KEY_HELP)]
        key: OsString,
    },
    /// Write all keys in the order of their bytes, each with a newline after it.
    List(Beside),
    /// Write keys in the order of their bytes, each with a newline after it, with their values if asked for.
    Scan {
        #[command(flatten)]
        keys: Keys,
        /// So many at the most.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Write a tab and the value behind each key. With --escape no key or value has a tab or newline in it.
        #[arg(long)]
        values: bool,
        #[command(flatten)]
        beside: Beside,
    },
    /// Write how many keys there are.
    Count {
        #[command(flatten)]
        keys: Keys,
        #[command(flatten)]
        beside: Beside,
    },
    /// Tell of what a process that has the store open puts and deletes, a line each, until interrupted.
    ///
    /// A line is `put` or `delete`, the key and, with --values, the value, with tabs between. It takes no lock, writes
    /// nothing, and looks again and again: what happened between two looks is told as what came of it, puts first, then
    /// deletes, each in the order of the keys. Of two puts of one key that is the second, of a put and a delete nothing.
    /// A key that expires is deleted. With --json also when a value expires.
    ///
    /// A look that finds nothing new costs next to nothing, another reads the store through. In memory is each key with
    /// the prefix, and some 60 bytes with it; twice that during a look. Shows what has been handed to the system by then.
    Watch {
        /// Keys that begin so.
        #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
        prefix: Option<OsString>,
        /// Tell first of what is there already, as put.
        #[arg(long)]
        existing: bool,
        /// Write a tab and the value behind each key that was put.
        #[arg(long)]
        values: bool,
        /// Stop after so many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// The time between two looks.
        #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = humantime::parse_duration)]
        interval: Duration,
    },
    /// Write what has been written to the store, in its order, a line each.
    ///
    /// A line is the position to go on from when it has been dealt with, `put` or `delete`, the key and, with --values,
    /// the value, with tabs between. Keep the last line's position, and give it as --from the next time. Within a batch it
    /// is where that begins, so that all of it comes again.
    ///
    /// A compaction, and the first write after an opening, so every kv put, replace parts of the log by copies of what counts, which
    /// come once more; two of them behind the position, and something may be missing: that is an error that says what to do. With --json
    /// also when a value expires. Nobody else may have the store open: a program that has it can do this itself.
    Log {
        /// Go on from there, and not from the oldest that is left.
        #[arg(long, value_name = "POSITION", value_parser = parse_position)]
        from: Option<Position>,
        /// Write nothing but the position behind everything.
        #[arg(long, conflicts_with_all = ["from", "values", "limit"])]
        end: bool,
        /// Write a tab and the value behind each key that was put.
        #[arg(long)]
        values: bool,
        /// Stop after so many, and the rest of their batch.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Put records from a file, stdin or a directory into the store, which is made if it is missing.
    ///
    /// Keys that the store has and the source has not stay; of two records of one key the later counts. An empty value
    /// is stored as one. Records are written in batches of up to 4 MiB and made durable at the end. If there is
    /// something wrong in the source, what stands before it is stored, and its place is told.
    #[command(after_long_help = FORMATS)]
    Import {
        /// A file, a directory, or `-` for stdin.
        source: OsString,
        #[arg(long, value_enum, help = FORMAT_HELP, hide_possible_values = true)]
        format: Option<Format>,
    },
    /// Write all records of the store, in the order of their keys, to a new file, stdout or a directory.
    ///
    /// A file that exists is not overwritten, and nothing is written to a directory that is not empty. To stdout go the
    /// records and no figures. What cannot be read is left out and is an error in the end.
    #[command(after_long_help = FORMATS)]
    Export {
        /// A file that is not there yet, a directory that is empty or not there yet, or `-` for stdout.
        dest: OsString,
        #[arg(long, value_enum, help = FORMAT_HELP, hide_possible_values = true)]
        format: Option<Format>,
        #[command(flatten)]
        beside: Beside,
    },
    /// Write figures about the store and its segments, as a table; with `--json` as an object.
    ///
    /// What is counted (puts, bytes written, compactions, syncs) is of the process that has the store open, here this one.
    Stats {
        /// Every segment, and not only the 20 with the most dead bytes.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        beside: Beside,
    },
    /// Rewrite the store so that only live records take up space.
    Compact,
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
    /// Measure puts and gets for some two seconds, in a store of its own that is removed again.
    ///
    /// It is made below --dir, which has to be there, or else where temporary files are. Puts are buffered and synced
    /// once at the end, which counts. Each get is checked.
    Bench {
        /// How many records are put.
        #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
        records: u32,
        /// How long their values are. The keys have 24 bytes.
        #[arg(long, value_name = "BYTES", default_value_t = 150, value_parser = parse_value_bytes)]
        value_bytes: usize,
        /// How long gets are measured, half of it those of a `Reader`.
        #[arg(long, value_name = "S", default_value_t = 1.5)]
        seconds: f64,
    },
    /// Write what a shell needs to complete kv's arguments: `source <(kv completions bash)`.
    Completions { shell: Shell },
    /// Write the manual page of kv, or of one of its commands: `kv man import | man -l -`.
    Man {
        /// The command.
        command: Option<String>,
    },
}

/// Keys by their bytes; what is not said, does not restrict.
#[derive(Args)]
pub(crate) struct Keys {
    /// Those that begin so.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) prefix: Option<OsString>,
    /// From this one on.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) start: Option<OsString>,
    /// Before this one.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) end: Option<OsString>,
}

#[derive(Args)]
pub(crate) struct Beside {
    /// Take no lock and write nothing: works beside a process that has the store open, and where nothing
    /// can be written. Shows what has been handed to the system by then.
    #[arg(long)]
    pub(crate) read_only: bool,
}

/// None would be a deletion.
fn parse_value_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("an empty value is none".into()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(format!("{error}")),
    }
}

const KEY_HELP: &str = "The key; behind `--` if it is spelt like an option of kv";

const FORMAT_HELP: &str = "jsonl, tsv or tree; told by .jsonl, .ndjson, .tsv or a directory, and jsonl for `-`, unless said";

const FORMATS: &str = "\
Formats, all of which keep every byte of keys and values, and of which jsonl keeps when keys expire:

jsonl: JSON Lines, an object for each record: {\"key\":\"…\",\"value\":\"…\"}. A key that is not UTF-8 is \
\"key_base64\" instead, with padding, a value \"value_base64\". A record that expires has a member \"expires_at_us\", in microseconds since 1970; imported \
after that it is absent. There are no other members.

tsv: a line for each record: the key, a tab, the value, a newline. Escapes in both: \\t \\n \\r \\\\ and \\xHH, the \
byte of two hex digits. A line without a newline, a second tab and a carriage return are errors; other bytes stand \
for themselves. Written as \\xHH are those of other control characters, and those that are not UTF-8.

tree: a directory with a file for each value; its path is the key, with `/` between names. In a name, %25 is a % and \
%00 a zero byte; %2E alone is `.` and %2E%2E is `..`; % alone is the empty part of a key that begins or ends with `/`, \
or has two in a row, and of the empty key. A % is added to the name of a file where a directory has that name: the \
value of `a`, beside that of `a/b`, is in `a%`. Names that are spelt otherwise are refused, so no two files are one key. \
Symbolic links and what else is neither file nor directory are not followed, left out and warned of. Empty \
directories are no keys. A key with a part longer than the name of a file can be (255 bytes) is refused.";
