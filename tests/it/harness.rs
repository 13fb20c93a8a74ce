//! A real server on a temporary directory, clients, and the oracle that ends every test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ledger::checkpoint::PrivateKey;
use ledger::disk::RealDisk;
use ledger::entry;
use ledger::verify::verify;
use tempfile::TempDir;
use tokenledger::anchors::Trust;
use tokenledger::ledgers::OpenError;
use tokenledger::notary::Signing;
use tokenledger::server::{Running, ServeError, ServeOptions, start};
use tokenledger::wire::pb;
use tokenledger::wire::pb::admin_service_client::AdminServiceClient;
use tokenledger::wire::pb::append_service_client::AppendServiceClient;
use tokenledger::wire::pb::proof_service_client::ProofServiceClient;
use tokenledger::wire::pb::query_service_client::QueryServiceClient;
use tokenledger::wire::pb::restore_service_client::RestoreServiceClient;
use tonic::transport::Channel;
use uuid::Uuid;

/// A server in this process, on a directory that is removed at the end.
pub struct Server {
    dir: TempDir,
    running: Option<Running>,
    signs: bool,
}

impl Server {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_one(true).await
    }

    /// Starts one that has no key.
    pub async fn start_without_key() -> Self {
        Self::start_one(false).await
    }

    async fn start_one(signs: bool) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), signs).await
    }

    async fn start_on(dir: TempDir, signs: bool) -> Self {
        let running = Some(run(dir.path(), signs).await);
        Self { dir, running, signs }
    }

    /// Starts one on a copy of another's data directory, with the same key: from there on they are two histories.
    pub async fn start_copy(of: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(of, &data(dir.path()));
        Self::start_on(dir, true).await
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        data(self.dir.path())
    }

    /// Stops it, and starts another one on the same directory.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.resume().await;
    }

    /// Stops it.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            assert!(running.stop().await, "the server drains in time");
        }
    }

    /// Starts one again.
    pub async fn resume(&mut self) {
        self.running = Some(run(self.dir.path(), self.signs).await);
    }

    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().grpc
    }

    pub async fn clients(&self) -> Clients {
        Clients::connect(self.address()).await
    }

    /// The oracle: see [`check_ledger`].
    pub async fn check(mut self) {
        let live = if self.running.is_some() { Some(roots(&self.clients().await).await) } else { None };
        self.stop().await;
        check_ledger(&self.data(), live).await;
    }
}

/// Copies a directory with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// The key with which servers sign here.
pub fn key() -> PrivateKey {
    PrivateKey::new("ledger.example.org".parse().unwrap(), &[7; 32])
}

async fn run(dir: &Path, signs: bool) -> Running {
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = ServeOptions {
        data: data(dir),
        listen,
        metrics: None,
        http: None,
        log_json: false,
        scrub_rate: 8,
        pack: true,
        signing: signs.then(|| Signing::new(key(), Duration::from_millis(20))),
        trust: Trust::default(),
    };
    // A server that stopped in this process lets go of its directory with its last connection, a moment later.
    for _ in 0..50 {
        match start(options.clone()).await {
            Err(ServeError::Open(OpenError::InUse(_))) => {
                tokio::time::sleep(Duration::from_millis(100)).await
            }
            started => return started.unwrap(),
        }
    }
    start(options).await.unwrap()
}

/// A client of every service.
#[derive(Clone)]
pub struct Clients {
    pub append: AppendServiceClient<Channel>,
    pub query: QueryServiceClient<Channel>,
    pub restore: RestoreServiceClient<Channel>,
    pub proof: ProofServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
}

impl Clients {
    pub async fn connect(address: SocketAddr) -> Self {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self {
            append: AppendServiceClient::new(channel.clone()),
            query: QueryServiceClient::new(channel.clone()),
            restore: RestoreServiceClient::new(channel.clone()),
            proof: ProofServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
        }
    }

    /// Records an event, which must be accepted.
    pub async fn record(&self, event: pb::Event) -> pb::Accepted {
        self.try_record(event).await.unwrap()
    }

