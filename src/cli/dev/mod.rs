//! `dev`: a server with a story to try the product on, five minutes from nothing to the first restore.

mod night;

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tempfile::TempDir;

use super::connect::Server;
use super::deletions::quoted;
use super::exit::{Exit, Failure};
use super::print::Printer;
use super::{Global, parse, run};
use crate::anchors::Trust;
use crate::keyfile::{self, KeyFile};
use crate::notary::Signing;
use crate::server::{self, Running, ServeOptions};
use crate::wire::pb;

/// What the names of its logs begin with.
const PREFIX: &str = "tokenledger.local";
/// How often a checkpoint is signed at most.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(100);

/// Runs a server with a seeded incident, and prints what to try
#[derive(Debug, Args)]
pub struct Dev {
    /// The directory to keep everything in; without it, a temporary one that is thrown away at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; without it, 127.0.0.1:7420, or any port where that is taken
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The file of the private key that signs checkpoints, made where it is not there; without it, one beside the directory
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Run what is to be tried at once, and end
    #[arg(long)]
    tour: bool,
}

/// The story as a program gets it.
#[derive(Debug, Serialize)]
struct Ready {
    ready: bool,
    grpc: String,
    ledger: String,
    run: &'static str,
    plan: String,
    key: String,
    public_key: String,
}

/// What the checkpoints are signed with.
struct Signed {
    by: PathBuf,
    verifier: String,
}

impl Dev {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot start, or the story cannot be told to it.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let (data, kept) = self.directory()?;
        let listen = self.listen.unwrap_or_else(free_address);
        let key = match &self.key {
            Some(key) => key.clone(),
            None => beside(&data)?,
        };
        let signing = signing(&key)?;
        let signed = Signed { by: key, verifier: signing.key.verifier(&global.ledger).to_string() };
        let options = ServeOptions {
            signing: Some(signing),
            trust: Trust::default(),
            data,
            listen,
            metrics: None,
            http: None,
            log_json: false,
            scrub_rate: 0,
            pack: true,
        };
        let running = server::start(options).await.map_err(Failure::because)?;
        let result = self.show(global, printer, &running, &signed).await;
        running.stop().await;
        drop(kept);
        result
    }

    /// Where everything is kept, and what throws it away.
    fn directory(&self) -> Result<(PathBuf, Option<TempDir>), Failure> {
        if let Some(data) = &self.data {
            return Ok((data.clone(), None));
        }
        let dir = tempfile::Builder::new().prefix("tokenledger-dev-").tempdir();
        let dir = dir.map_err(|e| Failure::Failed(format!("no temporary directory can be made: {e}")))?;
        Ok((dir.path().join("data"), Some(dir)))
    }

    async fn show(
        &self,
        global: &Global,
        printer: &mut Printer,
        running: &Running,
        signed: &Signed,
    ) -> Result<Exit, Failure> {
        let here = Global { server: format!("http://{}", running.grpc), ..global.clone() };
        tell(&Server::reach(&here).await?).await?;
        let steps = steps(&place(global, &here), signed);
        if self.tour {
            printer.text(&story())?;
            return tour(&steps, printer).await;
        }
        let asked = server::asked_to_stop();
        if printer.is_for_people() {
            printer.text(&welcome(&here.server, &steps, signed))?;
        } else {
            let (grpc, ledger) = (running.grpc.to_string(), here.ledger.to_string());
            let plan = night::plan().to_string();
            let (key, public_key) = (signed.by.display().to_string(), signed.verifier.clone());
            let ready = Ready { ready: true, grpc, ledger, run: night::RUN, plan, key, public_key };
            printer.json(&ready)?;
            printer.flush()?;
        }
        asked.await;
        Ok(Exit::Done)
    }
}

/// Where the key of a data directory is kept: not within it, however that is written.
fn beside(data: &Path) -> Result<PathBuf, Failure> {
    let whole = match data.canonicalize() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::path::absolute(data).map_err(|error| Failure::at(data, &error))?
        }
        Err(error) => return Err(Failure::at(data, &error)),
    };
    match (whole.parent(), whole.file_name()) {
        (Some(parent), Some(name)) => {
            let mut name = name.to_owned();
            name.push(".key");
            Ok(parent.join(name))
        }
        _ => Err(Failure::Usage(format!(
            "there is no place for a key beside {}: say where it is, by `--key FILE`",
            data.display()
        ))),
    }
}

/// Signs with the key in a file, which is made where it is not there.
fn signing(path: &Path) -> Result<Signing, Failure> {
    let prefix = || PREFIX.parse().map_err(Failure::because);
    let found = if path.exists() { keyfile::read(path) } else { keyfile::generate(prefix()?, path) };
    let KeyFile { key, rotations } = found.map_err(Failure::because)?;
    Ok(Signing { rotations: rotations.into(), ..Signing::new(key, CHECKPOINT_EVERY) })
}

/// The usual address, or any port where that is taken.
fn free_address() -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, 7420));
    if TcpListener::bind(usual).is_ok() { usual } else { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
}

/// The flags without which a command would ask another server; the ledger where it was named.
fn place(usual: &Global, here: &Global) -> String {
    let server = if usual.server == here.server {
        String::new()
    } else {
        format!(" --server {}", quoted(&here.server))
    };
    let ledger =
        if here.ledger.as_str() == "default" { String::new() } else { format!(" --ledger {}", here.ledger) };
    server + &ledger
}

