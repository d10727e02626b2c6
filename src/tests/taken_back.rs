//! Read-only stores that have seen what was taken back afterwards: by a failed write, by a segment that could
//! not be begun, by a repair.

use std::sync::Arc;

use super::hazards::segment;
use super::read_only::Reading;
use super::support::{Machine, contents, value};
use crate::fs::sim::Op;
use crate::options::{Durability, ReadMode};
use crate::store::Store;

/// The disk fills up while a writer flushes these writes and another record; a read-only store looks before
/// what fitted is cut off again; then the writer dies, and another one recovers. Answers that and the reader.
fn recovered_after(mode: ReadMode, write: fn(&Store)) -> (Store, Reading) {
    let mut machine = Machine::new(4096);
    machine.options = machine.options.read_mode(mode).durability(Durability::Buffered);
    segment(&machine, |store| {
        store.put("key", "old").unwrap();
        store.put("fill", "#".repeat(3000)).unwrap();
    });
    let writer = machine.open().unwrap();
    let reading = Arc::new(Reading::open(&machine).unwrap());
    write(&writer);
    writer.put("other", "#".repeat(500)).unwrap();
    machine.fs.set_capacity(Some(machine.fs.total_len() + 200));
    let meanwhile = Arc::clone(&reading);
    machine.fs.before(Op::SetLen, "00000002.data", move || _ = meanwhile.refresh());
    assert!(writer.flush().is_err());
    assert_ne!(value(&reading.store, "key").as_deref(), Some("old"), "it has seen a part");
    let machine = machine.end_process();
    machine.fs.set_capacity(None);
    let writer = machine.open().unwrap();
    assert_eq!(value(&writer, "key").as_deref(), Some("old"));
    writer.put("next", "value").unwrap();
    writer.flush().unwrap();
    (writer, Arc::into_inner(reading).unwrap())
}

#[test]
fn a_failed_write_that_a_recovery_did_not_find_is_taken_back() {
    for mode in [ReadMode::Mapped, ReadMode::Copy] {
        let writes: [fn(&Store); 2] = [
            |store| store.put("key", "withdrawn").unwrap(),
            |store| assert!(store.delete("key").unwrap()),
        ];
        for write in writes {
            let (writer, reading) = recovered_after(mode, write);
            assert_eq!(reading.refreshed(), contents(&writer));
            assert!(!reading.refresh());
        }
    }
}
