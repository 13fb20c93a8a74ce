use ledger::disk::RealDisk;
use ledger::verify::verify;
use tokenledger::wire::pb;
use tonic::Code;

use crate::harness::{Server, created, event};

fn in_ledger(ledger: &str, account: &str) -> pb::AppendRequest {
    let proposal =
        Some(pb::Proposal { event: Some(event(account, created(account))), expected_version: None });
    pb::AppendRequest { ledger: ledger.into(), proposal, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_answers_from_what_is_sound_and_the_others_go_on() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    for n in 0..20 {
        clients.record(event(&format!("bot-{n}"), created(&format!("bot-{n}")))).await;
    }
    clients.append.clone().append(in_ledger("other", "bot-1")).await.unwrap();
    server.stop().await;
    let path = server.data().join("ledgers/default/log/00000000000000000000.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let written = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[written / 2 + 256] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = verify(&RealDisk, &server.data(), &()).unwrap();
    let damaged = report.ledgers.iter().find(|l| l.ledger == "default").unwrap().damage[0].position.0;
    assert!((5..18).contains(&damaged), "{damaged}");

    server.resume().await;
    let clients = server.clients().await;
    assert_eq!(clients.account("bot-1", None).await.unwrap().handle, "bot-1");
    let hit = clients.account(&format!("bot-{}", damaged - 1), None).await.unwrap_err();
    assert_eq!(hit.code(), Code::DataLoss, "what the damage hit is not guessed: {hit}");
    let refused = clients.try_record(event("bot-99", created("bot-99"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("damage"), "{refused}");
    let described =
        clients.admin.clone().describe_ledger(pb::DescribeLedgerRequest::default()).await.unwrap();
    assert_eq!(described.into_inner().damage[0].position, damaged);
    clients.append.clone().append(in_ledger("other", "bot-2")).await.unwrap();
    server.stop().await;

    // Without its index, which cannot be built beyond the damage, it answers as of what stands before.
    std::fs::remove_dir_all(server.data().join("projections")).unwrap();
    server.resume().await;
    let clients = server.clients().await;
    assert_eq!(clients.account("bot-1", None).await.unwrap().position, damaged - 1);
    server.stop().await;
}