    pub async fn try_record(&self, event: pb::Event) -> Result<pb::Accepted, tonic::Status> {
        let proposal = Some(pb::Proposal { event: Some(event), expected_version: None });
        let request = pb::AppendRequest { proposal, ..Default::default() };
        Ok(self.append.clone().append(request).await?.into_inner().accepted.unwrap())
    }

    pub async fn batch(&self, events: Vec<pb::Event>, atomic: bool) -> Vec<pb::AppendResult> {
        let proposals =
            events.into_iter().map(|event| pb::Proposal { event: Some(event), expected_version: None });
        let request = pb::AppendBatchRequest { proposals: proposals.collect(), atomic, ..Default::default() };
        self.append.clone().append_batch(request).await.unwrap().into_inner().results
    }

    pub async fn account(
        &self,
        account: &str,
        as_of: Option<pb::AsOf>,
    ) -> Result<pb::Account, tonic::Status> {
        let request = pb::GetAccountRequest { account: account.into(), as_of, ..Default::default() };
        Ok(self.query.clone().get_account(request).await?.into_inner().account.unwrap())
    }

    /// All events that pass a filter, page by page.
    pub async fn events(&self, filter: pb::EventFilter) -> Vec<pb::LedgerEvent> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = pb::ListEventsRequest {
                filter: Some(filter.clone()),
                page_size: 7,
                page_token,
                ..Default::default()
            };
            let page = self.query.clone().list_events(request).await.unwrap().into_inner();
            all.extend(page.events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    pub async fn plan(&self, accounts: &[&str]) -> pb::RestorePlan {
        let accounts = accounts.iter().map(ToString::to_string).collect();
        let request =
            pb::PlanRestoreRequest { accounts, actor: Some(human("responder")), ..Default::default() };
        self.restore.clone().plan_restore(request).await.unwrap().into_inner().plan.unwrap()
    }

    pub async fn apply(&self, plan: &str) -> pb::RestoreReceipt {
        let request = pb::ApplyRestoreRequest {
            plan: plan.into(),
            actor: Some(human("responder")),
            ..Default::default()
        };
        self.restore.clone().apply_restore(request).await.unwrap().into_inner().receipt.unwrap()
    }
}

pub fn human(id: &str) -> pb::Actor {
    pb::Actor { kind: pb::ActorKind::Human.into(), id: id.into() }
}

pub fn automation(id: &str) -> pb::Actor {
    pb::Actor { kind: pb::ActorKind::Automation.into(), id: id.into() }
}

/// A moment of a test: seconds after 2024-09-01T00:00:00Z.
pub fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: 1_725_148_800 + seconds, nanos: 0 }
}

/// An event about an account, with a new id.
pub fn event(account: &str, fact: pb::event::Fact) -> pb::Event {
    pb::Event {
        event_id: Uuid::new_v4().to_string(),
        emitter: "tests".into(),
        occurred_at: Some(at(0)),
        actor: Some(human("alice")),
        account: account.into(),
        fact: Some(fact),
        ..Default::default()
    }
}

pub fn created(handle: &str) -> pb::event::Fact {
    pb::event::Fact::AccountCreated(pb::AccountCreated {
        kind: pb::AccountKind::Bot.into(),
        handle: handle.into(),
        owner: "team-1".into(),
        namespace: "group-1".into(),
        ..Default::default()
    })
}

pub fn never() -> Option<pb::Expiry> {
    Some(pb::Expiry { expiry: Some(pb::expiry::Expiry::Never(pb::expiry::Never {})) })
}

pub fn token(id: &str) -> pb::TokenIssued {
    pb::TokenIssued {
        token: id.into(),
        digest: format!("sha256:{}", hex::encode(blake3::hash(id.as_bytes()).as_bytes())),
        scopes: vec!["api".into()],
        expiry: never(),
        ..Default::default()
    }
}

pub fn issued(id: &str) -> pb::event::Fact {
    pb::event::Fact::TokenIssued(token(id))
}

pub fn granted(id: &str, access: &str) -> pb::event::Fact {
    pb::event::Fact::GrantAdded(pb::GrantAdded {
        grant: id.into(),
        access: access.into(),
        ..Default::default()
    })
}

