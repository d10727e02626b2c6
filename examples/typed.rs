//! A store of serde's types: recipes by name, and whatever else a program keeps beside them.
//!
//! ```text
//! cargo run --release --features serde --example typed
//! ```

use std::collections::BTreeMap;
use std::error::Error;

use serde::{Deserialize, Serialize};
use zerocask::Typed;

/// Its texts are borrowed: from whoever puts it, or from the mapped file.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Recipe<'a> {
    title: &'a str,
    minutes: u32,
    #[serde(borrow)]
    grams: BTreeMap<&'a str, f64>,
}

/// Keys may be of any type. One enum gives each kind of thing a place of its own.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Key {
    Recipe(u32),
    Settings,
    Seen,
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Typed::<Key>::open(dir.path())?;
    let bread = Recipe {
        title: "bread",
        minutes: 90,
        grams: BTreeMap::from([("flour", 500.0), ("water", 320.0), ("salt", 10.0)]),
    };
    store.insert(&Key::Recipe(1), &bread)?;
    store.insert(&Key::Settings, &(true, "grams"))?;
    store.insert(&Key::Seen, &())?;
    store.close()?;

    let store = Typed::<Key>::open(dir.path())?;
    let encoded = store.get_ref(&Key::Recipe(1))?.ok_or("the recipe is missing")?;
    let recipe: Recipe = encoded.get()?;
    assert_eq!(recipe, bread);
    println!("{recipe:?}");
    assert_eq!(store.get::<(bool, String)>(&Key::Settings)?, Some((true, "grams".into())));
    assert_eq!(store.get::<()>(&Key::Seen)?, Some(()));

    // What is there is no number.
    let Err(error) = store.get::<(u64, u64, u64)>(&Key::Settings) else {
        return Err("read settings as numbers".into());
    };
    println!("{error}");

    assert!(store.remove(&Key::Seen)?);
    let report = store.merge()?;
    println!("{} records left of {}", report.records_after, report.records_before);
    println!("keys: {:?}", store.keys()?);
    Ok(())
}
