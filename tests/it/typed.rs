//! Stores of types: what comes back is what was put, by either codec, or an error that says what is wrong.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Debug;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::Config;
use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use zerocask::{
    Codec, Durability, EmptyValues, Error, Json, KeyOf, Options, Part, Postcard, ReadMode, Typed,
};

use crate::support;

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Number(u16),
    Text(String),
    Pair(i8, Option<bool>),
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Nested {
    name: String,
    maybe: Option<Box<Nested>>,
    numbers: BTreeMap<i32, f32>,
}

/// A value, put as what it holds, not as this enum.
#[derive(Clone, Debug)]
enum Value {
    Unit,
    Text(String),
    Number(i64),
    Bytes(Vec<u8>),
    Nested(Nested),
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        (0u16..4).prop_map(|n| Key::Number(n * 100)),
        "[a-c\"é]{0,2}".prop_map(Key::Text),
        (-1i8..1, any::<Option<bool>>()).prop_map(|(n, maybe)| Key::Pair(n, maybe)),
    ]
}

fn nested() -> impl Strategy<Value = Nested> {
    // Such as JSON says exactly.
    let number = || any::<i16>().prop_map(|n| f32::from(n) / 8.0);
    let numbers = move || prop::collection::btree_map(any::<i32>(), number(), 0..3);
    let leaf = (".{0,5}", numbers());
    let leaf = leaf.prop_map(|(name, numbers)| Nested { name, maybe: None, numbers });
    leaf.prop_recursive(3, 4, 1, move |inner| {
        (".{0,5}", inner, numbers()).prop_map(|(name, inner, numbers)| Nested {
            name,
            maybe: Some(Box::new(inner)),
            numbers,
        })
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Unit),
        prop_oneof![2 => ".{0,10}", 1 => "x{200,300}"].prop_map(Value::Text),
        any::<i64>().prop_map(Value::Number),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        nested().prop_map(Value::Nested),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Key, Value),
    Remove(Key),
    Merge,
    Flush,
    Sync,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (key(), value()).prop_map(|(key, value)| Step::Insert(key, value)),
        5 => key().prop_map(Step::Remove),
        1 => Just(Step::Merge),
        1 => Just(Step::Flush),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

/// What all stores of types can do.
trait Subject: Sized {
    type Codec: Codec;

    fn open(dir: &Path, options: Options) -> Self;
    fn typed(&self) -> &Typed<Key, Self::Codec>;
    fn insert<V: Serialize + Sync>(&self, key: &Key, value: &V);
    fn get<V: DeserializeOwned + Send + 'static>(&self, key: &Key) -> Option<V>;
    fn contains_key(&self, key: &Key) -> bool;
    fn remove(&self, key: &Key) -> bool;
    fn keys(&self) -> Vec<Key>;
    fn merge(&self) -> u64;
    fn flush(&self);
    fn sync(&self);
    fn close(self);
}

impl<C: Codec> Subject for Typed<Key, C> {
    type Codec = C;

    fn open(dir: &Path, options: Options) -> Self {
        Typed::new(options.open(dir).unwrap())
    }

    fn typed(&self) -> &Typed<Key, C> {
        self
    }

    fn insert<V: Serialize + Sync>(&self, key: &Key, value: &V) {
        self.insert(key, value).unwrap();
    }

    fn get<V: DeserializeOwned + Send + 'static>(&self, key: &Key) -> Option<V> {
        self.get(key).unwrap()
    }

    fn contains_key(&self, key: &Key) -> bool {
        self.contains_key(key).unwrap()
    }

    fn remove(&self, key: &Key) -> bool {
        self.remove(key).unwrap()
    }

    fn keys(&self) -> Vec<Key> {
        self.keys().unwrap()
    }

    fn merge(&self) -> u64 {
        self.merge().unwrap().records_after
    }

    fn flush(&self) {
        self.flush().unwrap();
    }

    fn sync(&self) {
        self.sync().unwrap();
    }

    fn close(self) {
        self.close().unwrap();
    }
}

