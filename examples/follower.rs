//! A process that writes, and another that reads beside it.
//!
//! ```text
//! cargo run --release --example follower
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use zerocask::{Options, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const KEYS: u32 = 1000;

fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(dir) => write(Path::new(&dir)),
        None => follow(),
    }
}

fn follow() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut writer = Command::new(std::env::current_exe()?)
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut told = BufReader::new(writer.stdout.take().ok_or("it has an output")?).lines();
    let mut ask = writer.stdin.take().ok_or("it has an input")?;
    let mut round = || told.next().ok_or("the writer has ended")?.map_err(Box::<dyn Error>::from);
    assert_eq!(round()?, "1");

    let follower = Options::new().read_only(true).open(dir.path())?;
    assert_eq!(follower.len(), KEYS as usize);
    assert!(matches!(Store::open(dir.path()), Err(zerocask::Error::Locked { .. })));
    assert!(matches!(follower.put("key", "mine"), Err(zerocask::Error::ReadOnly)));

    // It shows what was there when it looked last.
    writeln!(ask, "go on")?;
    assert_eq!(round()?, "2");
    let value = follower.get(7u32.to_be_bytes())?.ok_or("it was written")?;
    assert_eq!(value, "round 1");
    let refreshed = follower.refresh()?;
    assert_eq!(follower.get(7u32.to_be_bytes())?.ok_or("it was written")?, "round 2");
    assert_eq!(value, "round 1", "a value in hand stays as it is");
    println!("{} records read to catch up", refreshed.records);

    // Also when the writer has compacted, and when it has gone.
    writeln!(ask, "go on")?;
    assert_eq!(round()?, "3");
    drop(ask);
    assert!(writer.wait()?.success());
    follower.refresh()?;
    for n in 0..KEYS {
        assert_eq!(follower.get(n.to_be_bytes())?.ok_or("it was written")?, "round 3");
    }
    println!("{} keys, as the writer left them", follower.len());
    Ok(())
}

/// Writes all keys at a time, and compacts, until nobody asks for more.
fn write(dir: &Path) -> Result<()> {
    let store = Store::open(dir)?;
    let mut asked = std::io::stdin().lines();
    for round in 1.. {
        for n in 0..KEYS {
            store.put(n.to_be_bytes(), format!("round {round}"))?;
        }
        if round == 3 {
            store.compact()?;
        }
        println!("{round}");
        if asked.next().transpose()?.is_none() {
            break;
        }
    }
    Ok(store.close()?)
}
