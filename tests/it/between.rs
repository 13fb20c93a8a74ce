//! Somebody between a server and whoever asks it: changes what is asked and answered, and fails what is to fail.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokenledger::wire::pb;
use tokenledger::wire::pb::append_service_client::AppendServiceClient;
use tokenledger::wire::pb::append_service_server::{AppendService, AppendServiceServer};
use tokenledger::wire::pb::proof_service_client::ProofServiceClient;
use tokenledger::wire::pb::proof_service_server::{ProofService, ProofServiceServer};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::harness::Clients;

/// What somebody between the server and the auditor changes.
pub type Edit = Arc<dyn Fn(u64, &mut Vec<Vec<u8>>) + Send + Sync>;

/// What of a call fails: the call by its name, and how many such there were before.
pub type Fails = Arc<dyn Fn(&str, u64) -> Option<Code> + Send + Sync>;

/// Somebody between the server and the auditor.
#[derive(Clone)]
pub struct Between {
    pub server: ProofServiceClient<Channel>,
    pub append: Option<AppendServiceClient<Channel>>,
    pub entries: Edit,
    /// What is asked instead of the inclusion that was asked for, and what is answered instead.
    pub asked: Arc<dyn Fn(&mut pb::ProveInclusionRequest) + Send + Sync>,
    pub inclusion: Arc<dyn Fn(&mut pb::ProveInclusionResponse) + Send + Sync>,
    /// What is answered to an append instead.
    pub accepted: Arc<dyn Fn(&mut pb::Accepted) + Send + Sync>,
    pub sequence: Arc<dyn Fn(&mut pb::ProveSequenceResponse) + Send + Sync>,
    pub consistency: Arc<dyn Fn(&mut pb::ProveConsistencyResponse) + Send + Sync>,
    pub fails: Fails,
    pub calls: Arc<Mutex<HashMap<&'static str, u64>>>,
}

impl Between {
    pub fn new(server: &ProofServiceClient<Channel>) -> Self {
        Self {
            server: server.clone(),
            append: None,
            entries: Arc::new(|_, _| {}),
            asked: Arc::new(|_| {}),
            inclusion: Arc::new(|_| {}),
            accepted: Arc::new(|_| {}),
            sequence: Arc::new(|_| {}),
            consistency: Arc::new(|_| {}),
            fails: Arc::new(|_, _| None),
            calls: Arc::default(),
        }
    }

    /// Also between the server and whoever appends.
    pub fn of(clients: &Clients) -> Self {
        Self { append: Some(clients.append.clone()), ..Self::new(&clients.proof) }
    }

    pub async fn serve_at(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let served = tonic::transport::Server::builder()
            .add_service(ProofServiceServer::new(self.clone()))
            .add_service(AppendServiceServer::new(self));
        tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    /// A client of it.
    pub async fn serve(self) -> ProofServiceClient<Channel> {
        let address = self.serve_at().await;
        ProofServiceClient::connect(format!("http://{address}")).await.unwrap()
    }

    /// Counts a call, and fails it if it is to fail.
    fn called(&self, name: &'static str) -> Result<(), Status> {
        let mut calls = self.calls.lock().unwrap();
        let before = calls.entry(name).or_default();
        *before += 1;
        match (self.fails)(name, *before - 1) {
            Some(code) => Err(Status::new(code, "out of order")),
            None => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl ProofService for Between {
    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        self.called("checkpoint")?;
        self.server.clone().get_checkpoint(request.into_inner()).await
    }

    async fn prove_inclusion(
        &self,
        request: Request<pb::ProveInclusionRequest>,
    ) -> Result<Response<pb::ProveInclusionResponse>, Status> {
        self.called("inclusion")?;
        let mut request = request.into_inner();
        (self.asked)(&mut request);
        let mut answer = self.server.clone().prove_inclusion(request).await?.into_inner();
        (self.inclusion)(&mut answer);
        Ok(Response::new(answer))
    }

    async fn prove_consistency(
        &self,
        request: Request<pb::ProveConsistencyRequest>,
    ) -> Result<Response<pb::ProveConsistencyResponse>, Status> {
        self.called("consistency")?;
        let mut answer = self.server.clone().prove_consistency(request.into_inner()).await?.into_inner();
        (self.consistency)(&mut answer);
        Ok(Response::new(answer))
    }

    async fn prove_sequence(
        &self,
        request: Request<pb::ProveSequenceRequest>,
    ) -> Result<Response<pb::ProveSequenceResponse>, Status> {
        let mut answer = self.server.clone().prove_sequence(request.into_inner()).await?.into_inner();
        (self.sequence)(&mut answer);
        Ok(Response::new(answer))
    }

    type StreamEntriesStream = Pin<Box<dyn Stream<Item = Result<pb::StreamEntriesResponse, Status>> + Send>>;

    async fn stream_entries(
        &self,
        request: Request<pb::StreamEntriesRequest>,
    ) -> Result<Response<Self::StreamEntriesStream>, Status> {
        self.called("entries")?;
        let request = request.into_inner();
        let first = request.from_position;
        let mut stream = self.server.clone().stream_entries(request).await?.into_inner();
        let mut entries: Vec<Vec<u8>> = Vec::new();
        while let Some(message) = stream.message().await? {
            entries.extend(message.entries.iter().map(|entry| entry.to_vec()));
        }
        (self.entries)(first, &mut entries);
        let mut next = first;
        let mut messages = Vec::new();
        for some in entries.chunks(11) {
            let entries = some.iter().cloned().map(Bytes::from).collect();
            messages.push(Ok(pb::StreamEntriesResponse { first_position: next, entries }));
            next += some.len() as u64;
        }
        messages.extend(self.called("end of entries").err().map(Err));
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }
}

#[tonic::async_trait]
impl AppendService for Between {
    async fn append(&self, _: Request<pb::AppendRequest>) -> Result<Response<pb::AppendResponse>, Status> {
        Err(Status::unimplemented("nobody asks for this here"))
    }

    async fn append_batch(
        &self,
        request: Request<pb::AppendBatchRequest>,
    ) -> Result<Response<pb::AppendBatchResponse>, Status> {
        let Some(mut server) = self.append.clone() else { return Err(Status::unimplemented("")) };
        let mut answer = server.append_batch(request.into_inner()).await?.into_inner();
        for result in &mut answer.results {
            if let Some(pb::append_result::Result::Accepted(accepted)) = &mut result.result {
                (self.accepted)(accepted);
            }
        }
        Ok(Response::new(answer))
    }

    type AppendStreamStream = Pin<Box<dyn Stream<Item = Result<pb::AppendStreamResponse, Status>> + Send>>;

    async fn append_stream(
        &self,
        _: Request<Streaming<pb::AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        Err(Status::unimplemented("nobody asks for this here"))
    }
}
