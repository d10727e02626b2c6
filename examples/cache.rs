//! A cache whose entries go away by themselves.
//!
//! ```text
//! cargo run --release --example cache
//! ```

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use zerocask::{Durability, Expiry, Options, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TTL: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // What is lost in a crash is made again.
    let options = Options::new().default_ttl(Some(TTL)).durability(Durability::Buffered);
    let cache = options.open(dir.path())?;

    let mut made = 0;
    for _ in 0..3 {
        assert_eq!(page(&cache, "start", &mut made)?, b"the page start");
    }
    println!("asked three times, made {made}");
    let made_before = made;

    // One that stays longer, one that stays for good.
    cache.put_with_ttl("session", "ada", HOUR)?;
    cache.put_with_ttl("logo", "…", HOUR)?;
    assert!(cache.persist("logo")?);
    assert_eq!(cache.expires_at("logo")?, Some(Expiry::Never));
    for n in 0..1000 {
        cache.put(format!("other/{n}"), "…")?;
    }

    sleep(TTL);
    assert!(cache.get("start")?.is_none(), "it has expired");
    assert!(!cache.touch("start", HOUR)?, "too late");
    assert!(cache.touch("session", HOUR)?);
    assert_eq!(page(&cache, "start", &mut made)?, b"the page start");
    assert_eq!(made, made_before + 1);

    // Expired records take room until a compaction, and are counted as keys until then.
    assert_eq!(cache.len(), 1003);
    let report = cache.compact()?;
    assert!(cache.len() <= 3);
    println!("compaction left {} of {} bytes", report.bytes_after, report.bytes_before);
    Ok(())
}

/// The page of this name, made if the cache has it no more.
fn page(cache: &Store, name: &str, made: &mut u32) -> Result<Vec<u8>> {
    if let Some(page) = cache.get(name)? {
        return Ok(page.to_vec());
    }
    *made += 1;
    let page = format!("the page {name}");
    cache.put(name, &page)?;
    Ok(page.into_bytes())
}
