//! `kv bench`, `kv completions` and `kv man`.

use std::fs;

use serde_json::Value as Json;
use tempfile::tempdir;

use crate::kv::{command, failed, kv, ok, ok_text, quiet};

#[test]
fn bench_leaves_nothing_and_no_other_store_changes() {
    let dir = tempdir().unwrap();
    let args = ["bench", "--records", "100", "--value-bytes", "3", "--seconds", "0"];
    let text = ok_text(dir.path(), &args);
    let names: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["100", "put", "get", "reader_get"], "{text}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    let json = ok(dir.path(), &[&args[..], &["--json"]].concat());
    let json: Json = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["records"], &json["value_bytes"]), (&100.into(), &3.into()));
    for phase in ["put", "get", "reader_get"] {
        assert!(json[phase]["ops_per_s"].is_number() && json[phase]["ns"].is_number(), "{json}");
    }
    assert_eq!(json["put"]["ops"], 100);

    // Where temporary files are, unless said.
    let mut elsewhere = std::process::Command::new(crate::kv::KV);
    elsewhere.args(args).env("TMPDIR", dir.path().join("missing"));
    assert!(failed(&elsewhere.output().unwrap()).contains("/missing"));
    for args in [["bench", "--records", "0"], ["bench", "--value-bytes", "0"]] {
        assert!(failed(&kv(dir.path(), &args)).contains("'0'"));
    }
    assert!(failed(&kv(dir.path(), &["bench", "--seconds=-1"])).contains("--seconds"));
}

#[test]
fn completions_and_pages_know_the_commands() {
    let dir = tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ok_text(dir.path(), &["completions", shell]);
        assert!(script.contains("import") && script.contains("read-only"), "{shell}");
    }
    let page = ok_text(dir.path(), &["man"]);
    assert!(page.contains(".TH kv 1") && page.contains("kv\\-import(1)"), "{page}");
    let page = ok_text(dir.path(), &["man", "import"]);
    assert!(page.contains(".TH kv-import 1") && page.contains("key_base64"), "{page}");
    assert!(failed(&kv(dir.path(), &["man", "frobnicate"])).contains("no command frobnicate"));

    let json: Json = serde_json::from_slice(&ok(dir.path(), &["--json", "man"])).unwrap();
    assert!(json["text"].as_str().unwrap().starts_with(".ie"));
    let help = quiet(command(dir.path(), &["import", "--help"]).output().unwrap());
    let help = String::from_utf8(help).unwrap();
    for word in ["key_base64", "\\xHH", "%2E%2E", "jsonl", "tsv", "tree"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
