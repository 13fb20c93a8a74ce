use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::checkpoint::VerifierKey;
use ledger::checkpoint::cosignature::CosignerKey;
use tempfile::TempDir;
use tokenledger::wire::pb;
use tonic::Code;

use crate::binary_harness::{Served, data_of, say};
use crate::harness::{Clients, created, event};

use process::{Witness, get};

/// The program as a witness, and the HTTP that it is asked by.
mod process;

/// A witness that is killed at any moment never signs two histories, and one that is built wrong is caught doing it.
mod kills;

/// A witness that is asked over https, behind a proxy with a certificate.
mod tls;

/// What a witness refuses, over HTTP and on the command line.
mod refusals;

/// A file of keys, the witnesses and the server that they are for.
struct Site {
    keys: TempDir,
}

impl Site {
    fn new() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let site = Self { keys };
        say(&["key", "generate", "--origin", "ledger.example.org", "--out", &site.path("log")]).ends(0);
        site
    }

    fn path(&self, name: &str) -> String {
        self.keys.path().join(name).to_str().unwrap().to_owned()
    }

    fn log_key(&self) -> VerifierKey {
        self.log_key_of("default")
    }

    fn log_key_of(&self, ledger: &str) -> VerifierKey {
        let shown = say(&["key", "show", &self.path("log"), "--ledger", ledger, "-o", "json"]).ends(0).json();
        shown["key"].as_str().unwrap().parse().unwrap()
    }

    /// A witness of this site's log, under a name.
    fn witness(&self, name: &str) -> Witness {
        let key = PathBuf::from(self.path(name));
        if !key.exists() {
            process::generate(&key, name);
        }
        Witness::start(
            &key,
            &[self.log_key()],
            &self.keys.path().join(format!("{name}.state")),
            "127.0.0.1:0",
        )
    }

    fn witness_key(&self, name: &str) -> CosignerKey {
        say(&["key", "show", &self.path(name)]).ends(0).stdout.trim_end().parse().unwrap()
    }

    /// The newest checkpoint. Whoever is said to have cosigned it has.
    async fn checkpoint(
        &self,
        clients: &Clients,
        min_size: Option<u64>,
    ) -> Result<pb::GetCheckpointResponse, tonic::Status> {
        let request = pb::GetCheckpointRequest { min_size, ..Default::default() };
        let answer = clients.proof.clone().get_checkpoint(request).await?.into_inner();
        assert_eq!(self.log_key().open(&answer.note).unwrap().tree.size, answer.size);
        for name in &answer.witnesses {
            assert!(self.witness_key(name).cosigned(&answer.note).is_ok(), "{name}: {answer:?}");
        }
        Ok(answer)
    }

    /// Waits for a checkpoint that is as it should be.
    async fn until(
        &self,
        clients: &Clients,
        right: impl Fn(&pb::GetCheckpointResponse) -> bool,
    ) -> pb::GetCheckpointResponse {
        let began = Instant::now();
        loop {
            match self.checkpoint(clients, None).await {
                Ok(newest) if right(&newest) => return newest,
                other => assert!(began.elapsed() < Duration::from_secs(60), "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How a server is started that asks these witnesses.
    fn words(&self, data: &Path, witnesses: &[(&str, &str)], quorum: usize) -> Vec<String> {
        let quorum = quorum.to_string();
        let mut words = vec!["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
        words.extend(["--checkpoint-every", "20ms", "--witness-quorum", &quorum]);
        let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        words.extend(["--data".into(), data.to_str().unwrap().into(), "--key".into(), self.path("log")]);
        for (name, url) in witnesses {
            words.extend(["--witness".into(), format!("{} {url}", self.witness_key(name))]);
        }
        words
    }

    /// A server that asks these witnesses.
    fn server(&self, dir: TempDir, witnesses: &[(&str, &str)], quorum: usize) -> Served {
        let words = self.words(&data_of(&dir), witnesses, quorum);
        Served::run(dir, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

async fn append(clients: &Clients, name: &str) -> u64 {
    clients.record(event(name, created(name))).await.receipt.unwrap().position + 1
}

/// A metric of the ledger `default`, where it is there.
fn metric(server: &Served, name: &str) -> Option<f64> {
    let page = get(server.ready["metrics"].as_str().unwrap(), "/metrics");
    let line = page.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until a metric is there and not 0.
fn await_metric(server: &Served, name: &str) {
    let began = Instant::now();
    while metric(server, name).unwrap_or_default() == 0.0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{name}: {}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn failures(witness: &str, reason: &str) -> String {
    format!(r#"tokenledger_witness_failures_total{{ledger="default",witness="{witness}",reason="{reason}"}}"#)
}

const UNWITNESSED: &str = r#"tokenledger_checkpoint_unwitnessed{ledger="default"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn with_a_quorum_only_what_enough_witnesses_cosigned_is_published_and_appends_go_on_while_they_are_down()
 {
    let site = Site::new();
    let (one, two) = (site.witness("one"), site.witness("two"));
    let (one_url, two_url) = (one.url(), two.url());
    let given = [("one", one_url.as_str()), ("two", two_url.as_str())];
    let server = site.server(tempfile::tempdir().unwrap(), &given, 2);
    let clients = server.clients().await;
    let size = append(&clients, "a").await;
    let published = site.checkpoint(&clients, Some(size)).await.unwrap();
    assert_eq!((published.witnesses.clone(), published.witnessed), (vec!["one".into(), "two".into()], true));
    for name in ["one", "two"] {
        let cosigned = site.witness_key(name).cosigned(&published.note).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(cosigned.seconds <= now && cosigned.seconds + 60 > now);
    }
    let described = server.json(&["ledgers", "describe"]);
    assert_eq!(described["checkpoint"]["witnesses"], serde_json::json!(["one", "two"]), "{described}");
    assert_eq!(
        (metric(&server, UNWITNESSED), described["checkpoint"]["witnessed"].as_bool()),
        (Some(0.0), Some(true))
    );

    let mut published = published;
    for n in 0..10 {
        let size = append(&clients, &format!("more-{n}")).await;
        published = site.checkpoint(&clients, Some(size)).await.unwrap();
        assert!(published.size >= size && published.witnesses.len() == 2);
    }

    // One is gone: the other is not enough.
    let state = two.kill();
    let newer = append(&clients, "b").await;
    let began = Instant::now();
    let refused = site.checkpoint(&clients, Some(newer)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().starts_with("1 of 2 witnesses have cosigned"), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(20));
    for n in 0..10 {
        append(&clients, &format!("c{n}")).await;
    }
    assert_eq!(site.checkpoint(&clients, None).await.unwrap(), published, "the newest that is published");
    await_metric(&server, UNWITNESSED);
    await_metric(&server, &failures("two", "unreachable"));
    assert!(server.log().contains("a witness does not cosign"), "{}", server.log());
    assert_eq!(server.log().matches("a witness does not cosign").count(), 1, "it is said once");

    // An export holds back what the server does, and carries the cosignatures.
    let out = tempfile::tempdir().unwrap();
    let export = |to: &str, more: &[&str]| {
        let (data, out) = (server.data(), out.path().join(to));
        let words = ["export", "tiles", data.to_str().unwrap(), "--out", out.to_str().unwrap(), "-o", "json"];
        let said = say(&[&words, more].concat()).ends(0).json();
        let note = std::fs::read(out.join("checkpoint")).unwrap();
        assert_eq!(Some(site.log_key().open(&note).unwrap().tree.size), said["size"].as_u64());
        assert!(said["signed"].as_u64().unwrap() >= newer, "{said}");
        note
    };
    assert_eq!(export("published", &[]), published.note);
    let unwitnessed = export("signed", &["--unwitnessed"]);
    assert!(site.log_key().open(&unwitnessed).unwrap().tree.size >= newer);

    // Neither does a restart publish what was not cosigned, nor forget what was.
    drop(clients);
    let server = site.server(server.stop(), &given, 2);
    let clients = server.clients().await;
    assert_eq!(site.checkpoint(&clients, None).await.unwrap(), published);
    let all = append(&clients, "d").await;

    let two = state.start();
    let after = site.until(&clients, |newest| newest.size >= all).await;
    assert_eq!(after.witnesses.len(), 2);
    assert!(site.witness_key("two").cosigned(&after.note).is_ok());
    assert_eq!(metric(&server, UNWITNESSED), Some(0.0));
    drop(clients);
    server.check().await;
    drop((one, two));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_a_checkpoint_is_published_at_once_and_is_unwitnessed_until_somebody_cosigns_it() {
    let site = Site::new();
    let one = site.witness("one");
    let url = one.url();
    let state = one.kill();
    let server = site.server(tempfile::tempdir().unwrap(), &[("one", url.as_str())], 0);
    let clients = server.clients().await;
    let size = append(&clients, "a").await;
    let published = site.checkpoint(&clients, Some(size)).await.unwrap();
    assert_eq!((published.witnesses.len(), published.witnessed), (0, false));
    await_metric(&server, UNWITNESSED);
    let described = server.json(&["ledgers", "describe"]);
    assert_eq!(described["checkpoint"]["witnessed"], false, "{described}");
    let one = state.start();
    let cosigned = site.until(&clients, |newest| newest.witnessed).await;
    assert!(cosigned.note.starts_with(&published.note), "it is the same note, with a line more");
    assert_eq!(metric(&server, UNWITNESSED), Some(0.0));
    // It was kept.
    drop(clients);
    drop(one);
    let server = site.server(server.stop(), &[("one", url.as_str())], 0);
    let clients = server.clients().await;
    assert_eq!(site.checkpoint(&clients, None).await.unwrap(), cosigned);
    assert_eq!(metric(&server, UNWITNESSED), Some(0.0));
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_never_answers_keeps_nobody_waiting_where_the_others_are_enough() {
    let site = Site::new();
    let one = site.witness("one");
    process::generate(Path::new(&site.path("silent")), "silent");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (one_url, silent_url) = (one.url(), format!("http://{}", silent.local_addr().unwrap()));
    let given = [("silent", silent_url.as_str()), ("one", one_url.as_str())];
    let server = site.server(tempfile::tempdir().unwrap(), &given, 1);
    let clients = server.clients().await;
    for n in 0..20 {
        let began = Instant::now();
        let size = append(&clients, &format!("a{n}")).await;
        let published = site.checkpoint(&clients, Some(size)).await.unwrap();
        assert_eq!((published.witnesses, published.witnessed), (vec!["one".into()], true));
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    await_metric(&server, &failures("silent", "unreachable"));
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_knows_less_or_more_than_was_thought_is_met_where_it_is() {
    let site = Site::new();
    let one = site.witness("one");
    let url = one.url();
    let given = [("one", url.as_str())];
    let server = site.server(tempfile::tempdir().unwrap(), &given, 1);
    let clients = server.clients().await;
    let size = append(&clients, "a").await;
    site.checkpoint(&clients, Some(size)).await.unwrap();
    drop(clients);
    // The server has forgotten what the witness knows.
    let dir = server.stop();
    std::fs::remove_file(data_of(&dir).join("ledgers/default/checkpoint.witnessed")).unwrap();
    let server = site.server(dir, &given, 1);
    let clients = server.clients().await;
    let size = append(&clients, "b").await;
    assert!(site.checkpoint(&clients, Some(size)).await.unwrap().witnessed);
    // The witness has forgotten everything, which its operator does not do: it begins anew at nothing.
    let state = one.kill();
    std::fs::remove_dir_all(state.dir()).unwrap();
    let one = state.start();
    let size = append(&clients, "c").await;
    let newest = site.until(&clients, |newest| newest.size >= size).await;
    assert_eq!(newest.witnesses, ["one"]);
    drop(clients);
    server.check().await;
    drop(one);
}

/// A witnessed log of some entries, and an older copy of its directory.
async fn put_back(site: &Site, given: &[(&str, &str)]) -> (u64, u64, TempDir) {
    let server = site.server(tempfile::tempdir().unwrap(), given, 1);
    let clients = server.clients().await;
    let size = append(&clients, "a").await;
    site.checkpoint(&clients, Some(size)).await.unwrap();
    drop(clients);
    let dir = server.stop();
    let copy = tempfile::tempdir().unwrap();
    copy_dir(&data_of(&dir), &data_of(&copy));
    let server = site.server(dir, given, 1);
    let clients = server.clients().await;
    for n in 0..5 {
        append(&clients, &format!("b{n}")).await;
    }
    let all = append(&clients, "c").await;
    assert!(site.checkpoint(&clients, Some(all)).await.unwrap().size >= all);
    drop(clients);
    drop(server.stop());
    (size, all, copy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_put_back_does_not_start_where_a_witness_answers() {
    let site = Site::new();
    let one = site.witness("one");
    process::generate(Path::new(&site.path("down")), "down");
    let (url, down) = (one.url(), "http://127.0.0.1:9");
    // One that is down keeps nobody from asking the other.
    let given = [("down", down), ("one", url.as_str())];
    let (has, had, copy) = put_back(&site, &given).await;
    let refused = |data: &Path| {
        let before = tree_of(data);
        let words = site.words(data, &given, 1);
        let refused = say(&words.iter().map(String::as_str).collect::<Vec<_>>()).ends(3);
        assert_eq!((refused.stdout.as_str(), tree_of(data)), ("", before), "nothing was changed");
        refused.stderr
    };
    let data = data_of(&copy);
    let said = refused(&data);
    let missing = format!(
        "ledger default has {has} entries and contradicts what the witness one has cosigned: the entries from position {has} to {} are missing",
        had - 1
    );
    assert!(said.contains(&missing), "{said}");

    // It goes on without anybody, up to where the witness is, behind it, and where the checkpoint is lost.
    for fork in [had, had + 3] {
        let data_text = data.to_str().unwrap();
        let words = ["serve", "--listen", "127.0.0.1:0", "--data", data_text, "--key", &site.path("log")];
        let server = Served::run(tempfile::tempdir_in(copy.path()).unwrap(), &words);
        let clients = server.clients().await;
        while append(&clients, &uuid::Uuid::new_v4().to_string()).await < fork {}
        drop(clients);
        drop(server.stop());
        let said = refused(&data);
        assert!(
            said.contains(&format!("of the first {fork} entries, one at least is not what it was")),
            "{said}"
        );
    }
    std::fs::remove_file(data.join("ledgers/default/checkpoint")).unwrap();
    let said = refused(&data);
    assert!(said.contains("contradicts what the witness one has cosigned"), "{said}");

    let mut words = site.words(&data, &given, 1);
    words
        .extend(["--override-checkpoint", "default", "--override-reason", "all there is"].map(str::to_owned));
    let server = Served::run(copy, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let clients = server.clients().await;
    let filter = pb::EventFilter { kind: "CheckpointOverridden".into(), ..Default::default() };
    let recorded = clients.events(filter).await;
    let fact = recorded[0].event.clone().unwrap().fact;
    let Some(pb::event::Fact::CheckpointOverridden(fact)) = fact else { panic!("{fact:?}") };
    assert_eq!((recorded.len(), fact.source.as_str()), (1, "witness"));
    assert_eq!(site.log_key().open(fact.note.as_bytes()).unwrap().tree.size, had + 3);
    drop(clients);
    server.check().await;
    drop(one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_put_back_while_its_witness_was_down_is_refused_by_it_and_everybody_hears_of_it() {
    let site = Site::new();
    let one = site.witness("one");
    let url = one.url();
    let given = [("one", url.as_str())];
    let (_, had, copy) = put_back(&site, &given).await;
    let state = one.kill();

    // The older copy, on which other things happen.
    let server = site.server(copy, &given, 1);
    let clients = server.clients().await;
    let behind = append(&clients, "other").await;
    await_metric(&server, &failures("one", "unreachable"));
    assert!(server.log().contains("could not say before the start"), "{}", server.log());
    let one = state.start();
    await_metric(&server, &failures("one", "ahead"));
    await_metric(&server, UNWITNESSED);
    assert_eq!(site.checkpoint(&clients, Some(behind)).await.unwrap_err().code(), Code::Unavailable);
    while append(&clients, &uuid::Uuid::new_v4().to_string()).await < had {}
    // As large as what the witness has seen, or larger: it is another history.
    await_metric(&server, &failures("one", "fork"));
    let newest = site.checkpoint(&clients, None).await;
    assert!(newest.map_or(true, |newest| newest.size < behind), "nothing of it is published");
    assert!(server.log().contains("A WITNESS DOES NOT COSIGN"), "{}", server.log());
    drop(clients);
    server.check().await;
    drop(one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_does_not_know_the_log_or_its_key_is_named_with_what_to_do() {
    let (site, other) = (Site::new(), Site::new());
    for (name, log, reason) in
        [("stranger", site.log_key_of("another"), "unknown_log"), ("elsewhere", other.log_key(), "untrusted")]
    {
        process::generate(Path::new(&site.path(name)), name);
        let state = site.keys.path().join(format!("{name}.state"));
        let witness = Witness::start(Path::new(&site.path(name)), &[log], &state, "127.0.0.1:0");
        let server = site.server(tempfile::tempdir().unwrap(), &[(name, &witness.url())], 1);
        let clients = server.clients().await;
        append(&clients, "a").await;
        await_metric(&server, &failures(name, reason));
        assert!(server.log().contains("operator has to add"), "{}", server.log());
        let refused = site.checkpoint(&clients, None).await.unwrap_err();
        assert!(refused.message().starts_with("0 of 1 witnesses"), "{refused}");
        drop(clients);
        server.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cosignature_that_does_not_hold_counts_for_nothing() {
    let site = Site::new();
    let one = site.witness("one");
    // Who answers there is not who was meant.
    process::generate(Path::new(&site.path("meant")), "one");
    let server = site.server(tempfile::tempdir().unwrap(), &[("meant", &one.url())], 0);
    let clients = server.clients().await;
    let size = append(&clients, "a").await;
    await_metric(&server, &failures("one", "bad_cosignature"));
    let published = site.checkpoint(&clients, Some(size)).await.unwrap();
    assert_eq!((published.witnesses.len(), published.witnessed), (0, false));
    assert!(site.witness_key("one").cosigned(&published.note).is_err(), "nothing of a stranger is published");
    drop(clients);
    server.check().await;
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy_dir(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// What a directory holds, but for what is made anew at each start.
fn tree_of(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![data.join("ledgers/default")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}
