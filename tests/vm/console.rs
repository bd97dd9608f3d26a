//! What a machine's console must never show.

use crate::lines::Lines;

/// How many lines tell a person what happened last.
const TAIL: usize = 40;

/// The lines that no healthy boot prints.
pub fn alarms(console: &Lines) -> Vec<String> {
    console.all().into_iter().map(|l| l.text).filter(|text| is_alarm(text)).collect()
}

/// The last lines, as they were.
pub fn tail(console: &Lines) -> String {
    let lines = console.all();
    let from = lines.len().saturating_sub(TAIL);
    lines[from..].iter().map(|l| format!("    {}\n", l.text)).collect()
}

/// Whether no healthy boot prints this line.
pub fn is_alarm(line: &str) -> bool {
    let verity = line.find("verity").is_some_and(|at| line[at..].contains("corrupt"));
    verity || ["panic", "BUG:", "Oops", "ordering cycle"].iter().any(|alarm| line.contains(alarm))
}
