//! The look of tables: columns and nothing around them, so that they can be read, cut and grepped.

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

/// Which way the cells of a column lean.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Text(&'static str),
    Number(&'static str),
}

/// An empty table.
pub(super) fn new(columns: &[Column]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|column| match column {
        Column::Text(name) | Column::Number(name) => Cell::new(name).add_attribute(Attribute::Dim),
    }));
    for (shown, column) in table.column_iter_mut().zip(columns) {
        shown.set_padding((0, 2));
        if let Column::Number(_) = column {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The table as text, without blanks at the ends of lines.
pub(super) fn render(table: &Table) -> String {
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n") + "\n"
}

/// A cell, as it is.
pub(super) fn cell(text: impl ToString) -> Cell {
    Cell::new(text)
}

/// A cell that is to be seen first. The words say so too, for those who see no colours.
pub(super) fn alarm(text: impl ToString) -> Cell {
    Cell::new(text)
        .fg(Color::Red)
        .add_attribute(Attribute::Bold)
}