pub fn deleted() -> pb::event::Fact {
    pb::event::Fact::AccountDeleted(pb::AccountDeleted::default())
}

/// The state roots of all ledgers, by name.
pub async fn roots(clients: &Clients) -> Vec<(String, Vec<u8>, u64)> {
    let ledgers = clients.admin.clone().list_ledgers(pb::ListLedgersRequest::default()).await.unwrap();
    let mut roots = Vec::new();
    for ledger in ledgers.into_inner().ledgers {
        let request = pb::GetStateRootRequest { ledger: ledger.ledger.clone(), position: None };
        let root = clients.query.clone().get_state_root(request).await.unwrap().into_inner();
        roots.push((ledger.ledger, root.root, root.entries));
    }
    roots
}

/// The oracle that ends every test: the files verify, by our judge and by the independent one; a new server on them
/// gives the same state roots, folds every account from its own events to what the whole fold says, and finds every
/// event by the index under each of its keys.
pub async fn check_ledger(data: &Path, live: Option<Vec<(String, Vec<u8>, u64)>>) {
    if !data.join("ledgers").exists() {
        return;
    }
    let report = verify(&RealDisk, data, &()).unwrap();
    assert!(report.ok(), "{report:?}");
    independent(data);
    let parent = data.parent().unwrap();
    let running = run(parent, true).await;
    let clients = Clients::connect(running.grpc).await;
    let again = roots(&clients).await;
    if let Some(live) = live {
        assert_eq!(live, again, "the state is the same after a restart");
    }
    for (name, _, entries) in &again {
        check_index(&clients, name, *entries).await;
        let judged = report.ledgers.iter().find(|l| l.ledger == *name).unwrap();
        assert_eq!(judged.entries.0, *entries);
    }
    assert!(running.stop().await);
}

/// Every entry is found by its position, and its bytes give its link; every event is found in its account's history.
async fn check_index(clients: &Clients, ledger: &str, entries: u64) {
    let mut query = clients.query.clone();
    let mut by_kind = std::collections::BTreeMap::<String, u64>::new();
    let mut previous = [0; 32];
    for position in 0..entries.min(300) {
        let which = Some(pb::get_event_request::Which::Position(position));
        let request = pb::GetEventRequest { ledger: ledger.into(), which };
        let found = query.get_event(request).await.unwrap().into_inner();
        let (header, _) = entry::decode(&found.entry).unwrap();
        assert_eq!(header.previous.0, previous, "the chain at {position}");
        previous = entry::link(&found.entry).0;
        let event = found.event.unwrap();
        assert_eq!(event.link, previous);
        let recorded = ledger::event::stored(&header, entry::decode(&found.entry).unwrap().1);
        *by_kind.entry(recorded.event.fact.kind().name().to_owned()).or_default() += 1;
    }
    if entries <= 300 {
        for (kind, count) in by_kind {
            let filter = Some(pb::EventFilter { kind, ..Default::default() });
            let request = pb::ListEventsRequest {
                ledger: ledger.into(),
                filter,
                page_size: 1000,
                ..Default::default()
            };
            let listed = query.list_events(request).await.unwrap().into_inner();
            assert_eq!(listed.events.len() as u64, count);
        }
    }
}

/// A Python that has the packages which the independent checker needs, if there is one.
pub fn python() -> Option<String> {
    let python = std::env::var("TOKENLEDGER_PYTHON").unwrap_or_else(|_| "python3".into());
    let packages = "import blake3, cryptography, zstandard";
    let usable = std::process::Command::new(&python).args(["-c", packages]).output();
    if usable.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let missing = "SKIPPED: tests/independent, since Python lacks a package (pip install blake3 zstandard cryptography)";
    assert!(std::env::var_os("TOKENLEDGER_REQUIRE_ALL").is_none(), "{missing}");
    eprintln!("{missing}");
    None
}

/// One of the independent programs.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent").join(name)
}

