//! `health`: does the server take appends and answer questions? The container's health check.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Global;
use super::connect::Server;
use super::exit::{Exit, Failure};
use super::print::{Printer, Shown};

/// The services whose health is told apart; the empty name stands for the server as a whole.
const SERVICES: &[(&str, &str)] =
    &[("", "server"), ("tokenledger.v1.AppendService", "append"), ("tokenledger.v1.QueryService", "query")];

/// Asks the server whether it serves; exit code 0: it does
#[derive(Debug, Args)]
pub struct Health {
    /// How long to wait for its answer
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = super::moment::duration)]
    timeout: Duration,
}

/// One service's health.
#[derive(Debug, Serialize)]
struct ServiceHealth {
    service: &'static str,
    serving: bool,
}

impl Shown for ServiceHealth {
    const FIELDS: &'static [&'static str] = &["service", "serving"];
    const COLUMNS: &'static [&'static str] = &["service", "health"];
    fn row(&self) -> Vec<String> {
        let health = if self.serving { "serving" } else { "not serving" };
        vec![self.service.to_owned(), health.to_owned()]
    }
}

impl Health {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn run(&self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let slow = |_| Failure::Failed(format!("the server at {} did not answer in time", global.server));
        let health = tokio::time::timeout(self.timeout, ask(global)).await.map_err(slow)??;
        let mut list = printer.list();
        for service in &health {
            list.push(service)?;
        }
        list.end(|_| String::new())?;
        let serving = health.iter().all(|service| service.serving);
        Ok(if serving { Exit::Done } else { Exit::Failed })
    }
}

async fn ask(global: &Global) -> Result<Vec<ServiceHealth>, Failure> {
    let server = Server::reach(global).await?;
    let mut client = HealthClient::new(server.channel());
    let mut all = Vec::new();
    for (name, service) in SERVICES {
        let request = Request::new(HealthCheckRequest { service: (*name).to_owned() });
        match client.check(request).await {
            Ok(answer) => {
                let serving = answer.into_inner().status() == ServingStatus::Serving;
                all.push(ServiceHealth { service, serving });
            }
            // A server that does not tell its services apart is judged as a whole.
            Err(status) if status.code() == Code::NotFound && !name.is_empty() => {}
            Err(status) => return Err(server.failure(status)),
        }
    }
    Ok(all)
}
