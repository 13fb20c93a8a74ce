use std::collections::BTreeSet;

use super::bugs::{BUGS, Bug, Change};
use super::copy::planted;
use super::{Outcome, Problem, chosen};
use crate::workspace;

fn bug(name: &'static str, anchor: &'static str, change: Change) -> Bug {
    Bug { name, file: "x.rs", anchor, change, tests: &["tests"] }
}

#[test]
fn every_bug_has_its_place_in_the_code_and_a_name_of_its_own() {
    let names: BTreeSet<_> = BUGS.iter().map(|bug| bug.name).collect();
    assert_eq!(names.len(), BUGS.len());
    assert!(BUGS.len() >= 10);
    let files: BTreeSet<_> = BUGS.iter().map(|bug| bug.file).collect();
    for file in files {
        let text = std::fs::read_to_string(workspace().join(file)).unwrap();
        let inside: Vec<&Bug> = BUGS.iter().filter(|bug| bug.file == file).collect();
        match planted(&text, &inside) {
            Ok(changed) => assert_eq!(changed.matches("crate::planted(").count(), inside.len(), "{file}"),
            Err(problem) => panic!("{problem}"),
        }
    }
}

#[test]
fn a_bug_is_built_in_beside_what_it_changes() {
    let (says, left_out) = (bug("a", "x == y", Change::Says("true")), bug("b", "check()?;", Change::LeftOut));
    let reads = bug("c", "&& z", Change::Reads("&& (z || PLANTED)"));
    let changed = planted("check()?; if x == y && z { 1 }", &[&says, &reads, &left_out]).unwrap();
    assert_eq!(
        changed,
        "if !crate::planted(\"b\") { check()?; } \
         if (if crate::planted(\"a\") { true } else { x == y }) && (z || crate::planted(\"c\")) { 1 }"
    );
}

#[test]
fn a_bug_without_its_one_place_is_refused() {
    let lost = planted("x != y", &[&bug("a", "x == y", Change::LeftOut)]).unwrap_err();
    assert!(matches!(lost, Problem::Anchor { bug: "a", found: 0, .. }), "{lost}");
    let twice = planted("x == y || x == y", &[&bug("a", "x == y", Change::LeftOut)]).unwrap_err();
    assert!(matches!(twice, Problem::Anchor { found: 2, .. }), "{twice}");
    let (one, other) = (bug("a", "x == y", Change::LeftOut), bug("b", "y && z", Change::LeftOut));
    assert!(matches!(planted("x == y && z", &[&one, &other]), Err(Problem::Overlap { bug: "b", .. })));
}

#[test]
fn only_a_test_that_fails_catches_a_bug() {
    let printed = "running 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed\n";
    assert_eq!(Outcome::read(false, printed), Outcome::Caught(vec!["a::c".into()]));
    let survived = "running 2 tests\ntest a::b ... ok\ntest a::c ... ok\n\ntest result: ok. 2 passed\n";
    assert_eq!(Outcome::read(true, survived), Outcome::Passed(2));
    // One that was killed, or printed nothing.
    assert_eq!(Outcome::read(false, "running 2 tests\ntest a::b ... ok\n"), Outcome::Died);
    assert_eq!(Outcome::read(false, ""), Outcome::Died);
}

#[test]
fn bugs_are_chosen_by_their_names() {
    assert_eq!(chosen(&[]).unwrap().len(), BUGS.len());
    let one = chosen(&[BUGS[2].name.to_owned()]).unwrap();
    assert_eq!(one.iter().map(|bug| bug.name).collect::<Vec<_>>(), [BUGS[2].name]);
    assert!(matches!(chosen(&["nonsense".to_owned()]), Err(Problem::Unknown(_))));
}
