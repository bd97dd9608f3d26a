//! The table of the soaks, which is all that a soak goes on from.

use crate::soak_table::{Document, Table};

const COMMITTED: &str = include_str!("../../docs/soak.md");

fn row(cells: &str) -> Vec<String> {
    cells.split(" | ").map(str::to_owned).collect()
}

#[test]
fn what_earlier_soaks_have_seen_is_read_back_and_added_to() {
    let mut document = Document::read(COMMITTED).unwrap();
    assert_eq!(document.text(), COMMITTED);
    let rows = [
        (Table::Cuts, "founding | a test's disk | 1 | 1 | 0 | 1 | 0 | 0.4 | -"),
        (Table::Cuts, "founding | a test's disk | 1 | 0 | 1 | 0 | 1 | - | 20.5"),
        (Table::Cuts, "founding | a test's disk | 1 | 1 | 0 | 1 | 0 | 3.3 | -"),
        (Table::Chaos, "a test | minimal | 1 | 0 | 7 | 0 | 1 | all as before; at last | 3.2 | 64.3"),
        (Table::Chaos, "a test | minimal | 1 | 1 | 0 | 0 | 0 | - | - | -"),
        (Table::Chaos, "a test | minimal | 1 | 0 | 8 | 3 | 2 | at last; founded anew | 0.6 | 98.0"),
        (Table::Searches, "a test | 5 | 0.1 | not all"),
        (Table::Searches, "a test | 9 | 0.2 | all"),
    ];
    for (table, cells) in rows {
        document.add(table, row(cells)).unwrap();
    }
    document.add_failure("round 1: a test", "it fails\nin two lines");
    let text = document.text();
    let sums = [
        "\n| founding | a test's disk | 3 | 2 | 1 | 2 | 1 | 3.3 | 20.5 |\n",
        "\n| a test | minimal | 3 | 1 | 15 | 3 | 2 | all as before; at last; founded anew | 3.2 | 98.0 |\n",
        "\n| a test | 9 | 0.2 | all |\n",
        "\n- round 1: a test\n\n    it fails\n    in two lines\n",
    ];
    for line in sums {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let kept = COMMITTED.lines().filter(|line| line.starts_with("| ") && !text.contains(*line));
    assert_eq!(kept.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(Document::read(&text).unwrap(), document);
    assert_eq!(document.tried("a test", "minimal"), 3);
    assert_eq!(document.tried("a test", "cloud-init"), 0);
}

#[test]
fn a_line_that_the_next_soak_would_lose_is_refused() {
    let sums = COMMITTED.lines().find(|line| line.contains(" trials in ")).unwrap();
    let of_a_table = COMMITTED.lines().find(|line| line.starts_with("| founding | data disk | ")).unwrap();
    let header = COMMITTED.lines().find(|line| line.starts_with("| while | ")).unwrap();
    let spoilt = [
        (sums, "Many trials.", "no line has the sums"),
        (sums, "Many trials in 3 rounds.", "the sums are not a soak's: Many trials in 3 rounds."),
        (of_a_table, "| founding | data disk | 77 |", "this row is not a soak's: | founding | data disk | 77 |"),
        (header, "| what |", "no soak writes a table that begins with | what |"),
        ("## Failures", "## What failed", "nothing is said of failures at its end"),
    ];
    for (from, to, expected) in spoilt {
        let error = Document::read(&COMMITTED.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
