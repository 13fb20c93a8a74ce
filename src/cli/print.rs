//! What a command prints: the same things as a table for people, as JSON or CSV for programs.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::marker::PhantomData;

use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::Global;
use super::exit::{Failure, say};

/// In which form a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON value; a list is an array.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a line of headings.
    Csv,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A thing that can be printed. Its JSON form is a promise to other people's scripts: it may grow, never change.
pub trait Shown: Serialize {
    /// The fields of the JSON form that are columns of the CSV form, in order.
    const FIELDS: &'static [&'static str];
    /// The headings of the table, the most important first.
    const COLUMNS: &'static [&'static str];

    /// One row of the table.
    fn row(&self) -> Vec<String>;

    /// The thing alone, where a row is too little.
    fn page(&self) -> Vec<Section> {
        vec![Section { title: String::new(), columns: Self::COLUMNS, rows: vec![self.row()] }]
    }
}

/// A part of a page: a title and a table. Without columns, the title alone; without rows, nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Stands above; may be empty.
    pub title: String,
    /// The headings; empty: the rows are names and values.
    pub columns: &'static [&'static str],
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Section {
    /// A line of text.
    #[must_use]
    pub fn line(text: impl Into<String>) -> Self {
        Self { title: text.into(), columns: &[], rows: Vec::new() }
    }

    /// Names and values; those without a value are left out.
    #[must_use]
    pub fn facts(facts: &[(&str, String)]) -> Self {
        let told = facts.iter().filter(|(_, value)| !value.is_empty());
        let rows = told.map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
        Self { title: String::new(), columns: &[], rows }
    }
}

/// Where and how a command prints.
pub struct Printer {
    format: Format,
    color: bool,
    out: Box<dyn Write + Send>,
}

impl Printer {
    /// Prints on the standard output, as the flags say.
    #[must_use]
    pub fn stdout(global: &Global) -> Self {
        let auto = || io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let color = match global.color {
            ColorWhen::Auto => auto(),
            ColorWhen::Always => true,
            ColorWhen::Never => false,
        };
        Self { format: global.output, color, out: Box::new(BufWriter::new(io::stdout())) }
    }

    /// Prints elsewhere, without colours.
    #[must_use]
    pub fn to(format: Format, out: Box<dyn Write + Send>) -> Self {
        Self { format, color: false, out }
    }

