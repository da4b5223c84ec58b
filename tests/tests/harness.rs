//! What the tests and benches count and draw with: a harness that counts wrong would pass what is broken.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use diffyne_tests::crowd::record::Record;
use diffyne_tests::crowd::{Milliseconds, Status};
use diffyne_tests::faults;
use diffyne_tests::faults::fleet::{Item, count};
use diffyne_tests::ports::{self, free_ports};
use diffyne_tests::report::plot::{BARS_WIDTH, draw, figure};
use diffyne_tests::report::{Bar, Chart, Report};

#[test]
fn what_is_missing_is_lost_unless_it_was_told_and_what_comes_again_is_doubled() {
    let mut record = Record::default();
    for number in [0, 1, 3] {
        record.hear(number);
    }
    record.inform();
    for number in [6, 6, 4, 7] {
        record.hear(number);
    }
    let found = record.figures(10);
    assert_eq!((found.delivered, found.lost, found.reported, found.doubled), (5, 1 + 2, 2, 2));
}

#[test]
fn a_crowd_is_complete_when_all_of_its_processes_are() {
    let at = |complete_at_us| Status { complete_at_us, ..Status::default() };
    assert_eq!(at(Some(7)).and(at(None)).complete_at_us, None);
    assert_eq!(at(None).and(at(Some(7))).complete_at_us, None);
    assert_eq!(at(Some(9)).and(at(Some(7))).complete_at_us, Some(9));
}

#[test]
fn quantiles_of_counted_milliseconds() {
    let (mut first, mut second) = (Milliseconds::default(), Milliseconds::default());
    for ms in 0..50 {
        first.add(Duration::from_millis(ms));
        second.add(Duration::from_millis(50 + ms));
    }
    first.merge(&second);
    assert_eq!((first.count(), first.quantile(0.5)), (100, Duration::from_millis(51)));
    assert_eq!(first.quantile(0.99), Duration::from_millis(100));
    assert_eq!(first.quantile(1.0), Duration::from_millis(100));
    assert_eq!(Milliseconds::default().quantile(0.99), Duration::ZERO);
}

#[test]
fn ports_are_given_once_and_below_those_of_the_system() -> anyhow::Result<()> {
    let ports = free_ports::<250>()?;
    assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 250);
    let system = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let lowest: u16 = system.split_whitespace().next().context("no range")?.parse()?;
    assert!(ports.iter().all(|port| (ports::FIRST..lowest - ports::SECOND).contains(port)), "{ports:?}");
    Ok(())
}

#[test]
fn in_a_log_what_is_missing_is_lost_unless_it_was_told_and_what_comes_again_is_doubled() {
    let mut report = faults::Report::default();
    let heard = |number| Item::Heard(number);
    count(&[heard(0), heard(1), heard(3), Item::Gap, heard(6), heard(6), heard(4), heard(7)], 10, &mut report);
    assert_eq!((report.delivered, report.lost, report.reported, report.doubled), (5, 1 + 2, 2, 2));
}

fn bar(label: &str, value: f64, is_ours: bool) -> Bar {
    Bar { label: label.to_owned(), value, is_ours }
}

#[test]
fn bars_are_in_proportion_and_texts_are_escaped() {
    let chart = Chart {
        name: "x".to_owned(),
        title: "Calls & <answers>".to_owned(),
        unit: "calls/s".to_owned(),
        bars: vec![bar("bare \"echo\"", 50_000.0, false), bar("ours", 25_000.0, true), bar("none", 0.0, false)],
    };
    let svg = draw(&chart, "a note");
    for width in [BARS_WIDTH, BARS_WIDTH / 2.0, 1.0] {
        assert!(svg.contains(&format!("width=\"{width}\"")), "{width}: {svg}");
    }
    assert!(svg.contains("Calls &amp; &lt;answers&gt;") && !svg.contains("<answers>"), "{svg}");
    assert!(svg.contains("50\u{202f}000") && svg.contains("prefers-color-scheme: dark"), "{svg}");
}

#[test]
fn figures_have_three_digits_that_count() {
    for (value, text) in [(1_234_567.0, "1\u{202f}234\u{202f}567"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23")] {
        assert_eq!(figure(value), text);
    }
}

#[test]
fn a_saved_report_can_be_read_and_drawn_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut report = Report::begin().unwrap();
    let chart = ("rate", "Calls", "calls/s, more is better");
    report.add(chart, "bare echo", 10.0, false);
    report.add(chart, "gateway", 20.0, true);
    report.save(directory.path(), "all").unwrap();
    let read = |file: &str| std::fs::read_to_string(directory.path().join(file)).unwrap();
    let again: Report = serde_json::from_str(&read("all.json")).unwrap();
    assert_eq!(again, report);
    assert_eq!((again.charts.len(), again.charts[0].bars.len()), (1, 2));
    let drawn = read("rate.svg");
    std::fs::remove_file(directory.path().join("rate.svg")).unwrap();
    again.draw(directory.path()).unwrap();
    assert_eq!(read("rate.svg"), drawn);
    assert!(drawn.contains(&report.date) && drawn.contains(&report.commit));
}
