//! Tables and lines for a person.

/// Rows under headers, each column as wide as its widest cell.
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let columns = headers.len();
    let mut widths: Vec<usize> = headers.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.into_iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at + 1 == columns { cell.to_owned() } else { format!("{cell:width$}", width = *width) }
        });
        format!("  {}\n", padded.collect::<Vec<_>>().join("  "))
    };
    let mut text = line(headers.to_vec());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}
