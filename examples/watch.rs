//! An index in memory that is kept up with a store by watching it: who lives where.
//!
//! ```text
//! cargo run --release --example watch
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::thread;

use zerocask::{Event, Store};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PREFIX: &str = "user/";
const LAST: &[u8] = b"user/last";
const CITIES: [&str; 4] = ["Graz", "Linz", "Wien", "Bregenz"];

#[derive(Default, PartialEq, Debug)]
struct Index {
    city_of: BTreeMap<Vec<u8>, String>,
    users_in: BTreeMap<String, BTreeSet<Vec<u8>>>,
}

impl Index {
    fn of(store: &Store) -> Result<Self> {
        let mut index = Index::default();
        for pair in store.prefix(PREFIX) {
            let (user, city) = pair?;
            index.set(&user, Some(&city));
        }
        Ok(index)
    }

    fn set(&mut self, user: &[u8], city: Option<&[u8]>) {
        if let Some(old) = self.city_of.remove(user)
            && let Some(users) = self.users_in.get_mut(&old)
        {
            users.remove(user);
            if users.is_empty() {
                self.users_in.remove(&old);
            }
        }
        if let Some(city) = city {
            let city = String::from_utf8_lossy(city).into_owned();
            self.city_of.insert(user.to_vec(), city.clone());
            self.users_in.entry(city).or_default().insert(user.to_vec());
        }
    }
}

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    // With little room, so that it falls behind now and then.
    let mut watcher = store.watch_with(PREFIX, 64)?;
    let watched = store.clone();
    let indexer = thread::spawn(move || -> Result<(Index, usize, usize)> {
        let (mut index, mut changes, mut rebuilt) = (Index::of(&watched)?, 0, 0);
        while !index.city_of.contains_key(LAST) {
            match watcher.next().ok_or("the store was closed")? {
                Event::Changed { key, .. } => {
                    // As it is now, which may be newer than the event.
                    index.set(&key, watched.get(&key)?.as_deref());
                    changes += 1;
                }
                // Something was not told, or all was removed: begin anew.
                _ => (index, rebuilt) = (Index::of(&watched)?, rebuilt + 1),
            }
        }
        Ok((index, changes, rebuilt))
    });

    for n in 0..20_000usize {
        let user = format!("{PREFIX}{}", n % 500);
        match n % 11 {
            0 => drop(store.delete(user)?),
            _ => store.put(user, CITIES[n % CITIES.len()])?,
        }
        store.put("page", "not of interest")?;
    }
    store.put(LAST, CITIES[0])?;
    let (index, changes, rebuilt) = indexer.join().map_err(|_| "the indexer panicked")??;
    assert_eq!(index, Index::of(&store)?);
    println!("{} users; {changes} changes told, {rebuilt} times begun anew", index.city_of.len());
    Ok(())
}
