use std::collections::HashSet;
use std::path::Path;

use serde_json::json;

use super::promises::{Bound, PROMISES};
use super::runs::{RUNS, Scale};
use super::table::{BEGIN, END, Line, fill, regime};
use super::{Options, Round};

fn line(name: &'static str, median: f64) -> Line {
    Line {
        name,
        what: "what",
        bound: Bound::AtLeast(0.85),
        median: Some(median),
        range: Some((median, median)),
        rounds: 5,
        kept: Some(median >= 0.85),
    }
}

fn page() -> String {
    format!("# Title\n{BEGIN}\n{END}\nEnd.\n")
}

const ORDER: &[&str] = &["a", "b"];

#[test]
fn a_table_that_is_filled_twice_is_the_same() {
    let once = fill(&page(), ORDER, &[line("a", 0.9), line("b", 0.8)], "Disk.").unwrap();
    assert_eq!(fill(&once, ORDER, &[line("a", 0.9), line("b", 0.8)], "Disk.").unwrap(), once);
    assert!(once.starts_with("# Title\n") && once.ends_with("\nEnd.\n"), "{once}");
    assert!(once.contains("| a | what | >= 0.85 | 0.90 | 0.90 to 0.90 | 5 | yes |\n"), "{once}");
    assert!(once.contains("| b | what | >= 0.85 | 0.80 | 0.80 to 0.80 | 5 | **no** |\n"), "{once}");
}

#[test]
fn what_was_not_measured_now_keeps_its_line_and_its_place() {
    let once = fill(&page(), ORDER, &[line("a", 0.9), line("b", 0.8)], "Disk.").unwrap();
    let twice = fill(&once, ORDER, &[line("a", 0.7)], "Disk.").unwrap();
    let (a, b) = (twice.find("| a |").unwrap(), twice.find("| b | what | >= 0.85 | 0.80").unwrap());
    assert!(a < b && twice.contains("0.70"), "{twice}");
    assert!(!twice.contains("0.90"), "{twice}");
}

#[test]
fn a_page_without_its_markers_is_an_error_and_not_overwritten() {
    let twice = format!("{0}{0}", page());
    for wrong in ["no markers", BEGIN, END, &format!("{END}{BEGIN}"), &twice] {
        assert!(fill(wrong, ORDER, &[], "").is_err(), "{wrong}");
    }
}

#[test]
fn the_page_of_the_product_has_a_place_for_the_table() {
    let page = super::super::workspace().join("docs").join("performance.md");
    let text = std::fs::read_to_string(page).unwrap();
    assert!(fill(&text, ORDER, &[line("a", 0.9)], "").is_ok());
}

#[test]
fn every_promise_has_a_name_of_its_own_and_takes_runs_that_exist() {
    let mut names = HashSet::new();
    for promise in PROMISES {
        assert!(names.insert(promise.name), "{}", promise.name);
        for run in promise.runs {
            assert!(RUNS.iter().any(|known| known.name == *run), "{run} of {}", promise.name);
        }
    }
}

fn round(unary: f64) -> Round {
    let said = json!({"events_per_s": unary, "floor": {"raw_events_per_s": 100.0, "fdatasync_p50_us": 64.0}});
    Round::from([("unary-1", said)])
}

#[test]
fn a_promise_is_judged_by_the_median_of_its_rounds() {
    let unary = PROMISES.iter().find(|promise| promise.name == "unary-1").unwrap();
    let kept = unary.line(&[round(99.0), round(90.0), round(10.0)]);
    assert_eq!((kept.median, kept.kept, kept.rounds), (Some(0.9), Some(true), 3));
    let broken = unary.line(&[round(99.0), round(80.0), round(10.0)]);
    assert_eq!((broken.median, broken.kept), (Some(0.8), Some(false)));
    let unknown = unary.line(&[Round::new()]);
    assert_eq!((unknown.median, unknown.kept), (None, None), "what failed is not kept");
}

#[test]
fn an_upper_bound_is_kept_from_below() {
    let restart = PROMISES.iter().find(|promise| promise.name == "restart").unwrap();
    let took = |ms: f64| restart.line(&[Round::from([("restart", json!({"after_kill_ms": ms}))])]).kept;
    assert_eq!((took(999.0), took(1_001.0)), (Some(true), Some(false)));
}

#[test]
fn half_of_the_peak_hangs_on_the_peak_of_the_same_round() {
    let half = RUNS.iter().find(|run| run.name == "half-peak").unwrap();
    let words = (half.arguments)(Scale::Whole, Path::new("d"), &round(40_000.0)).unwrap();
    assert_eq!(words, ["append", "--rate", "20000", "--duration", "5s"]);
    assert!((half.arguments)(Scale::Whole, Path::new("d"), &Round::new()).is_err());
}

#[test]
fn the_disk_of_every_round_is_noted() {
    let noted = regime(&[round(1.0), Round::new()]);
    assert!(noted.ends_with("p50 in us: 64, not known."), "{noted}");
}

#[test]
fn rounds_that_did_not_ask_the_disk_leave_what_is_known_of_it() {
    let page = format!("{BEGIN}\n{END}\n");
    let known = fill(&page, &[], &[], &regime(&[round(1.0), Round::new()])).unwrap();
    let kept = fill(&known, &[], &[], &regime(&[Round::new()])).unwrap();
    assert!(kept == known && kept.contains("p50 in us: 64, not known."), "{kept}");
    let unknown = fill(&page, &[], &[], &regime(&[Round::new()])).unwrap();
    assert!(unknown.contains("p50 in us: not known."), "{unknown}");
}

#[test]
fn what_takes_long_is_measured_only_when_asked_for() {
    let measured = |arguments: &[&str]| -> Vec<&str> {
        Options::parse(arguments).unwrap().promises().into_iter().map(|promise| promise.name).collect()
    };
    assert!(!measured(&[]).contains(&"memory-10m") && measured(&["--long"]).contains(&"memory-10m"));
    assert_eq!(measured(&["--only", "tail,memory-10m"]), ["tail", "memory-10m"]);
}

#[test]
fn options_that_make_no_sense_are_a_usage_error() {
    for wrong in [&["--rounds", "0"][..], &["--rounds"], &["--only", "nonsense"], &["--fast"], &["--program"]]
    {
        assert_eq!(Options::parse(wrong), None, "{wrong:?}");
    }
    let options = Options::parse(&["--rounds", "3", "--quick", "--program", "p"]).unwrap();
    assert_eq!((options.rounds, options.quick, options.program), (3, true, Some("p".into())));
}
