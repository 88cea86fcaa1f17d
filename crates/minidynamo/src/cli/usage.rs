//! What the parser of the command line has to say: help on standard output, mistakes in one line.

use clap::error::ErrorKind;

use super::Failure;

/// Prints help and version; turns a mistake into its line.
pub fn report(error: &clap::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A pipe that is closed early is none of our business.
            let _ = error.print();
            Ok(())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Err(Failure::usage(""))
        }
        _ => Err(Failure::usage(line(&error.render().to_string()))),
    }
}

/// The parser's words without the frame around them: its first paragraphs, up to the usage.
fn line(rendered: &str) -> String {
    let text = rendered.strip_prefix("error: ").unwrap_or(rendered);
    let words: Vec<_> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .flat_map(str::split_whitespace)
        .collect();
    let usage = rendered
        .lines()
        .find_map(|line| line.strip_prefix("Usage: "));
    match usage {
        Some(usage) => format!("{}; usage: {usage}", words.join(" ")),
        None => format!("{}; see `minidynamo --help`", words.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn failure(line: &str) -> Failure {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        report(&error).unwrap_err()
    }

    #[test]
    fn mistakes_are_told_in_one_line_with_exit_code_2() {
        for (arguments, said) in [
            (
                "minidynamo get people",
                "not provided: <KEY>; usage: minidynamo get",
            ),
            (
                "minidynamo frobnicate",
                "unrecognized subcommand 'frobnicate'",
            ),
            (
                "minidynamo get people ada --colour",
                "unexpected argument '--colour'",
            ),
            (
                "minidynamo create-table people x 3",
                "invalid value 'x' for '<SHARDS>'",
            ),
            ("minidynamo status --timeout 0", "it must be more than 0"),
            (
                "minidynamo put people k v --if-absent --if-version 7",
                "cannot be used with",
            ),
        ] {
            let failure = failure(arguments);
            assert_eq!(failure.exit, 2);
            assert!(failure.message.contains(said), "{}", failure.message);
            assert!(!failure.message.contains('\n'), "{}", failure.message);
        }
    }
}
