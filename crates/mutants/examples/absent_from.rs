//! `absent_from FILE`: fails if a built file has anything of the mutants in it.
//!
//! Looks for the name of every mutant, and for this crate's name as symbols carry it, which stays even where
//! the optimiser has dropped the names. That it can find them is shown on this program itself.
#![allow(clippy::print_stdout, reason = "it is a command")]

use std::error::Error;
use std::path::Path;

use mutants::Mutant;

/// Both ways of mangling names put a path's part behind its length.
const SYMBOL: &str = "7mutants";

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os()
        .nth(1)
        .ok_or("usage: absent_from FILE")?;
    let sought: Vec<_> = Mutant::ALL
        .iter()
        .map(|mutant| mutant.name())
        .chain([SYMBOL])
        .collect();
    let own = traces(&std::env::current_exe()?, &sought)?;
    if own != sought {
        return Err("can't find the mutants where they are: the search is broken".into());
    }
    let found = traces(Path::new(&file), &sought)?;
    if !found.is_empty() {
        return Err(format!("{} has mutants: {found:?}", file.display()).into());
    }
    println!("{}: no mutants", file.display());
    Ok(())
}

/// Those of the words that the file has somewhere. One pass, for the file is large.
fn traces<'a>(file: &Path, sought: &[&'a str]) -> Result<Vec<&'a str>, Box<dyn Error>> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut by_first_byte = vec![Vec::new(); 256];
    for (position, word) in sought.iter().enumerate() {
        if let Some(&first) = word.as_bytes().first() {
            by_first_byte[usize::from(first)].push(position);
        }
    }
    let mut found = vec![false; sought.len()];
    for (at, &byte) in bytes.iter().enumerate() {
        for &position in &by_first_byte[usize::from(byte)] {
            found[position] |= bytes[at..].starts_with(sought[position].as_bytes());
        }
    }
    let found = sought.iter().zip(found).filter(|(_, found)| *found);
    Ok(found.map(|(word, _)| *word).collect())
}
