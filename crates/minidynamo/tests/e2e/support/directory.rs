//! A test's own directory.

use std::fs;
use std::path::{Path, PathBuf};

/// Holds data directories and what processes wrote to stderr; removed when the test ends.
pub(crate) struct Directory {
    root: tempfile::TempDir,
    test: String,
}

impl Directory {
    /// A fresh one, named after the running test.
    pub(crate) fn of_this_test() -> Self {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("test").replace("::", "-");
        let parent = env!("CARGO_TARGET_TMPDIR");
        let root = tempfile::Builder::new()
            .prefix(&format!("{test}-"))
            .tempdir_in(parent)
            .unwrap();
        fs::create_dir(root.path().join("logs")).unwrap();
        Self { root, test }
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Where a process of this name writes its stderr.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path().join("logs").join(format!("{name}.log"))
    }

    fn keep_logs(&self) {
        let Some(keep) = std::env::var_os("MINIDYNAMO_KEEP_LOGS") else {
            return;
        };
        let kept = Path::new(&keep).join(&self.test);
        let copied = fs::create_dir_all(&kept).and_then(|()| {
            for entry in fs::read_dir(self.path().join("logs"))? {
                let entry = entry?;
                fs::copy(entry.path(), kept.join(entry.file_name()))?;
            }
            Ok(())
        });
        match copied {
            Ok(()) => eprintln!("logs kept in {}", kept.display()),
            Err(error) => eprintln!("can't keep the logs in {}: {error}", kept.display()),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
    }
}