    /// Whether a person reads it.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// Prints one thing.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn one<T: Shown>(&mut self, thing: &T) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.sections(&thing.page())?,
            Format::Csv => {
                let mut list = self.list::<T>();
                list.push(thing)?;
                list.end(|_| String::new())?;
            }
            Format::Json | Format::Ndjson => self.json(thing)?,
        }
        self.flush()
    }

    /// Begins a list. Nothing is printed before its first thing or its end, so that a question that fails prints
    /// nothing.
    pub fn list<T: Shown>(&mut self) -> List<'_, T> {
        List { printer: self, rows: Vec::new(), begun: false, count: 0, things: PhantomData }
    }

    /// Tells a person something on standard error, such as the next step; says nothing to a program.
    pub fn hint(&self, line: &str) {
        if self.is_for_people() {
            say(line);
        }
    }

    /// Prints a line of plain text, whatever the format.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}")?;
        self.flush()
    }

    /// Prints a JSON value on a line, whatever the format.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn json<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Makes what was printed visible.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    fn record(&mut self, fields: Vec<String>) -> Result<(), Failure> {
        let mut record = csv::Writer::from_writer(Vec::new());
        record.write_record(fields)?;
        let bytes = record.into_inner().map_err(|e| Failure::because(e.error()))?;
        Ok(self.out.write_all(&bytes)?)
    }

    fn sections(&mut self, sections: &[Section]) -> Result<(), Failure> {
        for section in sections {
            if !section.title.is_empty() {
                writeln!(self.out, "{}", section.title)?;
            }
            if !section.rows.is_empty() {
                let table = self.table(section.columns, &section.rows);
                self.lines(&table)?;
            }
        }
        Ok(())
    }

    /// Without the blanks that fill up the last column.
    fn lines(&mut self, table: &Table) -> Result<(), Failure> {
        for line in table.lines() {
            writeln!(self.out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn table(&self, columns: &[&str], rows: &[Vec<String>]) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        if !columns.is_empty() {
            table.set_header(columns.iter().map(|name| name.to_uppercase()));
        }
        for row in rows {
            table.add_row(row.iter().map(|text| tinted(text)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
    }
}

/// The words that decide what a reader does next stand out.
fn tinted(text: &str) -> Cell {
    let cell = Cell::new(text);
    match text {
        "live" | "active" | "restored" | "ok" | "serving" => cell.fg(Color::Green),
        "deleted" | "revoked" | "refused" | "damaged" | "not serving" => cell.fg(Color::Red),
        "disabled" | "expired" | "unknown" | "already_live" => cell.fg(Color::Yellow),
        _ => cell,
    }
}

/// A list that is being printed: rows appear as they come, except in a table, whose columns must be measured first.
pub struct List<'a, T> {
    printer: &'a mut Printer,
    rows: Vec<Vec<String>>,
    begun: bool,
    count: u64,
    things: PhantomData<fn(&T)>,
}

impl<T: Shown> List<'_, T> {
    /// Prints one more.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn push(&mut self, thing: &T) -> Result<(), Failure> {
        self.begin()?;
        self.count += 1;
        match self.printer.format {
            Format::Table => self.rows.push(thing.row()),
            Format::Ndjson => self.printer.json(thing)?,
            Format::Csv => self.printer.record(csv_fields(thing)?)?,
            Format::Json => {
                self.printer.out.write_all(if self.count == 1 { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut self.printer.out, thing)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        match self.printer.format {
            Format::Json => self.printer.out.write_all(b"[")?,
            Format::Csv => {
                self.printer.record(T::FIELDS.iter().map(|field| (*field).to_owned()).collect())?
            }
            Format::Table | Format::Ndjson => {}
        }
        Ok(())
    }

    /// Shows what was printed so far, for lists that grow while somebody waits.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if !self.rows.is_empty() {
            let rows = std::mem::take(&mut self.rows);
            let table = self.printer.table(&[], &rows);
            self.printer.lines(&table)?;
        }
        self.printer.flush()
    }

    /// Ends the list. People are told what `count` makes of the number of things, unless that is nothing.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn end(mut self, count: impl Fn(u64) -> String) -> Result<u64, Failure> {
        self.begin()?;
        let Self { printer, rows, count: things, .. } = self;
        match printer.format {
            Format::Json => printer.out.write_all(if things == 0 { b"]\n" } else { b"\n]\n" })?,
            Format::Table => {
                if !rows.is_empty() {
                    let table = printer.table(T::COLUMNS, &rows);
                    printer.lines(&table)?;
                }
                let told = count(things);
                if !told.is_empty() {
                    writeln!(printer.out, "{told}")?;
                }
            }
            Format::Ndjson | Format::Csv => {}
        }
        printer.flush()?;
        Ok(things)
    }
}

/// Texts as they are, nothing for null, the rest as JSON.
fn csv_fields<T: Shown>(thing: &T) -> Result<Vec<String>, Failure> {
    let value = serde_json::to_value(thing)?;
    let field = |name: &&str| match value.get(*name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    Ok(T::FIELDS.iter().map(field).collect())
}

/// `1 deletion`, `2 deletions`.
#[must_use]
pub fn counted(count: u64, one: &str) -> String {
    match (count, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {one}s"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a command prints in a format.
    pub(crate) fn printed(format: Format, print: impl FnOnce(&mut Printer)) -> String {
        let paper = Paper::default();
        print(&mut Printer::to(format, Box::new(paper.clone())));
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// A thing alone, as JSON.
    pub(crate) fn check_json<T: Shown>(thing: &T, expected: &Expect) {
        expected.assert_eq(&printed(Format::Json, |p| p.one(thing).unwrap()));
    }

    /// A thing alone, as people see it.
    pub(crate) fn check_page<T: Shown>(thing: &T, expected: &Expect) {
        expected.assert_eq(&printed(Format::Table, |p| p.one(thing).unwrap()));
    }

    #[derive(Serialize)]
    struct Bird {
        name: &'static str,
        eggs: u32,
        nest: Option<&'static str>,
        songs: Vec<&'static str>,
    }

    impl Shown for Bird {
        const FIELDS: &'static [&'static str] = &["name", "eggs", "nest", "songs"];
        const COLUMNS: &'static [&'static str] = &["name", "eggs"];
        fn row(&self) -> Vec<String> {
            vec![self.name.to_owned(), self.eggs.to_string()]
        }
    }

    fn birds(format: Format, count: usize) -> String {
        let wren = Bird { name: "wren", eggs: 7, nest: None, songs: vec!["a", "b"] };
        let tit = Bird { name: "great, tit", eggs: 12, nest: Some("box"), songs: vec![] };
        printed(format, |printer| {
            let mut list = printer.list();
            [&wren, &tit].into_iter().take(count).for_each(|bird| list.push(bird).unwrap());
            list.end(|n| counted(n, "bird")).unwrap();
        })
    }

    #[test]
    fn a_list_is_one_array_in_json_and_one_object_a_line_in_ndjson() {
        expect![[r#"
            [
            {"name":"wren","eggs":7,"nest":null,"songs":["a","b"]},
            {"name":"great, tit","eggs":12,"nest":"box","songs":[]}
            ]
        "#]]
        .assert_eq(&birds(Format::Json, 2));
        expect![[r#"
            {"name":"wren","eggs":7,"nest":null,"songs":["a","b"]}
            {"name":"great, tit","eggs":12,"nest":"box","songs":[]}
        "#]]
        .assert_eq(&birds(Format::Ndjson, 2));
    }

    #[test]
    fn an_empty_list_is_an_empty_array_and_headings_and_no_table() {
        assert_eq!(birds(Format::Json, 0), "[]\n");
        assert_eq!(birds(Format::Ndjson, 0), "");
        assert_eq!(birds(Format::Csv, 0), "name,eggs,nest,songs\n");
        assert_eq!(birds(Format::Table, 0), "0 birds\n");
    }

    #[test]
    fn a_list_that_fails_before_its_first_thing_prints_nothing() {
        for format in [Format::Json, Format::Ndjson, Format::Csv, Format::Table] {
            assert_eq!(printed(format, |printer| drop(printer.list::<Bird>())), "");
        }
    }

    #[test]
    fn csv_has_headings_and_quotes_what_needs_it() {
        expect![[r#"
            name,eggs,nest,songs
            wren,7,,"[""a"",""b""]"
            "great, tit",12,box,[]
        "#]]
        .assert_eq(&birds(Format::Csv, 2));
    }

    #[test]
    fn a_table_ends_with_its_count() {
        expect![[r#"
            NAME        EGGS
            wren        7
            great, tit  12
            2 birds
        "#]]
        .assert_eq(&birds(Format::Table, 2));
        assert_eq!(counted(3, "entry"), "3 entries");
    }
}