/// A store for tasks, each call awaited before the next.
#[cfg(feature = "tokio")]
struct Awaited {
    store: zerocask::AsyncTyped<Key>,
    runtime: tokio::runtime::Runtime,
}

#[cfg(feature = "tokio")]
impl Subject for Awaited {
    type Codec = Postcard;

    fn open(dir: &Path, options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = runtime.block_on(zerocask::AsyncTyped::new(dir, options)).unwrap();
        assert_eq!(store.db_directory(), dir);
        Awaited { store, runtime }
    }

    fn typed(&self) -> &Typed<Key> {
        self.store.typed()
    }

    fn insert<V: Serialize + Sync>(&self, key: &Key, value: &V) {
        self.runtime.block_on(self.store.insert(key, value)).unwrap();
    }

    fn get<V: DeserializeOwned + Send + 'static>(&self, key: &Key) -> Option<V> {
        let here = self.runtime.block_on(self.store.get::<V>(key)).unwrap();
        let there = self.runtime.block_on(self.store.get_off_thread::<V>(key)).unwrap();
        assert_eq!(here.is_some(), there.is_some());
        there
    }

    fn contains_key(&self, key: &Key) -> bool {
        self.runtime.block_on(self.store.contains_key(key)).unwrap()
    }

    fn remove(&self, key: &Key) -> bool {
        self.runtime.block_on(self.store.remove(key)).unwrap()
    }

    fn keys(&self) -> Vec<Key> {
        self.runtime.block_on(self.store.keys()).unwrap()
    }

    fn merge(&self) -> u64 {
        self.runtime.block_on(self.store.merge()).unwrap().records_after
    }

    fn flush(&self) {
        self.runtime.block_on(self.store.flush()).unwrap();
    }

    fn sync(&self) {
        self.runtime.block_on(self.store.sync()).unwrap();
    }

    fn close(self) {
        self.runtime.block_on(self.store.close()).unwrap();
    }
}

/// A subject and what it has to hold.
struct Run<S> {
    subject: S,
    model: BTreeMap<Key, Value>,
    options: Options,
    dir: tempfile::TempDir,
}

