//! Sessions with `kv`, as they stand in a terminal.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use tempfile::tempdir;

use crate::kv::{KV, failed, kv, ok, put_stdin, quiet, stderr, with_stdin};

/// Runs what stands behind each `$ ` in a shell, and compares what comes with what stands below it.
fn session(transcript: &str) {
    let dir = tempdir().unwrap();
    let bin = Path::new(KV).parent().unwrap();
    let path = std::env::join_paths(
        [bin.to_path_buf()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let path = path.unwrap();
    let mut said = String::new();
    for command in transcript.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let script = format!("exec 2>&1; {command}");
        let output =
            Command::new("sh").args(["-c", &script]).env("PATH", &path).current_dir(&dir).output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        said.push_str(&format!("$ {command}\n{output}"));
        if !said.ends_with('\n') {
            said.push('\n');
        }
    }
    assert_eq!(said, transcript.trim_start());
}

#[test]
fn keys_in_order() {
    session(
        r#"
$ for key in user/2 user/10 user/1 group/1 user; do kv put $key "value of $key"; done
$ kv scan
group/1
user
user/1
user/10
user/2
$ kv scan --prefix user/ --values
user/1	value of user/1
user/10	value of user/10
user/2	value of user/2
$ kv scan --start user --end user/2
user
user/1
user/10
$ kv scan --start user/1 --limit 2
user/1
user/10
$ kv scan --prefix user --end user/1 --limit 9
user
$ kv scan --prefix nobody
$ kv scan --limit 0
$ kv count
5
$ kv count --prefix user/
3
$ kv count --start user/1 --end user/2
2
$ kv count --read-only --prefix user/ --json
{"count":3}
$ kv scan --prefix user/1 --json
{"key":"user/1"}
{"key":"user/10"}
$ kv list | head -1
group/1
$ kv scan --limit none
kv: invalid value 'none' for '--limit <N>': invalid digit found in string; see kv --help
"#,
    );
}

#[test]
fn the_forms_of_keys_and_values() {
    session(
        r#"
$ kv put --hex 00ff 0a0D
$ kv put --base64 YQ== AP8=
$ kv put --escape 'a\tb' '\xff\\\n'
$ printf 'c\\nd\n' | kv put --escape ä -
$ kv list --escape
\x00\xFF
a
a\tb
ä
$ kv list --hex
00ff
61
610962
c3a4
$ kv scan --values --escape
\x00\xFF	\n\r
a	\x00\xFF
a\tb	\xFF\\\n
ä	c\nd
$ kv scan --values --base64 --prefix YQ==
YQ==	AP8=
YQli	/1wK
$ kv get --hex 61
00ff
$ kv get --escape 'a\x09b'
\xFF\\\n
$ kv get ä
c
d
$ kv delete --hex 00FF; echo $?
0
$ kv get --hex 00ff; echo $?
1
$ kv scan --json --values
{"key":"a","value_base64":"AP8="}
{"key":"a\tb","value_base64":"/1wK"}
{"key":"ä","value":"c\nd"}
$ kv get --hex 0g
kv: the key is not in the form of --hex: invalid symbol at byte 1; see kv --help
$ kv put --base64 YQ== YQ
kv: the value is not in the form of --base64: invalid length at byte 0; see kv --help
$ kv scan --escape --prefix 'a\q'
kv: the prefix is not in the form of --escape: a backslash that begins none of \t \n \r \\ and \xHH at byte 1; see kv --help
$ kv --hex get --base64 61
kv: --escape, --hex and --base64 exclude each other; see kv --help
"#,
    );
}

#[test]
fn answers_in_json() {
    session(
        r#"
$ kv --json put key value
{"stored":true}
$ kv --json get key
{"key":"key","value":"value"}
$ kv --json get --hex ff; echo $?
{"key_base64":"/w==","value":null}
1
$ kv --json put key ''
{"stored":false}
$ kv --json delete key; echo $?
{"deleted":false}
1
$ kv --json put key newer
{"stored":true}
$ kv --json compact | tr -d 0-9
{"records_before":,"records_after":,"bytes_before":,"bytes_after":,"segments_removed":,"segments_kept":[]}
$ kv --json verify
{"segments":1,"records":1,"bytes":28,"unapplied_batch_records":0,"damage":[],"torn":[],"leftover":[],"set_aside":[],"foreign":[]}
$ kv --json repair
{"faults":0,"salvaged_records":0,"manifest_rebuilt":false,"unapplied_batch_records":0,"damage":[],"stale":[],"lost":[],"gone":[],"set_aside":[],"cut":[],"removed":[]}
$ kv --json delete key
{"deleted":true}
$ kv --json list; kv --json count
{"count":0}
$ kv --json --dir none get key; echo $?
{"error":"none holds no store: expected a MANIFEST or data files; allow Options::create to make one","causes":[]}
2
$ kv frobnicate --json; echo $?
{"error":"unrecognized subcommand 'frobnicate'; see kv --help","causes":[]}
2
$ kv frobnicate -- --json
kv: unrecognized subcommand 'frobnicate'; see kv --help
"#,
    );
}

#[test]
fn there_and_back() {
    session(
        r#"
$ kv put --escape 'tab\t' ''; kv put a 1; kv put a/b 2; kv put ..  3; kv put --hex ff 00
$ kv export -
{"key":"..","value":"3"}
{"key":"a","value":"1"}
{"key":"a/b","value":"2"}
{"key_base64":"/w==","value":"\u0000"}
$ kv export - --format tsv
..	3
a	1
a/b	2
\xFF	\x00
$ kv delete --hex ff
$ kv export tree/
records 3
bytes 9
$ find tree -type f | sort
tree/%2E%2E
tree/a%
tree/a/b
$ kv --dir other import tree
records 3
bytes 9
$ kv --dir other export all.tsv
records 3
bytes 9
$ kv export - --format tsv | diff - all.tsv
$ printf 'k\n' | kv import - --format tsv
kv: stdin: line 1, byte 1: a line without a tab between key and value; the 0 records before it are stored
"#,
    );
}

#[test]
fn a_value_from_stdin_is_a_line_in_any_form_but_the_raw_one() {
    let dir = tempdir().unwrap();
    // What is a key in every form.
    let (key, other) = ("ab12", "cd34");
    for (form, text) in [("--hex", "ff0a\n"), ("--base64", "/wo=\n"), ("--escape", "\\xFF\n\n")] {
        quiet(with_stdin(dir.path(), &["put", form, key, "-"], text.as_bytes()));
        let got = ok(dir.path(), &["get", form, key]);
        quiet(with_stdin(dir.path(), &["put", form, other, "-"], &got));
        for key in [key, other] {
            assert_eq!(ok(dir.path(), &["get", "--hex", &hex_of(form, key)]), b"ff0a\n", "{form}");
        }
    }
    put_stdin(dir.path(), "raw", b"ff\n");
    assert_eq!(ok(dir.path(), &["get", "raw"]), b"ff\n");
}

/// The hex spelling of a key in another form.
fn hex_of(form: &str, key: &str) -> String {
    match (form, key) {
        ("--hex", key) => key.into(),
        ("--base64", "ab12") => "69bd76".into(),
        ("--base64", "cd34") => "71ddf8".into(),
        (_, key) => key.bytes().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[test]
fn warnings_are_json_too() {
    let dir = tempdir().unwrap();
    crate::kv::copy_of_plain(dir.path());
    let output = kv(dir.path(), &["--json", "get", "apple"]);
    assert_eq!(output.stdout, b"{\"key\":\"apple\",\"value\":\"golden\"}\n");
    let warning: Json = serde_json::from_str(&stderr(&output)).unwrap();
    assert_eq!(warning["level"], "WARN");
    let message = warning["message"].as_str().unwrap();
    assert!(message.starts_with("the log ends in a torn record"), "{message}");
    assert!(failed(&kv(dir.path(), &["get", "--hex", "q"])).contains("--hex"));
}