/// Runs the independent checker, where Python and its packages are there, with the key of each ledger that signs with
/// [`key`].
pub fn independent(data: &Path) {
    let Some(python) = python() else { return };
    let mut command = std::process::Command::new(python);
    command.arg(script("verify.py")).arg(data);
    for ledger in std::fs::read_dir(data.join("ledgers")).unwrap() {
        let ledger = ledger.unwrap();
        let Ok(note) = std::fs::read(ledger.path().join("checkpoint")) else { continue };
        let verifier = key().verifier(&ledger.file_name().into_string().unwrap().parse().unwrap());
        if verifier.open(&note).is_ok() {
            command.arg("--key").arg(verifier.to_string());
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "the independent checker: {}", String::from_utf8_lossy(&output.stdout));
}

/// Numbers that look random and come again with the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    /// One of some.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }
}

/// A made-up history of `count` events about six accounts in 40 days, out of order.
pub fn story(seed: u64, count: usize) -> Vec<pb::Event> {
    let mut dice = Dice::new(seed);
    (0..count).map(|n| story_event(&mut dice, n)).collect()
}

fn story_event(dice: &mut Dice, n: usize) -> pb::Event {
    let account = format!("id-{}", dice.below(6));
    let token = format!("t{}", dice.below(8));
    let revoked = pb::TokenRevoked { token: token.clone(), reason: 2 };
    let used = pb::TokenUsed { token: token.clone(), uses: 1, consumer: String::new() };
    let fact = match dice.below(12) {
        0 => created(&format!("handle-{}", dice.below(4))),
        1 => deleted(),
        2..=5 => issued(&token),
        6 => pb::event::Fact::TokenRevoked(revoked),
        7 | 8 => pb::event::Fact::TokenUsed(used),
        _ => granted(&format!("g{}", dice.below(5)), "dev"),
    };
    let some = |dice: &mut Dice, name: &str| match dice.below(5) {
        0..=2 => format!("{name}-{}", dice.below(3)),
        _ => String::new(),
    };
    let cause =
        pb::Cause { run: some(dice, "run"), correlation_id: some(dice, "corr"), ..Default::default() };
    pb::Event {
        event_id: Uuid::from_u128(u128::from(dice.below(u64::MAX)) << 64 | n as u128).to_string(),
        occurred_at: Some(at(i64::try_from(dice.below(40 * 86_400)).unwrap())),
        actor: Some(human(&format!("actor-{}", dice.below(3)))),
        cause: Some(cause),
        ..event(&account, fact)
    }
}

impl Clients {
    /// Records many events, a hundred at a time.
    pub async fn record_all(&self, events: &[pb::Event]) {
        for hundred in events.chunks(100) {
            for result in self.batch(hundred.to_vec(), false).await {
                assert!(matches!(result.result, Some(pb::append_result::Result::Accepted(_))), "{result:?}");
            }
        }
    }

    /// Everything, by a tail that stops at the end.
    pub async fn export(&self) -> Vec<pb::LedgerEvent> {
        let request = pb::TailEventsRequest { stop_at_end: true, ..Default::default() };
        let mut tail = self.query.clone().tail_events(request).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(message) = tail.message().await.unwrap() {
            all.extend(message.events);
        }
        all
    }

    /// The root of the state after a position.
    pub async fn root(&self, position: Option<u64>) -> pb::GetStateRootResponse {
        let request = pb::GetStateRootRequest { position, ..Default::default() };
        self.query.clone().get_state_root(request).await.unwrap().into_inner()
    }
}

/// What the fold takes, of an event as it was served.
pub fn recorded(served: &pb::LedgerEvent) -> ledger::event::Recorded {
    let sent = pb::Event { annotations: None, ..served.event.clone().unwrap() };
    let at = served.recorded_at.unwrap();
    ledger::event::Recorded {
        event: ledger::event::parse(&sent).unwrap(),
        annotations: ledger::event::Annotations::default(),
        position: ledger::types::Position(served.position),
        recorded_at: ledger::types::Time::from_parts(at.seconds, at.nanos).unwrap(),
    }
}

/// The state as it follows from events that were served.
pub fn fold<'a>(served: impl IntoIterator<Item = &'a pb::LedgerEvent>) -> ledger::state::State {
    let mut state = ledger::state::State::default();
    served.into_iter().for_each(|event| state.apply(&recorded(event)));
    state
}
