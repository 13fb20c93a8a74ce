//! What an auditor asks a server. Nothing that it answers is believed.

use std::time::Duration;

use ledger::tree::Hash;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::wire::pb;
use crate::wire::pb::proof_service_client::ProofServiceClient;

/// The largest message that is taken, in bytes: servers send entries by the half MiB.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// No proof of consistency has more hashes.
const HASHES_MAX: usize = 96;

/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server says about an earlier size: the root at that time, the proof, and its newest checkpoint.
pub(super) struct GoesOn {
    pub(super) old_root: Hash,
    pub(super) hashes: Vec<Hash>,
    pub(super) note: Vec<u8>,
}

/// A server.
pub(super) struct Remote {
    client: ProofServiceClient<Channel>,
    ledger: String,
}

/// Something that is no hash leads nowhere, as a wrong one.
fn hash(bytes: &[u8]) -> Hash {
    bytes.try_into().unwrap_or_default()
}

/// An auditor does not wait for ever for somebody whom it does not trust.
async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded("the server did not answer in time; audit again");
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
}

/// Entries that arrive.
pub(super) struct Entries(Streaming<pb::StreamEntriesResponse>);

impl Entries {
    /// Some more; `None` behind the last.
    pub(super) async fn message(&mut self) -> Result<Option<pb::StreamEntriesResponse>, Status> {
        in_time(self.0.message()).await
    }
}

impl Remote {
    pub(super) fn new(client: ProofServiceClient<Channel>, ledger: &str) -> Self {
        let client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self { client, ledger: ledger.to_owned() }
    }

    /// How the log goes on from a size; `None` where it has not so many entries.
    pub(super) async fn goes_on(&mut self, old_size: u64) -> Result<Option<GoesOn>, Status> {
        let request = pb::ProveConsistencyRequest { ledger: self.ledger.clone(), old_size, new_size: None };
        match in_time(self.client.prove_consistency(request)).await {
            Ok(answer) => {
                let pb::ProveConsistencyResponse { old_root, hashes, note, .. } = answer.into_inner();
                let hashes = hashes.iter().take(HASHES_MAX + 1).map(|bytes| hash(bytes)).collect();
                Ok(Some(GoesOn { old_root: hash(&old_root), hashes, note }))
            }
            Err(status) if status.code() == Code::OutOfRange => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The newest checkpoint.
    pub(super) async fn checkpoint(&mut self) -> Result<Vec<u8>, Status> {
        let request = pb::GetCheckpointRequest { ledger: self.ledger.clone(), min_size: None };
        Ok(in_time(self.client.get_checkpoint(request)).await?.into_inner().note)
    }

    /// Entries from a position up to, not including, another.
    pub(super) async fn entries(&mut self, from_position: u64, to: u64) -> Result<Entries, Status> {
        let to_position = Some(to);
        let request = pb::StreamEntriesRequest { ledger: self.ledger.clone(), from_position, to_position };
        Ok(Entries(in_time(self.client.stream_entries(request)).await?.into_inner()))
    }
}
