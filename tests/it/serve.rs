use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::binary_harness::{Served, data_of, say};
use crate::harness::{created, event};

#[test]
fn an_address_that_other_machines_reach_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_of(&dir);
    let said = say(&["serve", "--data", data.to_str().unwrap(), "--listen", "0.0.0.0:0"]).ends(1);
    assert_eq!(said.stdout, "");
    assert!(said.stderr.contains("no TLS") && said.stderr.contains("127.0.0.1"), "{said:?}");
    assert!(!data.exists(), "a server that may not start makes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let first = Served::start();
    first.clients().await.record(event("bot-1", created("bot-1"))).await;
    let second = say(&["serve", "--data", first.data().to_str().unwrap(), "--listen", "127.0.0.1:0"]).ends(1);
    assert_eq!(second.stdout, "", "it never says that it is ready");
    assert!(second.stderr.contains(first.data().to_str().unwrap()), "it names the directory: {second:?}");
    first.clients().await.record(event("bot-2", created("bot-2"))).await;
    first.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let first = Served::start();
    let dir = tempfile::tempdir().unwrap();
    let data = data_of(&dir);
    let said = say(&["serve", "--data", data.to_str().unwrap(), "--listen", &first.address]).ends(1);
    assert!(said.stderr.contains(&first.address), "{said:?}");
    first.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_asked_to_stop_keeps_what_it_took_and_a_new_one_finds_it() {
    let first = Served::start();
    let sent = event("bot-1", created("bot-1"));
    let receipt = first.clients().await.record(sent.clone()).await.receipt;
    let second = Served::on(first.stop());
    let again = second.clients().await.record(sent).await;
    assert_eq!((again.already_present, again.receipt), (true, receipt));
    second.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_does_not_hold_a_stop_beyond_its_deadline() {
    let mut server = Served::start();
    server.clients().await.record(event("bot-1", created("bot-1"))).await;
    // One that never says a word, and one that is idle after a call.
    let mut silent = TcpStream::connect(&server.address).unwrap();
    let idle = server.clients().await;
    idle.account("bot-1", None).await.unwrap();
    let (ended, took) = server.terminate();
    assert!(ended.success(), "{ended}: {}", server.log());
    assert!(took < Duration::from_secs(15), "the drain has a deadline of 10 s, this took {took:?}");
    // What the server said on it, and its end: the process is gone, so this does not wait.
    let _ = silent.read_to_end(&mut Vec::new());
    crate::harness::check_ledger(&server.data(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_join_the_ready_line_where_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_of(&dir);
    let words =
        ["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let server = Served::run(dir, &words);
    let said = server.json(&["health"]);
    let serving = |service| json!({"service": service, "serving": true});
    assert_eq!(said, json!([serving("server"), serving("append"), serving("query")]));
    let metrics = server.ready["metrics"].as_str().unwrap().to_owned();
    server.clients().await.record(event("bot-1", created("bot-1"))).await;
    let text = http_get(&metrics, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("# EOF"), "{text}");
    server.check().await;
}

pub fn http_get(address: &str, path: &str) -> String {
    use std::io::Write;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn health_of_a_server_that_is_not_there_fails_in_time() {
    let said = say(&["health", "--server", "http://127.0.0.1:1", "--timeout", "2s"]).ends(1);
    assert_eq!(said.stdout, "");
    assert!(said.stderr.contains("127.0.0.1:1"), "{said:?}");
}

#[test]
fn a_server_that_is_asked_to_stop_as_soon_as_it_is_ready_stops_in_order() {
    for _ in 0..10 {
        Served::start().stop();
    }
}
