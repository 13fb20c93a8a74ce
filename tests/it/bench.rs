use serde_json::Value;

use crate::binary_harness::{Mortal, Served, files_below, program, say};

/// Runs a benchmark that must succeed, and takes what it says as JSON.
#[track_caller]
fn measured(words: &str) -> Value {
    let words: Vec<&str> = words.split(' ').collect();
    say(&[&["bench"], words.as_slice(), &["-o", "json"]].concat()).ends(0).json()
}

#[track_caller]
fn assert_positive(said: &Value, names: &[&str]) {
    for name in names {
        assert!(said[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {said}");
    }
}

#[test]
fn a_directory_that_is_kept_is_gone_on_with_and_no_event_breaks_a_rule() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let append = format!("append --clients 4 --events 2000 --batch 100 --data {}", data.display());
    let first = measured(&append);
    assert_positive(&first, &["events_per_s", "p50_us", "fsyncs", "events_per_cpu_s"]);
    assert_positive(
        &first["server"],
        &["log_bytes_per_event", "disk_bytes_per_event", "rss_bytes", "entries"],
    );
    let second = measured(&append);
    assert_eq!((&first["events"], &second["events"]), (&2_000.into(), &2_000.into()));
    assert!(second["server"]["entries"].as_u64() >= first["server"]["entries"].as_u64().map(|n| n + 2_000));
    let exported = Served::run(dir, &["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    let refused = exported.ask(&["export", "ndjson", "--ledger", "bench"]).ends(0).stdout;
    assert!(!refused.contains("violations\":[{") && !refused.contains("\"late\":true"));
    let judged = say(&["verify", data.to_str().unwrap(), "-o", "json"]).ends(0).json();
    assert_eq!(judged["ok"], true);
}

#[test]
fn an_open_loop_keeps_its_schedule() {
    let said = measured("append --rate 500 --duration 1s");
    assert_eq!(said["events"], 500, "{said}");
    assert_eq!(said["rate"], 500.0);
    assert_positive(&said, &["p50_us", "p99_us"]);
}

#[test]
fn questions_are_measured_against_what_was_filled_in() {
    let dir = tempfile::tempdir().unwrap();
    for question in ["history", "account", "digest"] {
        let words =
            format!("query {question} --events 1000 --duration 200ms --data {}", dir.path().display());
        let said = measured(&words);
        assert_positive(&said, &["answers_per_s", "p50_us", "things_per_answer", "entries"]);
        assert_eq!(said["question"], question);
    }
}

#[test]
fn what_is_read_back_is_all_of_it_from_a_server_that_runs_too() {
    let server = Served::start();
    let said = measured(&format!("tail --events 1000 --server http://{}", server.address));
    let entries = server.json(&["ledgers", "list"])[0]["entries"].as_u64();
    assert!(said["events"].as_u64() == entries && entries >= Some(1_000), "{said}");
    assert_positive(&said, &["events_per_s", "bytes"]);
    assert!(said["server_cpu_s"].is_null(), "{said}");
}

#[test]
fn a_rebuild_and_a_verify_are_measured_on_the_same_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display();
    let rebuilt = measured(&format!("rebuild --events 1000 --data {data}"));
    assert_positive(&rebuilt, &["fold_events_per_s", "store_events_per_s", "entries"]);
    let judged = measured(&format!("verify --events 1000 --rounds 1 --data {data}"));
    assert_positive(&judged, &["plain_events_per_s", "one_thread_events_per_s", "one_thread_of_plain"]);
    assert_eq!(rebuilt["entries"], judged["entries"]);
}

#[test]
fn every_account_of_an_incident_comes_back() {
    let said = measured("restore --accounts 20 --events-per-account 10");
    assert_positive(&said, &["restores_per_s", "incident_ms", "plan_ms", "apply_ms"]);
    assert_eq!(said["accounts"], 20);
}

#[test]
fn a_restart_is_measured_after_a_kill_and_after_an_end_in_order() {
    let said = measured("restart --events 1000 --tail 100 --rounds 1");
    assert_positive(&said, &["after_kill_ms", "after_stop_ms", "log_bytes"]);
    assert!(said["entries"].as_u64() >= Some(1_100), "{said}");
}

#[test]
fn idle_ledgers_are_weighed() {
    let said = measured("ledgers --ledgers 5 --rounds 1");
    assert_positive(&said, &["threads_before", "rss_before_bytes", "restart_ms"]);
    assert_eq!(said["ledgers"], 5);
}

#[test]
fn what_signing_and_proving_cost_is_measured_with_proofs_that_hold() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("not/there/yet/data");
    let words = "proof --events 3000 --rounds 1 --duration 200ms --proofs 50";
    let said = measured(&format!("{words} --data {}", data.display()));
    let names = ["batches_signed_of_unsigned", "unary_signed_of_unsigned", "proof_p50_us", "check_p50_us"];
    assert_positive(&said, &names);
    assert!((9..=12).contains(&said["hashes_max"].as_u64().unwrap()), "{said}");
    assert!(data.with_extension("key").exists(), "the key of a directory that is kept is kept");
    let again = measured(&format!("{words} --data {}", data.display()));
    assert_eq!(again["entries"], said["entries"]);
}

#[test]
fn a_load_is_measured_with_an_audit_beside_it() {
    let said = measured("audit --events 1000 --rounds 1 --duration 300ms --clients 4");
    assert_positive(&said, &["audited_of_alone", "alone_events_per_s", "audited_events_per_s"]);
}

#[test]
fn what_measures_a_directory_takes_no_server_of_somebody_elses() {
    for words in ["rebuild", "verify", "restart", "ledgers", "audit"] {
        let said = say(&["bench", words, "--server", "http://127.0.0.1:1"]).ends(2);
        assert!(said.stdout.is_empty() && said.stderr.contains("--server"), "{said:?}");
    }
    say(&["bench", "tail", "--server", "http://127.0.0.1:1", "--data", "d"]).ends(2);
    say(&["bench", "append", "--rate", "0"]).ends(2);
}

#[test]
fn a_benchmark_that_is_interrupted_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["bench", "append", "--duration", "1m"]).env("TMPDIR", place.path());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut bench = Mortal(command.spawn().unwrap());
    while !files_below(place.path()).iter().any(|file| file.ends_with("lock")) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let order = format!("kill -INT {}", bench.0.id());
    let interrupted = std::process::Command::new("sh").args(["-c", &order]).status();
    assert!(interrupted.unwrap().success());
    assert_eq!(bench.0.wait().unwrap().code(), Some(1));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "no directory");
    let commands = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|process| std::fs::read_to_string(process.ok()?.path().join("cmdline")).ok());
    let place = place.path().to_str().unwrap().to_owned();
    assert!(!commands.into_iter().any(|words| words.contains(&place)), "no process");
}
