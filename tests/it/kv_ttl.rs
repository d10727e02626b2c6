//! Keys that expire, put and moved by `kv`. What is there stays for days, what is not is gone at once: no test waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;
use tempfile::tempdir;
use zerocask::Expiry;

use crate::kv::{assert_absent, failed, kv, ok, ok_text, quiet, with_stdin};
use crate::support::open;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Seven days, but for the time that a slow machine takes.
fn assert_a_week(left: Duration) {
    assert!(left <= 7 * DAY && left > 6 * DAY, "{left:?}");
}

fn json(text: &[u8]) -> Json {
    serde_json::from_slice(text).unwrap()
}

#[test]
fn a_ttl_is_put_told_moved_and_taken_away() {
    let dir = tempdir().unwrap();
    ok(dir.path(), &["put", "plain", "stays"]);
    ok(dir.path(), &["put", "--ttl", "7d", "key", "value"]);
    assert_eq!(ok(dir.path(), &["get", "key"]), b"value");
    assert_eq!(ok(dir.path(), &["ttl", "plain"]), b"never\n");
    assert_absent(&kv(dir.path(), &["ttl", "absent"]));
    // What it says can be said to it.
    let told = ok_text(dir.path(), &["ttl", "key", "--read-only"]);
    assert_a_week(humantime(dir.path(), told.trim_end()));

    let answer = json(&ok(dir.path(), &["--json", "ttl", "key"]));
    assert_a_week(Duration::from_millis(answer["ttl_ms"].as_u64().unwrap()));
    let at = UNIX_EPOCH + Duration::from_micros(answer["expires_at_us"].as_u64().unwrap());
    assert_a_week(at.duration_since(SystemTime::now()).unwrap());
    assert_eq!(answer["found"], true);
    let answer = ok_text(dir.path(), &["--json", "ttl", "plain"]);
    assert_eq!(answer, "{\"found\":true,\"ttl_ms\":null,\"expires_at_us\":null}\n");
    let answer = kv(dir.path(), &["--json", "ttl", "absent"]);
    let expected = b"{\"found\":false,\"ttl_ms\":null,\"expires_at_us\":null}\n";
    assert_eq!((answer.status.code(), &*answer.stdout), (Some(1), &expected[..]));

    assert_eq!(ok(dir.path(), &["persist", "key"]), b"");
    assert_eq!(ok(dir.path(), &["ttl", "key"]), b"never\n");
    assert_eq!(ok(dir.path(), &["--json", "touch", "key", "7d"]), b"{\"touched\":true}\n");
    assert_ne!(ok(dir.path(), &["ttl", "key"]), b"never\n");
    assert_eq!(ok(dir.path(), &["touch", "key", "0s"]), b"");
    for args in [&["get", "key"][..], &["ttl", "key"], &["persist", "key"], &["touch", "key", "1h"]]
    {
        assert_absent(&kv(dir.path(), args));
    }
    assert_eq!(kv(dir.path(), &["--json", "persist", "key"]).stdout, b"{\"persisted\":false}\n");

    ok(dir.path(), &["put", "key", "at once", "--ttl", "0s"]);
    assert_absent(&kv(dir.path(), &["get", "key"]));
    // A put without a time takes the time away.
    ok(dir.path(), &["put", "--ttl", "1h 30m", "key", "value"]);
    ok(dir.path(), &["put", "key", "value"]);
    assert_eq!(ok(dir.path(), &["ttl", "key"]), b"never\n");
}

/// A duration that `kv` has written, read by `kv`.
fn humantime(dir: &std::path::Path, text: &str) -> Duration {
    ok(dir, &["put", "--ttl", text, "read", "value"]);
    let Some(Expiry::At(at)) = open(dir).unwrap().expires_at("read").unwrap() else {
        panic!("{text}")
    };
    at.duration_since(SystemTime::now()).unwrap()
}

#[test]
fn a_duration_that_is_none_is_a_usage_error() {
    let dir = tempdir().unwrap();
    for ttl in ["90", "soon", "-5s", "", "1x", "99999999999999999999d"] {
        let line = failed(&kv(dir.path(), &["put", "key", "value", &format!("--ttl={ttl}")]));
        assert!(line.contains("--ttl <DURATION>") && line.contains("see kv --help"), "{line}");
    }
    assert!(failed(&kv(dir.path(), &["touch", "key", "90"])).contains("DURATION"));
    assert!(!dir.path().join("MANIFEST").exists());
}

#[test]
fn json_lines_keep_when_a_key_expires_and_no_other_format_does() {
    let (from, to, plain) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    ok(from.path(), &["put", "a", "goes", "--ttl", "7d"]);
    ok(from.path(), &["put", "b", "stays"]);
    ok(from.path(), &["put", "c", "is gone", "--ttl", "0s"]);
    let Some(Expiry::At(at)) = open(from.path()).unwrap().expires_at("a").unwrap() else {
        panic!("it expires")
    };
    let micros = at.duration_since(UNIX_EPOCH).unwrap().as_micros();
    let lines = ok(from.path(), &["export", "-"]);
    let expected = format!(
        "{{\"key\":\"a\",\"value\":\"goes\",\"expires_at_us\":{micros}}}\n{{\"key\":\"b\",\"value\":\"stays\"}}\n"
    );
    assert_eq!(String::from_utf8(lines.clone()).unwrap(), expected);

    // What came before it is replaced, also by one that has expired since, and what comes after it counts.
    let before = b"{\"key\":\"a\",\"value\":\"old\"}\n{\"key\":\"d\",\"value\":\"old\"}\n";
    let after = b"{\"key\":\"d\",\"value\":\"new\",\"expires_at_us\":1}\n{\"key\":\"e\",\"value\":\"old\",\"expires_at_us\":1}\n{\"key\":\"e\",\"value\":\"new\"}\n";
    let input = [before, &lines[..], after].concat();
    assert_eq!(quiet(with_stdin(to.path(), &["import", "-"], &input)), b"records 7\nbytes 31\n");
    assert_eq!(ok(to.path(), &["scan", "--values"]), b"a\tgoes\nb\tstays\ne\tnew\n");
    let store = open(to.path()).unwrap();
    let Some(Expiry::At(again)) = store.expires_at("a").unwrap() else { panic!("it expires") };
    // By how much later the put was than the look at the clock.
    assert!(again >= at && again < at + DAY, "{at:?} {again:?}");
    for key in ["b", "e"] {
        assert_eq!(store.expires_at(key).unwrap(), Some(Expiry::Never), "{key}");
    }

    let lines = ok(from.path(), &["export", "-", "--format", "tsv"]);
    assert_eq!(lines, b"a\tgoes\nb\tstays\n");
    quiet(with_stdin(plain.path(), &["import", "-", "--format", "tsv"], &lines));
    assert_eq!(ok(plain.path(), &["ttl", "a"]), b"never\n");
}
