//! `describe-table NAME [--verify]`

use api::v1::TableDescription;

use super::Context;
use crate::cli::Failure;
use crate::output;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the table
    pub name: String,
    /// Also read all data of all replicas and compare their content hashes
    #[arg(long)]
    pub verify: bool,
}

/// Prints the table and its shards. With `--verify` it fails when replicas differ or were not reached.
pub async fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let table = if args.verify {
        context.client.verify_table(&args.name).await?
    } else {
        context.client.describe_table(&args.name).await?
    };
    output::print(&if context.json() {
        output::json::table(&table)
    } else {
        output::describe::table(&table)
    })?;
    if args.verify {
        verified(&table)?;
    }
    Ok(())
}

fn verified(table: &TableDescription) -> Result<(), Failure> {
    let unequal: Vec<_> = table
        .shards
        .iter()
        .filter(|shard| !shard.verification.is_some_and(|result| result.equal))
        .map(|shard| shard.index.to_string())
        .collect();
    if unequal.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "not every replica was reached and found equal, see shard {}; if a node is down, bring it back \
         and verify again",
        unequal.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::{ShardDescription, Verification};

    fn table(results: &[Option<bool>]) -> TableDescription {
        let shard = |(index, equal): (usize, &Option<bool>)| ShardDescription {
            index: index as u32,
            verification: equal.map(|equal| Verification { index: 9, equal }),
            ..Default::default()
        };
        TableDescription {
            shards: results.iter().enumerate().map(shard).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn verification_succeeds_only_if_every_shard_is_equal() {
        assert!(verified(&table(&[Some(true), Some(true)])).is_ok());
        let failure = verified(&table(&[Some(true), Some(false), None])).unwrap_err();
        assert_eq!(failure.exit, 1);
        assert!(failure.message.contains("shard 1, 2"));
    }
}
