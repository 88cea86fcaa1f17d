//! A panic anywhere in a run is a bug, also where the runtime would catch it.

use std::sync::Mutex;

static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// From now on panics are kept instead of printed.
pub fn keep() {
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut first) = FIRST.lock() {
            first.get_or_insert(panic.to_string());
        }
    }));
}

/// The first panic since.
pub fn first() -> Option<String> {
    FIRST.lock().ok().and_then(|first| first.clone())
}
