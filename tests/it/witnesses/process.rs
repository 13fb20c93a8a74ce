use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ledger::checkpoint::VerifierKey;
use serde_json::Value;

use crate::binary_harness::{Mortal, program, say};

/// Makes the key of a witness.
pub fn generate(key: &Path, name: &str) {
    let out = key.to_str().unwrap();
    say(&["key", "generate", "--witness", "--origin", name, "--out", out]).ends(0);
}

/// A witness process.
pub struct Witness {
    pub address: String,
    pub child: Mortal,
    idle: Idle,
}

/// What it takes to start one again, at the same address.
pub struct Idle {
    key: PathBuf,
    logs: Vec<VerifierKey>,
    state: PathBuf,
    listen: String,
}

impl Witness {
    pub fn start(key: &Path, logs: &[VerifierKey], state: &Path, listen: &str) -> Self {
        let idle = Idle {
            key: key.to_owned(),
            logs: logs.to_vec(),
            state: state.to_owned(),
            listen: listen.to_owned(),
        };
        idle.start()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it as a power cut would.
    pub fn kill(mut self) -> Idle {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
        Idle { listen: self.address, ..self.idle }
    }
}

impl Idle {
    pub fn dir(&self) -> &Path {
        &self.state
    }

    pub fn command(&self) -> Command {
        let mut command = program();
        command.args(["witness", "--listen", &self.listen]);
        command.arg("--key").arg(&self.key).arg("--state").arg(&self.state);
        for log in &self.logs {
            command.args(["--log", &log.to_string()]);
        }
        command
    }

    pub fn start(self) -> Witness {
        let (child, address) = ready(&mut self.command());
        Witness { address, child, idle: self }
    }
}

/// Starts a process, and waits for the line that says where it listens.
pub fn ready(command: &mut Command) -> (Mortal, String) {
    let mut child = Mortal(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let stdout = BufReader::new(child.0.stdout.take().unwrap());
    let line = stdout.lines().map(|line| line.unwrap()).find(|line| line.starts_with('{'));
    let line: Value = serde_json::from_str(&line.expect("a ready line")).unwrap();
    assert_eq!(line["ready"], true);
    (child, line["http"].as_str().unwrap().to_owned())
}

/// What a witness answered: status, the type of the body, the body.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub body: Vec<u8>,
}

/// Sends a request; an error where the other end went away.
pub fn post(address: &str, body: &[u8]) -> std::io::Result<Answer> {
    ask(address, "POST", "/add-checkpoint", body)
}

pub fn get(address: &str, path: &str) -> String {
    String::from_utf8(ask(address, "GET", path, b"").unwrap().body).unwrap()
}

/// HTTP by hand, so that nothing of the product's client is needed to judge its server.
pub fn ask(address: &str, method: &str, path: &str, body: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let field = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    let body = answer[end + 4..].to_vec();
    let length = field("content-length:").and_then(|length| length.parse().ok());
    if length.is_some_and(|length: usize| length != body.len()) {
        return Err(broken());
    }
    Ok(Answer { status, kind: field("content-type:").unwrap_or_default(), body })
}
