//! Who may use the machine's cores.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::const_new(());

/// A test's hold on the machine, for as long as it runs.
///
/// Tests run a few at a time. One that measures time must not have another one's processes beside it.
pub(crate) enum Machine {
    /// Other tests may run meanwhile.
    Shared {
        _guard: RwLockReadGuard<'static, ()>,
    },
    /// No other test runs meanwhile.
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

impl Machine {
    pub(crate) async fn shared() -> Self {
        Self::Shared {
            _guard: MACHINE.read().await,
        }
    }

    pub(crate) async fn alone() -> Self {
        Self::Alone {
            _guard: MACHINE.write().await,
        }
    }
}
