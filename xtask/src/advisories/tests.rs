use super::*;

const FETCH: &str = "--locked fetch db index";
const CHECK: &str = "--locked --offline check advisories";

/// Judges with a cargo-deny that answers as `answers` says, and tells what it was asked.
fn judged(network: Network, answers: &[(&str, bool)]) -> (Result<(), Problem>, Vec<String>) {
    let mut asked = Vec::new();
    let outcome = judge(network, |arguments| {
        let call = arguments.join(" ");
        let answer = answers.iter().find(|(expected, _)| *expected == call).map(|(_, answer)| *answer);
        asked.push(call);
        answer.ok_or_else(|| io::Error::other("an unexpected call"))
    });
    (outcome, asked)
}

#[test]
fn the_database_is_fetched_before_it_is_judged_by() {
    let (outcome, asked) = judged(Network::Fetch, &[(FETCH, true), (CHECK, true)]);
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(asked, [FETCH, CHECK]);
}

#[test]
fn a_database_that_cannot_be_fetched_is_a_failure_and_nothing_is_judged() {
    let (outcome, asked) = judged(Network::Fetch, &[(FETCH, false), (CHECK, true)]);
    assert!(matches!(outcome, Err(Problem::NotFetched)), "{outcome:?}");
    assert_eq!(asked, [FETCH]);
}

#[test]
fn offline_nothing_is_fetched() {
    let (outcome, asked) = judged(Network::Offline, &[(CHECK, true)]);
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(asked, [CHECK]);
}

#[test]
fn an_advisory_that_applies_is_a_failure() {
    let (outcome, _) = judged(Network::Offline, &[(CHECK, false)]);
    assert!(matches!(outcome, Err(Problem::NotPassed)), "{outcome:?}");
}

#[test]
fn a_cargo_deny_that_cannot_be_started_is_a_failure() {
    let (outcome, _) = judged(Network::Offline, &[]);
    assert!(matches!(outcome, Err(Problem::Io(_))), "{outcome:?}");
}

#[test]
fn the_cargo_deny_that_ci_installs_comes_before_any_other() {
    let found = candidates(Path::new("/ledger"), OsStr::new("/a:/b"));
    let expected = ["/ledger/target/tools/bin/cargo-deny", "/a/cargo-deny", "/b/cargo-deny"];
    assert_eq!(found, expected.map(PathBuf::from));
}

#[test]
fn another_release_of_cargo_deny_is_not_asked() {
    assert!(is_expected(format!("cargo-deny {CARGO_DENY_VERSION}\n").as_bytes()));
    assert!(!is_expected(b"cargo-deny 0.19.0\n"));
    assert!(!is_expected(format!("cargo-deny {CARGO_DENY_VERSION}1\n").as_bytes()));
    assert!(!is_expected(b""));
}

#[test]
fn ci_installs_the_release_that_is_asked_for_here() {
    let ci = include_str!("../../../.ci/run");
    assert!(ci.lines().any(|line| line == format!("readonly CARGO_DENY_VERSION={CARGO_DENY_VERSION}")));
}

#[test]
fn a_missing_cargo_deny_is_answered_with_the_command_that_installs_it() {
    let message = Problem::Missing.to_string();
    assert!(
        message.contains(&format!("cargo install --locked cargo-deny --version {CARGO_DENY_VERSION}")),
        "{message}"
    );
}