impl<S: Subject> Run<S> {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = support::options().segment_size(2000).durability(Durability::Buffered);
        let subject = S::open(dir.path(), options.clone());
        assert_eq!(subject.typed().db_directory(), dir.path());
        Run { subject, model: BTreeMap::new(), options, dir }
    }

    fn take(mut self, step: Step) -> Self {
        match step {
            Step::Insert(key, value) => {
                match &value {
                    Value::Unit => self.subject.insert(&key, &()),
                    Value::Text(text) => self.subject.insert(&key, text),
                    Value::Number(number) => self.subject.insert(&key, number),
                    Value::Bytes(bytes) => self.subject.insert(&key, bytes),
                    Value::Nested(nested) => self.subject.insert(&key, nested),
                }
                self.model.insert(key, value);
            }
            Step::Remove(key) => {
                assert_eq!(self.subject.remove(&key), self.model.remove(&key).is_some());
            }
            Step::Merge => {
                let left = self.subject.merge();
                assert!(left >= self.model.len() as u64);
            }
            Step::Flush => {
                self.subject.flush();
                assert_eq!(self.subject.typed().store().stats().buffered_bytes, 0);
            }
            Step::Sync => {
                self.subject.sync();
                assert_eq!(self.subject.typed().store().stats().unsynced_bytes, 0);
            }
            Step::Reopen => {
                self.subject.close();
                self.subject = S::open(self.dir.path(), self.options.clone());
            }
        }
        self.check();
        self
    }

    fn check(&self) {
        let mut keys = self.subject.keys();
        keys.sort();
        assert!(keys.iter().eq(self.model.keys()), "{keys:?}");
        for (key, value) in &self.model {
            assert!(self.subject.contains_key(key));
            match value {
                Value::Unit => self.check_value(key, &()),
                Value::Text(text) => self.check_value(key, text),
                Value::Number(number) => self.check_value(key, number),
                Value::Bytes(bytes) => self.check_value(key, bytes),
                Value::Nested(nested) => self.check_value(key, nested),
            }
        }
        let absent = Key::Text("absent".into());
        assert_eq!(self.subject.get::<Nested>(&absent), None);
        assert!(!self.subject.contains_key(&absent));
        self.check_iter(|value| matches!(value, Value::Unit).then_some(&()));
        self.check_iter(|value| if let Value::Text(text) = value { Some(text) } else { None });
        self.check_iter(|value| if let Value::Nested(it) = value { Some(it) } else { None });
    }

    fn check_value<V>(&self, key: &Key, value: &V)
    where
        V: DeserializeOwned + PartialEq + Debug + Send + 'static,
    {
        assert_eq!(self.subject.get::<V>(key).as_ref(), Some(value));
        assert_eq!(self.subject.typed().reader().get::<V>(key).unwrap().as_ref(), Some(value));
    }

    /// Of each key there is an item, and that of one whose value is a `V` is that value.
    fn check_iter<V: DeserializeOwned + PartialEq + Debug>(&self, of: fn(&Value) -> Option<&V>) {
        let items: Vec<_> = self.subject.typed().iter::<V>().collect();
        assert_eq!(items.len(), self.model.len());
        let found: BTreeMap<Key, V> = items.into_iter().flatten().collect();
        for (key, value) in self.model.iter().filter_map(|(key, value)| Some((key, of(value)?))) {
            assert_eq!(found.get(key), Some(value));
        }
    }
}

fn run<S: Subject>(steps: &[Step]) {
    let run = steps.iter().cloned().fold(Run::<S>::new(), Run::take);
    run.take(Step::Reopen);
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_store_of_types_behaves_as_a_map(steps in prop::collection::vec(step(), 1..40)) {
        run::<Typed<Key, Postcard>>(&steps);
        run::<Typed<Key, Json>>(&steps);
        #[cfg(feature = "tokio")]
        run::<Awaited>(&steps);
    }
}

fn open<K, C>() -> (tempfile::TempDir, Typed<K, C>) {
    let dir = tempfile::tempdir().unwrap();
    let typed = Typed::new(support::open(dir.path()).unwrap());
    (dir, typed)
}

fn bytes<C: Codec>(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    let mut bytes = Vec::new();
    C::encode(value, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_has_no_bytes_is_a_value() {
    for empty_values in [EmptyValues::Delete, EmptyValues::Stored] {
        let dir = tempfile::tempdir().unwrap();
        let options = support::options().empty_values(empty_values);
        let typed = Typed::<()>::new(options.open(dir.path()).unwrap());
        assert_eq!(bytes::<Postcard>(&()), b"");
        assert_eq!(typed.get::<()>(&()).unwrap(), None);
        typed.insert(&(), &()).unwrap();
        typed.insert(&(), &()).unwrap();
        typed.merge().unwrap();
        typed.close().unwrap();
        let typed = Typed::<()>::new(options.open(dir.path()).unwrap());
        assert_eq!(typed.get::<()>(&()).unwrap(), Some(()));
        assert_eq!(typed.iter::<()>().collect::<Result<Vec<_>, _>>().unwrap(), [((), ())]);
        assert!(typed.remove(&()).unwrap() && !typed.contains_key(&()).unwrap());
    }
}

#[test]
fn what_is_borrowed_lies_in_the_file() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Person<'a> {
        name: &'a str,
        picture: &'a [u8],
    }
    let dir = tempfile::tempdir().unwrap();
    // Of a copy each get would make another.
    let options = Options::new().read_mode(ReadMode::Mapped);
    let typed = Typed::<u64>::new(options.open(dir.path()).unwrap());
    let person = Person { name: "Ada", picture: &[1, 2, 3] };
    typed.insert(&300, &person).unwrap();
    let file = typed.store().get(bytes::<Postcard>(&300u64)).unwrap().unwrap();
    let encoded = typed.get_ref(&300).unwrap().unwrap();
    let reader = typed.reader();
    for found in [encoded.get::<Person>().unwrap(), reader.get(&300).unwrap().unwrap()] {
        assert_eq!(found, person);
        assert!(file.as_ptr_range().contains(&found.name.as_ptr()));
        assert!(file.as_ptr_range().contains(&found.picture.as_ptr()));
    }
    typed.remove(&300).unwrap();
    typed.merge().unwrap();
    typed.close().unwrap();
    assert_eq!(encoded.get::<Person>().unwrap(), person);
}

