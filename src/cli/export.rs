//! `export`: everything a ledger holds, in a form that `import` reads back, or that others can check.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ledger::event::Kind;

use super::Global;
use super::connect::Server;
use super::events::Happened;
use super::exit::{Exit, Failure, say};
use super::print::{Printer, counted};
use super::rebuild::bar;
use crate::wire::pb;

mod tiles;

/// Writes out everything that a ledger holds
#[derive(Debug, Args)]
pub struct Export {
    #[command(subcommand)]
    form: Form,
}

#[derive(Debug, Subcommand)]
enum Form {
    /// Events in the product's own JSON form, one a line; the inverse of `import ndjson`
    Ndjson {
        /// Where to write; without it, to the standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    Tiles(Box<tiles::Tiles>),
}

impl Export {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be asked, or the file cannot be written.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let out = match self.form {
            Form::Ndjson { out } => out,
            Form::Tiles(tiles) => return tiles.run(global, printer),
        };
        let server = Server::reach(global).await?;
        let unreadable = match out {
            None => copy(&server, &mut BufWriter::new(std::io::stdout())).await?,
            Some(path) => to_file(&server, &path).await?,
        };
        if unreadable == 0 {
            return Ok(Exit::Done);
        }
        say(&format!(
            "tokenledger: {} newer than this program lost its content; export again with a newer one",
            counted(unreadable, "event")
        ));
        Ok(Exit::Failed)
    }
}

/// The file appears whole or not at all.
async fn to_file(server: &Server, path: &Path) -> Result<u64, Failure> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|e| Failure::at(path, &e))?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    let unreadable = copy(server, &mut buffered).await?;
    drop(buffered);
    file.as_file().sync_all().map_err(|e| Failure::at(path, &e))?;
    file.persist(path).map_err(|e| Failure::at(path, &e.error))?;
    Ok(unreadable)
}

/// Writes every event, and says how many could not be read.
async fn copy(server: &Server, out: &mut impl Write) -> Result<u64, Failure> {
    let request = pb::TailEventsRequest { ledger: server.ledger(), from_position: 0, stop_at_end: true };
    let answer = server.query().tail_events(request).await.map_err(|e| server.failure(e))?;
    let mut events = answer.into_inner();
    let bar = bar("events");
    let mut unreadable = 0;
    while let Some(next) = events.message().await.map_err(|e| server.failure(e))? {
        for message in &next.events {
            let event = Happened::read(message)?;
            unreadable += u64::from(event.recorded.event.fact.kind() == Kind::Opaque);
            serde_json::to_writer(&mut *out, &event)?;
            out.write_all(b"\n")?;
            bar.inc(1);
        }
    }
    out.flush()?;
    bar.finish_and_clear();
    Ok(unreadable)
}
