//! What the layers above the store cost: reads through them against the same reads without.

use tokio::runtime::Builder;
use zerocask::{AsyncStore, Codec, Postcard, Store, Typed};

use crate::common::{Flat, KEY_LEN, Random, buffered, fresh_dir, touch};
use crate::{Rounds, VALUE_LEN, print_head, time};

pub(crate) fn compare(records: usize, rounds: usize) {
    println!("\n### layers: {records} records of strings of {KEY_LEN} + {VALUE_LEN} bytes\n");
    print_head("the layer", "the store");
    let (keys, values) = (Flat::random(1, records, KEY_LEN), Flat::random(2, records, VALUE_LEN));
    let dir = fresh_dir();
    let typed = Typed::<String>::new(buffered().open(dir.path()).unwrap());
    for i in Random(3).order(records) {
        typed.insert(text(keys.get(i)).as_str(), &text(values.get(i))).unwrap();
    }
    typed.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let queries = keys.reordered(&Random(4).order(records));
    drop((keys, values));
    let queries: Vec<String> = queries.iter().map(text).collect();
    let encoded: Vec<Vec<u8>> = queries.iter().map(encoded).collect();

    let (typed, reader) = (Typed::<String>::new(store.clone()).reader(), store.reader());
    let from_typed = || {
        time(|| {
            for key in &queries {
                touch(typed.get::<&str>(key).unwrap().unwrap().as_bytes());
            }
        })
    };
    let from_reader = || {
        time(|| {
            for key in &encoded {
                touch(reader.get(key).unwrap().unwrap());
            }
        })
    };
    // What a program does that has a string and wants one: a key's bytes put together, and a value's looked at.
    let by_hand = || {
        let mut bytes = Vec::new();
        time(|| {
            for key in &queries {
                bytes.clear();
                bytes.push(KEY_LEN as u8);
                bytes.extend_from_slice(key.as_bytes());
                // Of 128 bytes or more, postcard writes the length in two.
                let value = &reader.get(&bytes).unwrap().unwrap()[2..];
                touch(std::str::from_utf8(value).unwrap().as_bytes());
            }
        })
    };
    Rounds::run(rounds, records, from_typed, from_reader)
        .print("`TypedReader::get` of a `&str` against `Reader::get`", 1.2);
    Rounds::run(rounds, records, from_typed, by_hand)
        .print("… against `Reader::get` of a key just put together, and `str::from_utf8`", 1.2);

    let from_store = || {
        time(|| {
            for key in &encoded {
                touch(&store.get(key).unwrap().unwrap());
            }
        })
    };
    let runtime = Builder::new_current_thread().build().unwrap();
    let shared = AsyncStore::from(store.clone());
    let from_async = || {
        time(|| {
            runtime.block_on(async {
                for key in &encoded {
                    touch(&shared.get(key).await.unwrap().unwrap());
                }
            });
        })
    };
    Rounds::run(rounds, records, from_async, from_store)
        .print("`AsyncStore::get` against `Store::get`", 1.3);
}

/// As many letters as there are bytes.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(b' ' + byte % 95)).collect()
}

fn encoded(key: &String) -> Vec<u8> {
    let mut bytes = Vec::new();
    Postcard::encode(key, &mut bytes).unwrap();
    bytes
}