/// Records the story. Told again, it adds nothing.
async fn tell(server: &Server) -> Result<(), Failure> {
    let mut last = 0;
    for batch in night::events().chunks(500) {
        let proposal =
            |event: &pb::Event| pb::Proposal { event: Some(event.clone()), expected_version: None };
        let proposals = batch.iter().map(proposal).collect();
        let request = pb::AppendBatchRequest { ledger: server.ledger(), proposals, ..Default::default() };
        let answer = server.append().append_batch(request).await.map_err(|e| server.failure(e))?;
        for result in answer.into_inner().results {
            last = last.max(position_of(result)?);
        }
    }
    // What is tried next must see it.
    let seen = pb::FindDeletionsRequest {
        ledger: server.ledger(),
        run: night::RUN.to_owned(),
        page_size: 1,
        min_position: Some(last),
        ..Default::default()
    };
    server.query().find_deletions(seen).await.map_err(|e| server.failure(e))?;
    Ok(())
}

fn position_of(result: pb::AppendResult) -> Result<u64, Failure> {
    match result.result {
        Some(pb::append_result::Result::Accepted(accepted)) => {
            Ok(accepted.receipt.unwrap_or_default().position)
        }
        Some(pb::append_result::Result::Refused(refusal)) => {
            Err(Failure::Failed(format!("the ledger refused a part of the story: {}", refusal.message)))
        }
        None => Err(Failure::because("the ledger did not answer a part of the story")),
    }
}

/// Something to try: what it is for, and the command.
struct Step {
    purpose: &'static str,
    command: String,
}

fn steps(place: &str, signed: &Signed) -> Vec<Step> {
    let (run, plan) = (night::RUN, night::plan());
    let step = |purpose, command: String| Step { purpose, command: format!("tokenledger {command}{place}") };
    let proof = signed.by.with_extension("tlog-proof");
    let proof = quoted(&proof.display().to_string());
    vec![
        step(
            "Find what the job deleted, and the tokens that were active:",
            format!("deletions find --run {run}"),
        ),
        step("Plan what comes back (changes no account):", format!("restore plan --run {run} --id {plan}")),
        step("Bring it back, with the same ids, grants and secrets:", format!("restore apply {plan}")),
        step(
            "Does the secret that a customer holds work again?",
            format!("token lookup {}", night::a_digest()),
        ),
        step(
            "Prove one of the deletions to somebody who trusts nobody, by one file:",
            format!("proof get --event {} --overwrite --out {proof}", night::a_deletion()),
        ),
        step(
            "All that it takes to check it is the ledger's public key, and no server:",
            format!("proof verify {proof} --key {}", signed.verifier),
        ),
    ]
}

fn story() -> String {
    format!(
        "On 2024-09-11 at 00:00 UTC a nightly job deleted {} of {} bots \"whose access token became inactive more\n\
         than 30 days ago\". It took for granted that a bot has one token; but a rotated bot keeps its old, revoked\n\
         token beside the new one. So {} bots of {} customers are gone whose tokens were in use. {} others were\n\
         rightly deleted, and one was deleted by a person that night: they are to stay gone.",
        night::ROTATED + night::RIGHTLY_DELETED,
        night::BOTS,
        night::ROTATED,
        night::CUSTOMERS,
        night::RIGHTLY_DELETED,
    )
}

fn welcome(url: &str, steps: &[Step], signed: &Signed) -> String {
    let tries: Vec<String> =
        steps.iter().map(|step| format!("{}\n  {}", step.purpose, step.command)).collect();
    format!(
        "tokenledger serves at {url}\n\n{}\n\n{}\n\nIts checkpoints are signed with the private key in {}. Others check them by the public one:\n  {}\n\nCtrl-C ends it.",
        story(),
        tries.join("\n\n"),
        signed.by.display(),
        signed.verifier,
    )
}

/// Runs the steps, exactly as they are printed, but for the question to a person.
async fn tour(steps: &[Step], printer: &mut Printer) -> Result<Exit, Failure> {
    for step in steps {
        printer.text(&format!("\n{}\n$ {}", step.purpose, step.command))?;
        let agreed = if step.command.contains("restore apply") { " --yes" } else { "" };
        let words: Vec<OsString> =
            format!("{}{agreed}", step.command).split(' ').map(OsString::from).collect();
        let cli = parse(&Vec::new(), &words).map_err(Failure::because)?;
        match Box::pin(run(cli, &words, printer)).await? {
            Exit::Done => {}
            other => return Ok(other),
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_lies_beside_the_data_however_that_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().canonicalize().unwrap();
        let data = here.join("data");
        let ways = [data.clone(), data.join(""), data.join("."), here.join("data//"), here.join("./data/")];
        for there in [false, true] {
            for way in &ways {
                assert_eq!(beside(way).unwrap(), here.join("data.key"), "{way:?}");
            }
            std::fs::create_dir_all(data.join("below")).unwrap();
            if there {
                assert_eq!(beside(&data.join("below/..")).unwrap(), here.join("data.key"));
            }
        }
        assert!(beside(Path::new("/")).is_err());
        let current = std::env::current_dir().unwrap();
        assert!(!beside(Path::new(".")).unwrap().starts_with(&current));
    }

    #[test]
    fn what_is_to_be_tried_is_understood_as_it_is_printed() {
        let signed = Signed { by: PathBuf::from("/x/data.key"), verifier: "a.b/demo+12345678+AQ==".into() };
        for step in steps(" --server http://127.0.0.1:1234 --ledger demo", &signed) {
            let words: Vec<OsString> = step.command.split(' ').map(OsString::from).collect();
            assert!(parse(&Vec::new(), &words).is_ok(), "{}", step.command);
        }
    }

    #[test]
    fn the_story_counts_as_its_events_do() {
        let text = story();
        for number in ["198 of 400", "146 bots of 22 customers", "52 others"] {
            assert!(text.contains(number), "{text}");
        }
    }
}
