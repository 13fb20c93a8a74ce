//! Panics inside sled are expected (it panics on damage that it notices) and contained; they must not look like a crash
//! of the server.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside a call of sled, whose panics [`contained`] catches.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic inside sled is logged as one plain line instead of a message and a backtrace on stderr. Every
/// other panic goes to the hook that was there before. Calling it again does nothing.
pub fn quiet_sled_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| match is_of_sled(info) {
            true => log_plainly(info),
            false => previous(info),
        }));
    });
}

/// Runs a call of sled; a panic in it comes back as its message.
pub(super) fn contained<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    let outer = INSIDE.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    INSIDE.set(outer);
    result.map_err(|payload| message(payload.as_ref()).to_owned())
}

/// Where a panic belongs to sled: raised in a call of ours, in its sources, or on a thread that it started.
fn is_of_sled(info: &PanicHookInfo<'_>) -> bool {
    let inside = INSIDE.try_with(Cell::get).unwrap_or(false);
    let in_source = info.location().is_some_and(|at| at.file().contains("sled-0.34"));
    let thread = std::thread::current();
    let on_thread = thread.name().is_some_and(|name| name.starts_with("sled-") || name == "log flusher");
    inside || in_source || on_thread
}

fn log_plainly(info: &PanicHookInfo<'_>) {
    let line = message(info.payload()).split_whitespace().collect::<Vec<_>>().join(" ");
    tracing::warn!("the projection store failed inside sled and will be rebuilt: {line}");
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `work` runs on this thread.
    fn logged_by(work: impl FnOnce()) -> String {
        quiet_sled_panics();
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, work);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_panic_inside_sled_is_one_plain_line_in_the_log() {
        let log = logged_by(|| {
            assert_eq!(
                contained(|| panic!("lost\n  its {}", "way")),
                Err::<(), _>("lost\n  its way".to_owned())
            );
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("WARN") && log.contains("rebuilt: lost its way"), "{log}");
    }

    #[test]
    fn a_panic_of_our_own_goes_to_the_hook_that_was_there_before() {
        let log = logged_by(|| {
            assert_eq!(contained(|| 7), Ok(7));
            assert!(panic::catch_unwind(|| panic!("of our own, on purpose")).is_err());
        });
        assert_eq!(log, "");
    }
}
