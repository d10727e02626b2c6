//! `kv watch` beside a process that writes, and `kv log` when that has gone. What is waited for is a line, never a time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::tempdir;
use zerocask::{Batch, Position};

use crate::kv::{command, failed, kv, ok, ok_text};
use crate::support::open;

/// Then something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// A `kv` that goes on, and what it says.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

fn watch(dir: &Path, args: &[&str]) -> Watching {
    let args = [&["watch", "--interval", "1ms"], args].concat();
    let mut child = command(dir, &args).stdout(Stdio::piped()).spawn().unwrap();
    let (said, lines) = channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
    Watching { child, lines }
}

impl Watching {
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("kv says something more")
    }

    /// It ends by itself, without another line.
    fn ends(&mut self) {
        assert_eq!(self.lines.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watch_tells_of_each_change_while_the_owner_writes() {
    let dir = tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.write(Batch::new().put("user/2", "b").put("user/1", "a").put("page/1", "x")).unwrap();
    let args = ["--existing", "--prefix", "user/", "--values", "--limit", "9"];
    let mut watching = watch(dir.path(), &args);
    assert_eq!([watching.line(), watching.line()], ["put\tuser/1\ta", "put\tuser/2\tb"]);
    store.put("user/1", "c").unwrap();
    assert_eq!(watching.line(), "put\tuser/1\tc");
    store.delete("user/2").unwrap();
    assert_eq!(watching.line(), "delete\tuser/2");
    // Neither another prefix, nor the same value again, nor a compaction.
    store.put("page/1", "y").unwrap();
    store.put("user/1", "c").unwrap();
    store.compact().unwrap();
    store.write(Batch::new().delete("user/1").put("user/4", "d").put("user/3", "")).unwrap();
    assert_eq!([watching.line(), watching.line()], ["put\tuser/4\td", "delete\tuser/1"]);
    // Its time is part of it.
    assert!(store.touch("user/4", Duration::from_secs(3600)).unwrap());
    assert_eq!(watching.line(), "put\tuser/4\td");
    store.clear().unwrap();
    assert_eq!(watching.line(), "delete\tuser/4");
    store.put("user/5", "e").unwrap();
    assert_eq!(watching.line(), "put\tuser/5\te");
    watching.ends();
}

#[test]
fn watch_begins_with_what_changes() {
    let dir = tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put("old", "value").unwrap();
    let mut watching = watch(dir.path(), &["--limit", "1", "--hex"]);
    // Nobody knows from when on it tells.
    let begun = Instant::now();
    let line = (0_u64..).find_map(|n| {
        assert!(begun.elapsed() < PATIENCE);
        store.put("tick", n.to_be_bytes()).unwrap();
        watching.lines.try_recv().ok()
    });
    assert_eq!(line.unwrap(), "put\t7469636b");
    watching.ends();
    assert_eq!(ok(dir.path(), &["watch", "--existing", "--limit", "0"]), b"");
}

#[test]
fn watch_tells_that_a_key_expires_though_nobody_writes() {
    let dir = tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let watching = watch(dir.path(), &["--existing"]);
    // On a machine so slow that the key has expired before it was seen, it has to live longer.
    for ttl in (8..).map(|n| Duration::from_millis(1 << n)) {
        let mut batch = Batch::new();
        store
            .write(batch.put_with_ttl("key", "value", ttl).put("seen", ttl.as_millis().to_string()))
            .unwrap();
        let line = watching.line();
        if line == "put\tkey" {
            assert_eq!(watching.line(), "put\tseen");
            assert_eq!(watching.line(), "delete\tkey");
            break;
        }
        assert_eq!(line, "put\tseen");
    }
}

#[test]
fn watch_in_json_has_values_and_times() {
    let dir = tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put_with_ttl("a", [0xff], Duration::from_secs(3600)).unwrap();
    store.put(b"\xff", "b").unwrap();
    let args = ["--existing", "--values", "--json", "--limit", "3"];
    let mut watching = watch(dir.path(), &args);
    let line: Json = serde_json::from_str(&watching.line()).unwrap();
    assert_eq!(
        (&line["kind"], &line["key"], &line["value_base64"]),
        (&"put".into(), &"a".into(), &"/w==".into())
    );
    assert!(line["expires_at_us"].is_u64());
    assert_eq!(watching.line(), r#"{"kind":"put","key_base64":"/w==","value":"b"}"#);
    store.delete("a").unwrap();
    assert_eq!(watching.line(), r#"{"kind":"delete","key":"a"}"#);
    watching.ends();
}

/// The position of the last line, and the lines without theirs.
fn log(dir: &Path, args: &[&str]) -> (String, Vec<String>) {
    let text = ok_text(dir, &[&["log"], args].concat());
    let mut next = String::new();
    let lines = text.lines().map(|line| {
        let (position, line) = line.split_once('\t').unwrap();
        next = position.into();
        line.to_owned()
    });
    let lines = lines.collect();
    (next, lines)
}

#[test]
fn log_goes_on_from_where_it_was_and_says_so_where_it_cannot() {
    let dir = tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.put("a", "1").unwrap();
    store.write(Batch::new().put("b", "2\n").delete("a")).unwrap();
    assert!(failed(&kv(dir.path(), &["log"])).contains("is held by another"));
    store.close().unwrap();
    let (end, lines) = log(dir.path(), &["--values", "--escape"]);
    assert_eq!(lines, ["put\ta\t1", "put\tb\t2\\n", "delete\ta"]);
    assert_eq!(end.len(), 2 * Position::LEN);
    assert_eq!(ok_text(dir.path(), &["log", "--end"]), format!("{end}\n"));
    assert_eq!(
        ok_text(dir.path(), &["log", "--end", "--json"]),
        format!("{{\"end\":\"{end}\"}}\n")
    );
    assert_eq!(log(dir.path(), &["--from", &end]).1, [""; 0]);

    // Within a batch there is nowhere to go on from.
    let (before, lines) = log(dir.path(), &["--limit", "1"]);
    assert_eq!(lines, ["put\ta"]);
    let batch = (end.clone(), vec!["put\tb".to_owned(), "delete\ta".to_owned()]);
    assert_eq!(log(dir.path(), &["--from", &before, "--limit", "1"]), batch);

    let store = open(dir.path()).unwrap();
    store.put_with_ttl("c", "3", Duration::from_secs(3600)).unwrap();
    store.close().unwrap();
    let text = ok_text(dir.path(), &["log", "--json", "--values", "--from", &end]);
    let last: Json = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["kind"], &last["key"], &last["value"]),
        (&"put".into(), &"c".into(), &"3".into())
    );
    assert!(last["expires_at_us"].is_u64() && last["next"].is_string());

    let line = failed(&kv(dir.path(), &["log", "--from", &before]));
    assert!(line.contains("cannot be followed") && line.contains("kv log --end"), "{line}");
    for position in ["", "00", "zz", &end[1..], &format!("{end}00")] {
        let line = failed(&kv(dir.path(), &["log", "--from", position]));
        assert!(line.contains("'--from <POSITION>'") && line.contains("40 hex digits"), "{line}");
    }
    assert!(failed(&kv(dir.path(), &["log", "--end", "--from", &end])).contains("--end"));
}
