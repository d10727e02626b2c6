//! A process that writes at every level of durability, as batches too, and is killed: what is there afterwards,
//! and what each level costs.
//!
//! ```text
//! cargo run --release --example durability
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use zerocask::{Batch, Durability, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PUTS: u32 = 100;

fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(dir) => write(Path::new(&dir)),
        None => kill_one_that_writes(),
    }
}

fn kill_one_that_writes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut writer = Command::new(std::env::current_exe()?)
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let told = BufReader::new(writer.stdout.take().ok_or("it has an output")?);
    for line in told.lines() {
        let line = line?;
        if line == "done" {
            break;
        }
        println!("{line}");
    }
    writer.kill()?; // as kill -9
    writer.wait()?;

    let store = Store::open(dir.path())?;
    assert!(store.recovery_report().unclean);
    let is_there = |key| store.contains_key(key);
    assert!(is_there("synced")? && is_there("interval")? && is_there("flushed")?);
    assert!(is_there("order/1")? && is_there("stock/apple")?, "all of the batch");
    assert!(!is_there("order/2")? && !is_there("stock/pear")?, "nothing of the batch");
    assert!(!is_there("buffered")?, "it was in the memory of the process");
    println!("killed: {} keys are there, what was only buffered is not", store.len());
    Ok(())
}

/// Writes, says so, and waits to be killed.
fn write(dir: &Path) -> Result<()> {
    let store = Store::open(dir)?;
    let interval = Durability::Interval(Duration::from_secs(60));
    let levels =
        [("synced", Durability::Synced), ("interval", interval), ("flushed", Durability::Flushed)];
    for (name, durability) in levels {
        let started = Instant::now();
        for _ in 0..PUTS {
            store.put_with(name, "value", durability)?;
        }
        println!("{name:>8}: {:.1?} each", started.elapsed() / PUTS);
    }
    store.write(Batch::new().put("order/1", "paid").put("stock/apple", "11"))?;
    store.put_with("buffered", "value", Durability::Buffered)?;
    let mut lost = Batch::new();
    lost.put("order/2", "paid").put("stock/pear", "3");
    store.write_with(&lost, Durability::Buffered)?;
    println!("done");
    // Nobody says anything: it ends when it is killed, or with the one who started it.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
