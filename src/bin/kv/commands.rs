//! From arguments to the commands.

use std::ffi::OsString;
use std::time::Duration;

use zerocask::{Position, Store};

use crate::answer::{Outcome, Shape};
use crate::bench::{self, Load};
use crate::cli::{Beside, Cli, Command, Keys};
use crate::expiry;
use crate::export;
use crate::failure::{Failure, Result};
use crate::import;
use crate::maintenance;
use crate::opening::{existing, on_store};
use crate::record::{self, bytes};
use crate::replay;
use crate::scan::{self, Selection};
use crate::shell;
use crate::text::Form;
use crate::watch;

pub(crate) fn run(cli: &Cli) -> Result<Outcome> {
    let (dir, shape) = (cli.dir(), Shape { json: cli.json, form: form(cli)? });
    let reading = |beside: &Beside, act: &dyn Fn(&Store) -> Result<Outcome>| {
        on_store(dir, &existing().read_only(beside.read_only), act)
    };
    let keep = |key, ttl| {
        let key = bytes("key", key, shape.form)?;
        on_store(dir, &existing(), |store| expiry::keep(shape, store, &key, ttl))
    };
    match &cli.command {
        Command::Put { key, value, ttl } => {
            record::put(shape, dir, &bytes("key", key, shape.form)?, value, *ttl)
        }
        Command::Get { key, beside } => {
            let key = bytes("key", key, shape.form)?;
            reading(beside, &|store| record::get(shape, store, &key))
        }
        Command::Delete { key } => {
            let key = bytes("key", key, shape.form)?;
            on_store(dir, &existing(), |store| record::delete(shape, store, &key))
        }
        Command::Ttl { key, beside } => {
            let key = bytes("key", key, shape.form)?;
            reading(beside, &|store| expiry::ttl(shape, store, &key))
        }
        Command::Touch { key, ttl } => keep(key, Some(*ttl)),
        Command::Persist { key } => keep(key, None),
        Command::List(beside) => {
            reading(beside, &|store| scan::keys(shape, store, &Selection::default()))
        }
        Command::Scan { keys, limit, values, beside } => {
            let selection = Selection { limit: *limit, ..selection(keys, shape.form)? };
            let scan = if *values { scan::values } else { scan::keys };
            reading(beside, &|store| scan(shape, store, &selection))
        }
        Command::Count { keys, beside } => {
            let selection = selection(keys, shape.form)?;
            reading(beside, &|store| scan::count(shape, store, &selection))
        }
        Command::Watch { prefix, existing: all, values, limit, interval } => {
            let wanted = watch::Wanted {
                prefix: optional("prefix", prefix, shape.form)?.unwrap_or_default(),
                existing: *all,
                values: *values,
                limit: limit.unwrap_or(usize::MAX),
                interval: *interval,
            };
            let beside = Beside { read_only: true };
            reading(&beside, &|store| watch::watch(shape, store, &wanted))
        }
        Command::Log { end: true, .. } => {
            on_store(dir, &existing(), |store| replay::end(shape, store))
        }
        Command::Log { from, values, limit, .. } => {
            let from = from.unwrap_or(Position::START);
            let limit = limit.unwrap_or(usize::MAX);
            let wanted = replay::Wanted { from, values: *values, limit };
            on_store(dir, &existing(), |store| replay::log(shape, store, &wanted))
        }
        Command::Import { source, format } => import::import(shape, dir, source, *format),
        Command::Export { dest, format, beside } => {
            reading(beside, &|store| export::export(shape, store, dest, *format))
        }
        Command::Stats { all, beside } => {
            reading(beside, &|store| maintenance::stats(shape, store, *all))
        }
        Command::Compact => on_store(dir, &existing(), |store| maintenance::compact(shape, store)),
        Command::Backup { dest } => {
            on_store(dir, &existing(), |store| maintenance::backup(shape, store, dest))
        }
        Command::Repair => maintenance::repair(shape, dir),
        Command::Verify => maintenance::verify(shape, dir),
        Command::Bench { records, value_bytes, seconds } => {
            let time = Duration::try_from_secs_f64(*seconds);
            let time = time.map_err(|error| Failure::Usage(format!("--seconds: {error}")))?;
            let load = Load { records: *records, value_bytes: *value_bytes, time };
            bench::bench(shape, cli.dir.as_deref(), &load)
        }
        Command::Completions { shell } => shell::completions(shape, *shell),
        Command::Man { command } => shell::man(shape, command.as_deref()),
    }
}

fn form(cli: &Cli) -> Result<Form> {
    match (cli.escape, cli.hex, cli.base64) {
        (false, false, false) => Ok(Form::Raw),
        (true, false, false) => Ok(Form::Escape),
        (false, true, false) => Ok(Form::Hex),
        (false, false, true) => Ok(Form::Base64),
        _ => Err(Failure::Usage("--escape, --hex and --base64 exclude each other".into())),
    }
}

fn optional(what: &'static str, text: &Option<OsString>, form: Form) -> Result<Option<Vec<u8>>> {
    text.as_ref().map(|text| bytes(what, text, form)).transpose()
}

fn selection(keys: &Keys, form: Form) -> Result<Selection> {
    let Keys { prefix, start, end } = keys;
    Ok(Selection {
        prefix: optional("prefix", prefix, form)?.unwrap_or_default(),
        start: optional("start", start, form)?.unwrap_or_default(),
        end: optional("end", end, form)?,
        limit: None,
    })
}
