use std::os::unix::fs::PermissionsExt;

use super::process::{ask, post};
use super::*;
use crate::binary_harness::{finish, program};

#[test]
fn a_witness_answers_what_it_does_not_understand_with_the_status_that_says_so() {
    let site = Site::new();
    let witness = site.witness("one");
    let status = |body: &[u8]| post(&witness.address, body).unwrap().status;
    assert_eq!(status(b""), 400);
    assert_eq!(status(b"old 0\n\nx"), 400);
    assert_eq!(status(&[0xFF; 1000]), 400);
    assert_eq!(status(&vec![b'a'; 100_000]), 413);
    let unknown =
        b"old 0\n\na/b\n7\n//////////////////////////////////////////8=\n\n\xE2\x80\x94 a/b AAAAAAA=\n";
    assert_eq!(status(unknown), 404);
    let known = String::from_utf8(unknown.to_vec()).unwrap().replace("a/b", "ledger.example.org/default");
    assert_eq!(status(known.as_bytes()), 403);
    assert_eq!(ask(&witness.address, "GET", "/add-checkpoint", b"").unwrap().status, 405);
    assert_eq!(ask(&witness.address, "POST", "/other", b"").unwrap().status, 404);
}

#[test]
fn a_witness_does_not_begin_where_it_could_contradict_itself() {
    let site = Site::new();
    let witness = site.witness("one");
    let log = site.log_key().to_string();
    let (key, state) = (site.path("one"), site.path("one.state"));
    let words = ["witness", "--key", &key, "--state", &state, "--log", &log, "--listen"];
    let second = say(&[&words[..], &["127.0.0.1:0"]].concat()).ends(1);
    assert!(second.stderr.contains("is in use by another witness"), "{second:?}");
    let everybody = say(&[&words[..], &["0.0.0.0:0"]].concat()).ends(1);
    assert!(everybody.stderr.contains("put a proxy"), "{everybody:?}");
    let idle = witness.kill();
    std::fs::write(Path::new(&state).join("00000000000000000000000000000000.note"), "x").unwrap();
    let changed = finish(&mut idle.command(), "").ends(1);
    assert!(
        changed.stderr.contains("a witness that has forgotten what it signed must not sign"),
        "{changed:?}"
    );
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let open = finish(&mut idle.command(), "").ends(1);
    assert!(open.stderr.contains("chmod 600"), "{open:?}");
    let no_witness = finish(program().args(["witness", "--state", &state, "--log", &log]), "").ends(2);
    assert!(no_witness.stderr.contains("--key"), "{no_witness:?}");
    let wrong = site.path("log");
    let log_key = say(&["witness", "--key", &wrong, "--state", &state, "--log", &log]).ends(1);
    assert!(log_key.stderr.contains("this is no private key"), "{log_key:?}");
}

#[test]
fn a_witness_stops_in_order_when_it_is_asked_to() {
    let site = Site::new();
    let witness = site.witness("one");
    let mut child = witness.child;
    let sent =
        std::process::Command::new("sh").args(["-c", &format!("kill -TERM {}", child.0.id())]).status();
    assert!(sent.unwrap().success());
    let ended = child.0.wait().unwrap();
    assert!(ended.success(), "{ended}");
}

#[test]
fn a_policy_that_makes_no_sense_is_a_wrong_call() {
    let site = Site::new();
    process::generate(Path::new(&site.path("one")), "one");
    let one = format!("{} http://127.0.0.1:1", site.witness_key("one"));
    let (key, data) = (site.path("log"), site.path("data"));
    let serve = ["serve", "--data", &data, "--listen", "127.0.0.1:0", "--key", &key];
    let refused = |words: &[&str]| say(&[&serve[..], words].concat()).ends(2).stderr;
    assert!(refused(&["--witness", &one, "--witness", &one]).contains("given twice"));
    assert!(refused(&["--witness", &one, "--witness-quorum", "2"]).contains("but 1 are given"));
    assert!(refused(&["--witness-quorum", "1"]).contains("but 0 are given"));
    assert!(refused(&["--witness", "x"]).contains("a space and its address"));
    let log = format!("{} http://127.0.0.1:1", site.log_key());
    assert!(refused(&["--witness", &log]).contains("its kind is 4"));
    let shown = say(&["key", "show", &site.path("one"), "-o", "json"]).ends(0).json();
    assert_eq!((&shown["ledger"], &shown["origin"]), (&serde_json::Value::Null, &"one".into()));
}
