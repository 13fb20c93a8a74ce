//! What an auditor asks a server. Nothing that it answers is believed.

use ledger::tree::Hash;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::wire::pb;
use crate::wire::pb::proof_service_client::ProofServiceClient;

/// The largest message that is taken, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

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

impl Remote {
    pub(super) fn new(client: ProofServiceClient<Channel>, ledger: &str) -> Self {
        let client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self { client, ledger: ledger.to_owned() }
    }

    /// How the log goes on from a size; `None` where it has not so many entries.
    pub(super) async fn goes_on(&mut self, old_size: u64) -> Result<Option<GoesOn>, Status> {
        let request = pb::ProveConsistencyRequest { ledger: self.ledger.clone(), old_size };
        match self.client.prove_consistency(request).await {
            Ok(answer) => {
                let pb::ProveConsistencyResponse { old_root, hashes, note } = answer.into_inner();
                let hashes = hashes.iter().map(|bytes| hash(bytes)).collect();
                Ok(Some(GoesOn { old_root: hash(&old_root), hashes, note }))
            }
            Err(status) if status.code() == Code::OutOfRange => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The newest checkpoint.
    pub(super) async fn checkpoint(&mut self) -> Result<Vec<u8>, Status> {
        let request = pb::GetCheckpointRequest { ledger: self.ledger.clone(), min_size: None };
        Ok(self.client.get_checkpoint(request).await?.into_inner().note)
    }

    /// Entries from a position up to, not including, another.
    pub(super) async fn entries(
        &mut self,
        from_position: u64,
        to: u64,
    ) -> Result<Streaming<pb::StreamEntriesResponse>, Status> {
        let to_position = Some(to);
        let request = pb::StreamEntriesRequest { ledger: self.ledger.clone(), from_position, to_position };
        Ok(self.client.stream_entries(request).await?.into_inner())
    }
}
