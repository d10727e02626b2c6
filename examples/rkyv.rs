//! Archives of rkyv, read where they lie: a whole structure of strings, lists and maps straight out of
//! the mapped file, without decoding it.
//!
//! ```text
//! cargo run --release --example rkyv
//! ```

use std::collections::BTreeMap;
use std::error::Error;

use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize, access, deserialize, rancor, to_bytes};
use zerocask::{Store, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const RECIPES: u32 = 1000;

/// What rkyv lays archives out for. Not that of the root type: parts of an archive may need more.
const ALIGNMENT: usize = AlignedVec::<16>::ALIGNMENT;

#[derive(Archive, Serialize, Deserialize, PartialEq, Debug)]
struct Recipe {
    name: String,
    minutes: u32,
    grams: BTreeMap<String, f64>,
    steps: Vec<String>,
}

impl Recipe {
    fn number(n: u32) -> Self {
        let grams = [("flour", 500.0), ("water", 300.0 + f64::from(n)), ("salt", 10.0)];
        Recipe {
            name: format!("bread {n}"),
            minutes: 60 + n,
            grams: grams.map(|(what, grams)| (what.to_owned(), grams)).into(),
            steps: (0..n % 7).map(|step| format!("fold {step}")).collect(),
        }
    }
}

/// The recipe where it lies. Checks that it is one, which never leaves the value's bytes.
fn recipe(value: &Value) -> Result<&ArchivedRecipe> {
    Ok(access::<ArchivedRecipe, rancor::Error>(value)?)
}

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    for n in 0..RECIPES {
        let archive = to_bytes::<rancor::Error>(&Recipe::number(n))?;
        store.put_aligned(n.to_be_bytes(), &archive, ALIGNMENT)?;
    }
    // So that copies of archives are met as well.
    for n in (0..RECIPES).step_by(2) {
        assert!(store.delete(n.to_be_bytes())?);
    }
    let report = store.compact()?;
    store.close()?;

    let store = Store::open(dir.path())?;
    let (mut minutes, mut bytes) = (0u32, 0);
    for n in (1..RECIPES).step_by(2) {
        let value = store.get(n.to_be_bytes())?.ok_or("a recipe is missing")?;
        let archived = recipe(&value)?;
        assert_eq!(archived.name, format!("bread {n}"));
        assert_eq!(
            archived.grams.get("water").map(|grams| grams.to_native()),
            Some(300.0 + f64::from(n))
        );
        assert_eq!(deserialize::<Recipe, rancor::Error>(archived)?, Recipe::number(n));
        // The name is bytes of the file.
        assert!(value.as_ptr_range().contains(&archived.name.as_ptr()));
        minutes += archived.minutes.to_native();
        bytes += value.len();
    }
    assert_eq!(store.len() as u32, RECIPES / 2);
    let expected: u32 = (1..RECIPES).step_by(2).map(|n| 60 + n).sum();
    assert_eq!(minutes, expected);
    println!("compaction left {} of {} records", report.records_after, report.records_before);
    println!("{} recipes, {bytes} bytes, {minutes} minutes, all read in place", store.len());
    Ok(())
}