/// The errors of all ways to read a `V`.
fn errors<K, V, C>(typed: &Typed<K, C>, key: &K) -> Vec<Error>
where
    K: KeyOf<K> + Serialize + DeserializeOwned + Debug,
    V: DeserializeOwned + Debug,
    C: Codec,
{
    let item = typed.iter::<V>().find_map(Result::err);
    vec![
        typed.get::<V>(key).unwrap_err(),
        typed.get_ref(key).unwrap().unwrap().get::<V>().unwrap_err(),
        typed.reader().get::<V>(key).unwrap_err(),
        item.unwrap(),
    ]
}

fn check_wrong_type<C: Codec>() {
    let (_dir, typed) = open::<Key, C>();
    let key = Key::Text("who".into());
    typed.insert(&key, &("a pair", 7)).unwrap();
    for error in errors::<_, Nested, C>(&typed, &key) {
        let Error::Decode { part: Part::Value, key, type_name, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((&key[..], *type_name), ("Text(\"who\")", std::any::type_name::<Nested>()));
        let (message, cause) = (error.to_string(), error.source().unwrap().to_string());
        for part in [&key[..], type_name, &cause] {
            assert!(message.contains(part), "{message}");
        }
    }
    // It can be put in order.
    typed.insert(&key, "text").unwrap();
    assert_eq!(typed.get::<String>(&key).unwrap().unwrap(), "text");
}

#[test]
fn a_value_of_another_type_is_an_error_with_key_type_and_cause() {
    check_wrong_type::<Postcard>();
    check_wrong_type::<Json>();
}

fn check_more_bytes<C: Codec>() {
    let (_dir, typed) = open::<String, C>();
    let mut value = bytes::<C>("text");
    value.extend(bytes::<C>("more"));
    typed.store().put(bytes::<C>("key"), &value).unwrap();
    for error in errors::<_, String, C>(&typed, &"key".into()) {
        assert!(matches!(error, Error::Decode { part: Part::Value, .. }), "{error}");
    }
}

#[test]
fn bytes_behind_a_value_are_an_error() {
    check_more_bytes::<Postcard>();
    check_more_bytes::<Json>();
}

#[test]
fn a_key_that_is_none_is_an_error_and_iteration_goes_on() {
    let (_dir, typed) = open::<u32, Postcard>();
    // None, no whole one, one and more, and a longer form of zero, by which nobody looks for it.
    let foreign: [&[u8]; 4] = [b"", b"\x80", b"\x01x", b"\x80\x00"];
    for key in foreign {
        typed.store().put(key, bytes::<Postcard>("value")).unwrap();
    }
    for key in 0..3 {
        typed.insert(&key, "value").unwrap();
    }
    let check = |items: Vec<Result<u32, Error>>| {
        let (found, failed): (Vec<_>, Vec<_>) = items.into_iter().partition(Result::is_ok);
        let mut found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
        found.sort();
        assert_eq!(found, [0, 1, 2]);
        let mut named: Vec<_> = failed
            .into_iter()
            .map(|error| match error.unwrap_err() {
                Error::Decode { part: Part::Key, key, type_name: "u32", .. } => key,
                other => panic!("{other}"),
            })
            .collect();
        named.sort();
        assert_eq!(named, [r#"b"""#, r#"b"\x01x""#, r#"b"\x80""#, r#"b"\x80\x00""#]);
    };
    check(typed.keys_iter().collect());
    check(typed.iter::<String>().map(|item| item.map(|(key, _)| key)).collect());
    assert!(matches!(typed.keys(), Err(Error::Decode { part: Part::Key, .. })));
    // Without the foreign ones there is nothing wrong.
    for key in foreign {
        typed.store().delete(key).unwrap();
    }
    assert_eq!(typed.keys().unwrap().len(), 3);
}

fn check_stand_ins<C: Codec>() {
    let (_dir, typed) = open::<String, C>();
    typed.insert("key", &1).unwrap();
    assert_eq!(typed.get::<i32>(&"key".to_owned()).unwrap(), Some(1));
    assert_eq!(typed.reader().get::<i32>("key").unwrap(), Some(1));
    assert!(typed.contains_key("key").unwrap() && typed.remove("key").unwrap());

    let (_dir, typed) = open::<Vec<u16>, C>();
    typed.insert(&vec![1, 300], &1).unwrap();
    assert!(typed.get_ref(&[1, 300][..]).unwrap().is_some());
    assert!(typed.get_ref(&[300, 1][..]).unwrap().is_none());
}

#[test]
fn what_stands_for_a_key_finds_it() {
    check_stand_ins::<Postcard>();
    check_stand_ins::<Json>();
}

#[test]
fn what_cannot_be_encoded_changes_nothing() {
    struct Impossible;

    impl Serialize for Impossible {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("there is no such thing"))
        }
    }

    let (_dir, typed) = open::<String, Json>();
    typed.insert("key", "value").unwrap();
    let before = typed.store().stats().bytes;
    let error = typed.insert("key", &Impossible).unwrap_err();
    assert!(matches!(error, Error::Encode { .. }));
    let message = error.to_string();
    assert!(message.contains("Impossible") && message.contains("no such thing"), "{message}");
    assert!(error.source().unwrap().to_string().contains("no such thing"));
    assert_eq!(typed.store().stats().bytes, before);
    assert_eq!(typed.get::<String>("key").unwrap().unwrap(), "value");
}

#[test]
fn a_reader_sees_later_writes_and_lets_go_when_refreshed() {
    let (_dir, typed) = open::<u8, Postcard>();
    let mut reader = typed.reader();
    for n in 0..10u8 {
        typed.insert(&n, &n).unwrap();
        assert_eq!(reader.get::<u8>(&n).unwrap(), Some(n));
        assert!(reader.contains_key(&n).unwrap() && !reader.contains_key(&(n + 1)).unwrap());
    }
    assert!(typed.remove(&0).unwrap());
    assert_eq!(reader.get::<u8>(&0).unwrap(), None);
    typed.merge().unwrap();
    assert!(typed.store().stats().pinned_segments > 0);
    reader.refresh();
    assert_eq!(typed.store().stats().pinned_segments, 0);
    assert_eq!(reader.get::<u8>(&1).unwrap(), Some(1));
}

#[test]
fn handles_share_the_store_whatever_their_types() {
    struct NotEvenClone;
    fn goes_anywhere<T: Send + Sync + Clone + 'static>(_: &T) {}
    let (_dir, typed) = open::<String, Json>();
    goes_anywhere(&typed);
    goes_anywhere(&Typed::<NotEvenClone, NotEvenClone>::new(typed.store().clone()));
    let other = typed.clone();
    typed.insert("key", &1).unwrap();
    assert_eq!(other.get::<i32>("key").unwrap(), Some(1));
    other.close().unwrap();
    assert!(matches!(typed.get::<i32>("key"), Err(Error::Closed)));
    assert!(matches!(typed.keys(), Err(Error::Closed)));
}
