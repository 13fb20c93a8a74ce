//! The page of metrics of a server, read from outside.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// What a server says of itself.
#[derive(Debug)]
pub(super) struct MetricsPage(String);

impl MetricsPage {
    /// Asks for it.
    pub(super) fn fetch(address: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(Self(page))
    }

    /// How often logs were made durable.
    pub(super) fn syncs(&self) -> Option<u64> {
        self.sum("tokenledger_log_syncs_total", "")
    }

    /// How many entries of a ledger are durable, and how many of those its projection reflects.
    pub(super) fn positions(&self, ledger: &str) -> Option<(u64, u64)> {
        let label = format!("ledger=\"{ledger}\"");
        let log = self.sum("tokenledger_log_next_position", &label)?;
        Some((log, self.sum("tokenledger_projection_next_position", &label).unwrap_or(0)))
    }

    /// The sum of a value over its lines with a label; `None` where there is no such line.
    fn sum(&self, name: &str, label: &str) -> Option<u64> {
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let named = (rest.starts_with('{') || rest.starts_with(' ')) && rest.contains(label);
            named.then(|| rest.rsplit(' ').next()?.trim().parse::<f64>().ok()).flatten()
        };
        let mut values = self.0.lines().filter_map(value).peekable();
        values.peek()?;
        Some(values.sum::<f64>() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "HTTP/1.0 200 OK\n\n# TYPE tokenledger_log_syncs counter\n\
        tokenledger_log_syncs_total{ledger=\"a b\"} 7\ntokenledger_log_syncs_total{ledger=\"c\"} 5\n\
        tokenledger_log_syncs_total_created 99\n\
        tokenledger_log_next_position{ledger=\"c\"} 40\ntokenledger_log_next_position{ledger=\"cc\"} 90\n\
        tokenledger_projection_next_position{ledger=\"c\"} 30\n";

    #[test]
    fn a_counter_is_the_sum_over_its_labels_and_of_no_longer_name() {
        assert_eq!(MetricsPage(PAGE.to_owned()).syncs(), Some(12));
        assert_eq!(MetricsPage("other 3\n".to_owned()).syncs(), None);
    }

    #[test]
    fn positions_are_those_of_one_ledger() {
        let page = MetricsPage(PAGE.to_owned());
        assert_eq!(page.positions("c"), Some((40, 30)));
        assert_eq!(page.positions("cc"), Some((90, 0)), "a projection that has not begun reflects nothing");
        assert_eq!(page.positions("d"), None);
    }

    #[test]
    fn a_page_that_the_product_makes_is_understood() {
        let metrics = crate::metrics::Metrics::default();
        let ledger = metrics.of(&"default".parse().unwrap());
        ledger.position(12);
        ledger.projected(5);
        assert_eq!(MetricsPage(metrics.text()).positions("default"), Some((12, 5)));
    }
}
