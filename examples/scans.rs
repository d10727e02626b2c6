//! Measurements by sensor and time, in a store that keeps its keys in order: ranges, the latest of each, pages.
//!
//! ```text
//! cargo run --release --example scans
//! ```

use std::error::Error;

use zerocask::{Options, Value};

const SENSORS: u32 = 20;
const MINUTES: u64 = 1000;
const PAGE: usize = 100;

/// Big-endian, so that bytes compare as the numbers do: all of one sensor together, in the order of time.
fn key(sensor: u32, minute: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&sensor.to_be_bytes());
    key[4..].copy_from_slice(&minute.to_be_bytes());
    key
}

fn minute(key: &[u8]) -> Result<u64, Box<dyn Error>> {
    Ok(u64::from_be_bytes(key.get(4..).ok_or("a key is short")?.try_into()?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Options::new().ordered(true).open(dir.path())?;
    for minute in 0..MINUTES {
        for sensor in 0..SENSORS {
            let degrees = 20.0 + f64::from(sensor) + (minute as f64 / 60.0).sin();
            store.put(key(sensor, minute), degrees.to_le_bytes())?;
        }
    }

    // An hour of one of them.
    let hour: Result<Vec<(Value, Value)>, _> = store.range(key(7, 120)..key(7, 180)).collect();
    let hour = hour?;
    assert_eq!(hour.len(), 60);
    assert_eq!((minute(&hour[0].0)?, minute(&hour[59].0)?), (120, 179));

    // The latest of each, from the end of its range.
    for sensor in 0..SENSORS {
        let latest = store.prefix(sensor.to_be_bytes()).next_back().ok_or("it has measured")??;
        assert_eq!(minute(&latest.0)?, MINUTES - 1);
    }

    // Page by page: each begins behind the key that ended the one before it.
    let (mut from, end, mut pages) = (key(3, 0), key(4, 0), 0);
    while let Some((last, _)) = store.range(from..end).take(PAGE).last().transpose()? {
        from = key(3, minute(&last)? + 1);
        pages += 1;
    }
    assert_eq!(pages * PAGE as u64, MINUTES);
    println!("{} measurements, those of sensor 3 in {pages} pages", store.len());
    Ok(())
}
